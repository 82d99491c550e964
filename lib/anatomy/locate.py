"""Where the window of a scan lies, by the method of the crop."""

from collections.abc import Mapping, Sequence

import SimpleITK as sitk

from lib.anatomy.protocol import AnatomyMethods
from lib.crop_settings import CENTRE, WHOLE, CropConfig
from lib.imaging.crop import CropCenter, FindMargins, middle_of


def window_center(
    image: sitk.Image,
    config: CropConfig,
    anatomy: AnatomyMethods,
    asked: tuple[str, Sequence[float] | None],
    located: Mapping | None,
) -> CropCenter:
    """Return the centre of a scan's window.

    Args:
        image: the scan, original or resampled.
        config: the crop; its method decides how the centre is found.
        anatomy: finds the centre of a method that is its own.
        asked: side and centre (LPS mm, or None) of the cohort table.
        located: what screening has located (the entry `hip` of the screening file); None: nothing.

    Raises:
        ScanError: the anatomy's method has located nothing, and the table gives no centre.
    """
    side, override_mm_xy = asked
    if _is_general(config):
        return middle_of(image, side, override_mm_xy)
    return anatomy.find_center(side, located, override_mm_xy)


def margins_of(config: CropConfig, anatomy: AnatomyMethods) -> FindMargins | None:
    """Return the function that measures the distances from the bone to the window's border; None: there is none."""
    return None if _is_general(config) else anatomy.margins()


def _is_general(config: CropConfig) -> bool:
    return config.method in (CENTRE, WHOLE)
