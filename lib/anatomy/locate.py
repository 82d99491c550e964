"""Where the window of a scan lies, by the method of the crop."""

from collections.abc import Mapping, Sequence

import SimpleITK as sitk

from lib.anatomy.femur.window import crop_center, femur_margins
from lib.crop_settings import HIP, CropConfig
from lib.imaging.crop import CropCenter, FindMargins, middle_of


def window_center(
    image: sitk.Image,
    config: CropConfig,
    asked: tuple[str, Sequence[float] | None],
    located: Mapping | None,
) -> CropCenter:
    """Return the centre of a scan's window.

    Args:
        image: the scan, original or resampled.
        config: the crop; its method decides how the centre is found.
        asked: side and centre (LPS mm, or None) of the cohort table.
        located: what screening has located (the entry `hip` of the screening file); None: nothing.

    Raises:
        ScanError: a hip's window is asked for, screening has located no hip, and the table gives no centre.
    """
    side, override_mm_xy = asked
    if config.method == HIP:
        return crop_center(side, located, override_mm_xy)
    return middle_of(image, side, override_mm_xy)


def margins_of(config: CropConfig) -> FindMargins | None:
    """Return the function that measures the distances from the bone to the window's border; None: there is none."""
    return femur_margins if config.method == HIP else None
