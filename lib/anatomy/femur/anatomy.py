"""The proximal femur as an anatomy."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import SimpleITK as sitk

from lib.anatomy.femur.distal_end import measure_distal_end
from lib.anatomy.femur.landmarks import femur_levels
from lib.anatomy.femur.locator import HipLocator
from lib.anatomy.femur.reference import judge_reference
from lib.anatomy.protocol import JudgedLabels, Regions
from lib.catalog.reasons import Reason
from lib.crop_settings import HIP
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.measure_settings import DistalEndConfig


class ProximalFemur:
    """See `lib.anatomy.protocol.AnatomyMethods`."""

    locators = MappingProxyType({HIP: HipLocator()})

    def judge_reference(
        self, labels: sitk.Image, image: sitk.Image | None, structures: Iterable[str], acquired_axis: str
    ) -> list[Reason]:
        """Judge the only structure as a femur."""
        return judge_reference(labels, image)

    def find_regions(self, mask: sitk.Image, side: str) -> Regions:
        """Return head, neck, trochanter and shaft."""
        return femur_levels(array_zyx(mask), spacing_zyx(mask), side)

    def measure_end(
        self, mask: sitk.Image, reference: sitk.Image | None, side: str, settings: Mapping
    ) -> dict:
        """Measure the shaft below the lesser trochanter, and the volume above a cut below it."""
        config = DistalEndConfig(distal_cut_mm=settings["distal_cut_mm"])
        return measure_distal_end(mask, reference, side, config)

    def find_levels(self, judged: JudgedLabels) -> dict[str, dict]:
        """Return nothing: there are no levels."""
        return {}
