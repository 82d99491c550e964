"""The intensity range of a scan, from its own values where the scale is `percentile`."""

import math

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.components import label_pieces
from lib.imaging.grid import array_zyx
from lib.imaging.otsu import otsu_threshold
from lib.intensity_scale import IntensityConfig, IntensityRange, fixed_range

_GREY_STEPS = 1000  # of the darkest to the brightest voxel, in which 1 is added before the logarithm
# Air is darker than this share of the brightest tissue. In T1-weighted MR, muscle has about 0.4 of the signal of fat,
# and less far from the coil.
AIR_SHARE = 1 / 8
BRIGHTEST_PERCENT = 99.5


def find_range(image: sitk.Image, config: IntensityConfig) -> IntensityRange:
    """Return the intensity range of a scan (int16).

    Percentiles are taken over the body: those of the whole image would depend on how much air is in view.

    Raises:
        ScanError: `flat_image`, the percentiles are one value.
    """
    if config.scale == "range":
        return fixed_range(config)
    values_zyx = array_zyx(image)
    values = values_zyx[body_mask(values_zyx)]
    low, high = (float(np.percentile(values, percent)) for percent in (config.low, config.high))
    if not high > low:
        raise ScanError(
            "flat_image",
            f"percentiles {config.low:g} and {config.high:g} of the body are both {low:g}: the image has no contrast",
            "Look at the image. If it is sound, set intensity.low and intensity.high further apart.",
        )
    return IntensityRange(low=low, high=high, padding=math.floor(low))


def body_mask(values_zyx: np.ndarray) -> np.ndarray:
    """Return the largest connected part of an image above Otsu's threshold of its logarithm, bool (z, y, x).

    The logarithm brings dark tissue, such as muscle in MR, nearer to bright fat than to air. It is taken of shares of
    the highest value, so that the body does not depend on the scale of the image. A field of view with little air has
    its threshold between dark and bright tissue; then what lies below is divided again. An image of one value is body
    throughout.
    """
    heights_zyx = values_zyx.astype(np.float32) - np.float32(values_zyx.min())
    # exactly the same for values that are multiplied by a number
    steps_zyx = heights_zyx / np.float32(max(float(heights_zyx.max()), 1.0)) * np.float32(_GREY_STEPS)
    logs_zyx = np.minimum(np.log1p(steps_zyx) / np.log1p(_GREY_STEPS), 1.0)
    threshold = _threshold_of_air(logs_zyx)
    if threshold is None:
        return np.ones(values_zyx.shape, bool)
    pieces_zyx = label_pieces(logs_zyx >= threshold, corners=False)
    return pieces_zyx == np.argmax(np.bincount(pieces_zyx.ravel())[1:]) + 1


def _threshold_of_air(logs_zyx: np.ndarray) -> float | None:
    """Return the logarithm (0 to 1, as in `body_mask`) below which there is air; None if there is none."""
    brightest = np.expm1(np.percentile(logs_zyx, BRIGHTEST_PERCENT) * np.log1p(_GREY_STEPS))
    most = np.log1p(AIR_SHARE * brightest) / np.log1p(_GREY_STEPS)
    threshold = otsu_threshold(logs_zyx)
    while threshold is not None and threshold > most:
        darker = logs_zyx[logs_zyx < threshold]
        threshold = otsu_threshold(darker) if darker.size else None
    return threshold
