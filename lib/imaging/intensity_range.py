"""The intensity range of a scan, from its own values where the scale is `percentile`."""

import math

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.binarise import otsu_threshold
from lib.imaging.components import label_pieces
from lib.imaging.grid import array_zyx
from lib.intensity_scale import IntensityConfig, IntensityRange, fixed_range

_GREY_STEPS = 1000  # of the darkest to the brightest voxel, in which 1 is added before the logarithm


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
    the highest value, so that the body does not depend on the scale of the image. An image of one value is body
    throughout.
    """
    heights_zyx = values_zyx.astype(np.float32) - np.float32(values_zyx.min())
    highest = max(float(heights_zyx.max()), 1.0)
    # exactly the same for values that are multiplied by a number
    logs_zyx = np.log1p(heights_zyx / np.float32(highest) * np.float32(_GREY_STEPS)) / np.log1p(_GREY_STEPS)
    logs_zyx = np.minimum(logs_zyx, 1.0)
    threshold = otsu_threshold(logs_zyx)
    if threshold is None:
        return np.ones(values_zyx.shape, bool)
    pieces_zyx = label_pieces(logs_zyx >= threshold, corners=False)
    return pieces_zyx == np.argmax(np.bincount(pieces_zyx.ravel())[1:]) + 1
