"""The search for the hip as a method of the crop, and the table's centre compared with the hip that it finds."""

import math
from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.location import HEAD_EVIDENCE, MIN_FEMUR_MM3, OTHER_HEAD_EVIDENCE, locate_hip
from lib.anatomy.femur.margins import femur_margins
from lib.anatomy.protocol import Location
from lib.catalog.reasons import Reason
from lib.crop_settings import CropConfig
from lib.errors import ScanError
from lib.imaging.crop import CropCenter, UpperEnd, ranges_around

# Half the paper's window (192 pixels of 0.78 mm); the other hip is about 200 mm away. A whole femur, down to the knee
# of a straight leg, stays this near to the centre of its upper part.
NEAR_MM = 75.0


class HipLocator:
    """See `lib.anatomy.protocol.Locator`."""

    near_mm = NEAR_MM

    def locate(self, image: sitk.Image, side: str, config: CropConfig) -> Location:
        """Find the hip of a side in a CT."""
        return locate_hip(image, side, config)

    def judge_given(self, image: sitk.Image, given: Location, config: CropConfig) -> list[Reason]:
        """Compare the table's centre with the hip that is found in the image, if one is found."""
        try:
            found = locate_hip(image, given.side, config)
        except ScanError:
            return []
        apart_mm = math.dist(given.center_mm_xy, found.center_mm_xy)
        if apart_mm <= NEAR_MM:
            return []
        x_mm, y_mm = found.center_mm_xy
        place = f"the {given.side} hip found at ({x_mm:.0f}, {y_mm:.0f}) mm"
        words = f"the given centre lies {apart_mm:.0f} mm from {place}"
        if not found.uncertain and _is_nearer_to_other(given, found):
            return [Reason("crop_center_elsewhere", f"{words}, nearer to the other hip")]
        bone_mm3 = _bone_mm3(image, given, config.bone_hu)
        if not found.uncertain and bone_mm3 < MIN_FEMUR_MM3:
            return [
                Reason("crop_center_elsewhere", f"{words}, with {1e-3 * bone_mm3:.1f} cm³ of bone around it")
            ]
        return [Reason("crop_uncertain", words)]

    def find_upper_end(self, location: Location, config: CropConfig) -> UpperEnd | None:
        """Return the femoral head, above which the window ends; None if the search did not find it.

        No femur lies more than `above_head_mm` above the head, and the network was not trained on the abdomen.
        """
        if not set(HEAD_EVIDENCE) <= set(location.evidence):
            return None
        head_mm_xyz = tuple(location.evidence[name] for name in HEAD_EVIDENCE)
        return UpperEnd(point_mm_xyz=head_mm_xyz, above_mm=config.above_head_mm)

    def measure_margins(
        self, window: sitk.Image, in_view: tuple[slice, slice], center: CropCenter, config: CropConfig
    ) -> Mapping[str, float]:
        """Measure from the femur to the lateral, anterior and posterior border."""
        return femur_margins(window, in_view, center, config.bone_hu)


def _is_nearer_to_other(given: Location, found: Location) -> bool:
    """Return whether a given centre lies nearer to the head of the other side than to that of its own."""
    to_head_mm, to_other_mm = (
        math.dist(given.center_mm_xy, [found.evidence.get(name, math.inf) for name in names[:2]])
        for names in (HEAD_EVIDENCE, OTHER_HEAD_EVIDENCE)
    )
    return to_other_mm < to_head_mm


def _bone_mm3(image: sitk.Image, given: Location, bone_hu: float) -> float:
    """Return the volume of bone near a given centre, mm3."""
    x, y = ranges_around(image, given.center_mm_xy, [2 * NEAR_MM] * 2)
    near_zyx = sitk.GetArrayViewFromImage(image)[:, y, x]
    return np.count_nonzero(near_zyx > bone_hu) * math.prod(image.GetSpacing())
