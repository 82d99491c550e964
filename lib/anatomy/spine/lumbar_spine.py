"""The lumbar spine as an anatomy."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import SimpleITK as sitk

from lib.anatomy.protocol import JudgedLabels, Regions
from lib.anatomy.spine.levels import find_levels
from lib.anatomy.spine.spine_locator import SpineLocator
from lib.anatomy.spine.spine_reference import judge_spine_reference
from lib.catalog.reasons import Reason
from lib.crop_settings import SPINE


class LumbarSpine:
    """See `lib.anatomy.protocol.AnatomyMethods`."""

    locators = MappingProxyType({SPINE: SpineLocator()})

    def judge_reference(
        self, labels: sitk.Image, image: sitk.Image | None, structures: Iterable[str], acquired_axis: str
    ) -> list[Reason]:
        """Judge size, place and order of the vertebrae."""
        return judge_spine_reference(labels, image, structures, acquired_axis)

    def find_regions(self, mask: sitk.Image, side: str) -> Regions:
        """Return none."""
        return Regions()

    def measure_end(
        self, mask: sitk.Image, reference: sitk.Image | None, side: str, settings: Mapping
    ) -> dict:
        """Measure nothing."""
        return {}

    def find_levels(self, judged: JudgedLabels) -> dict[str, dict]:
        """Return what was found of each level and of the scan."""
        return find_levels(judged)
