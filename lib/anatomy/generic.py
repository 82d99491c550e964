"""Any bones: an anatomy without regions, with checks that hold for every bone."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import SimpleITK as sitk

from lib.anatomy.bodies import judge_bodies
from lib.anatomy.protocol import JudgedLabels, Regions
from lib.catalog.reasons import Reason


class GenericBones:
    """See `lib.anatomy.protocol.AnatomyMethods`."""

    locators = MappingProxyType({})

    def judge_reference(
        self, labels: sitk.Image, image: sitk.Image | None, structures: Iterable[str], acquired_axis: str
    ) -> list[Reason]:
        """Judge each structure as one solid body."""
        return judge_bodies(labels, structures, acquired_axis)

    def find_regions(self, mask: sitk.Image, side: str) -> Regions:
        """Return none."""
        return Regions()

    def measure_end(
        self, mask: sitk.Image, reference: sitk.Image | None, side: str, settings: Mapping
    ) -> dict:
        """Measure nothing."""
        return {}

    def find_levels(self, judged: JudgedLabels) -> dict[str, dict]:
        """Return nothing: there are no levels."""
        return {}
