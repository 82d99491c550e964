"""Any bones: an anatomy without a search, without regions, with checks that hold for every bone."""

from collections.abc import Iterable, Mapping, Sequence

import SimpleITK as sitk

from lib.anatomy.bodies import judge_bodies
from lib.anatomy.protocol import Regions
from lib.catalog.reasons import Reason
from lib.imaging.crop import CropCenter


class GenericBones:
    """See `lib.anatomy.protocol.AnatomyMethods`."""

    def find_center(
        self, side: str, located: Mapping | None, override_mm_xy: Sequence[float] | None
    ) -> CropCenter:
        """Raise NotImplementedError: windows lie around the middle of the image, or there are none."""
        raise NotImplementedError("the anatomy generic locates nothing")

    def margins(self) -> None:
        """Return None."""

    def judge_reference(
        self, labels: sitk.Image, image: sitk.Image | None, structures: Iterable[str]
    ) -> list[Reason]:
        """Judge each structure as one solid body."""
        return judge_bodies(labels, structures)

    def find_regions(self, mask: sitk.Image, side: str) -> Regions:
        """Return none."""
        return Regions()

    def measure_end(
        self, mask: sitk.Image, reference: sitk.Image | None, side: str, settings: Mapping
    ) -> dict:
        """Measure nothing."""
        return {}
