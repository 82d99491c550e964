"""Where the window of a scan lies, by the method of the crop."""

from collections.abc import Mapping, Sequence

import SimpleITK as sitk

from lib.anatomy.femur.window import crop_center, femur_margins
from lib.crop_settings import HIP, CropConfig
from lib.imaging.crop import CropCenter, FindMargins, middle_of


def window_center(
    image: sitk.Image,
    config: CropConfig,
    side: str,
    located: Mapping | None,
    override_mm_xy: Sequence[float] | None,
) -> CropCenter:
    """Return the centre of a scan's window.

    Args:
        image: the scan, original or resampled.
        config: the crop; its method decides how the centre is found.
        side: requested side; empty for an anatomy without sides.
        located: what screening has located (the entry `hip` of the screening file); None: nothing.
        override_mm_xy: centre from the cohort table, LPS mm, or None.

    Raises:
        ScanError: `no_hip_in_view`, the method is `hip` and neither centre exists.
    """
    if config.method == HIP:
        return crop_center(side, located, override_mm_xy)
    return middle_of(image, side, override_mm_xy)


def margins_of(config: CropConfig) -> FindMargins | None:
    """Return the function that measures the distances from the bone to the window's border; None: there is none."""
    return femur_margins if config.method == HIP else None
