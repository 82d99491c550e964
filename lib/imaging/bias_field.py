"""Correction of the smooth shading of MR images (bias field), which receiver coils cause.

Source: Tustison et al. 2010, N4ITK, DOI 10.1109/TMI.2010.2046908, in the implementation of SimpleITK.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, image_like
from lib.imaging.intensity_range import body_mask
from lib.imaging.stored import LARGEST, fit_int16

# Voxels that become one for the fit: a field is smooth, and the time falls with the number of voxels.
SHRINK = 4
# An axis is shrunk less if fewer voxels than this would remain.
LEAST_VOXELS = 8
# Most iterations on each level; the control points of the field (4 along each axis on the first level) double from
# level to level. A level ends earlier when the field changes by less than 0.1 %.
ITERATIONS = (30, 30, 30)

_log = logging.getLogger("osteoflow.bias_field")


def correct_bias(image: sitk.Image) -> sitk.Image:
    """Return an image (int16) divided by its bias field, as int16 on the same scale.

    If values exceed 32767, all are scaled as in `fit_int16`, and the log tells the factor.

    Raises:
        ScanError: `flat_image`, the body has no positive values, or only one.
    """
    field_zyx = array_zyx(find_log_field(image))
    np.exp(field_zyx, out=field_zyx)
    _log.info("bias field: %.3g to %.3g, around 1 in the body", field_zyx.min(), field_zyx.max())
    corrected_zyx = np.divide(sitk.GetArrayViewFromImage(image), field_zyx, out=field_zyx)
    stored_zyx, factor = fit_int16(np.rint(corrected_zyx, out=corrected_zyx))
    if factor != 1:
        _log.warning("values exceed %d: stored values are to be multiplied by %.4g", LARGEST, factor)
    return image_like(stored_zyx, image)


def find_log_field(image: sitk.Image) -> sitk.Image:
    """Return the logarithm of an image's bias field (float32, on its grid), with a mean of 0 in the body.

    The field is fitted in the body, to blocks of 4 x 4 x 4 voxels. It does not depend on the number of threads.

    Raises:
        ScanError: `flat_image`, the body has no positive values, or only one.
    """
    factors = [max(1, min(SHRINK, count // LEAST_VOXELS)) for count in image.GetSize()]
    small = sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), factors)
    values_zyx = array_zyx(small)
    # the method works on logarithms
    body_zyx = body_mask(values_zyx) & (values_zyx > 0)
    values = values_zyx[body_zyx]
    if not values.size or values.min() == values.max():
        raise ScanError(
            "flat_image",
            "the body has no positive values, or only one, so that no bias field can be found",
            "Look at the image. If it is sound, set bias_field.method: none.",
        )
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    with _one_thread():
        n4.Execute(small, image_like(body_zyx, small))
    log_field = n4.GetLogBiasFieldAsImage(image)
    mean = float(array_zyx(n4.GetLogBiasFieldAsImage(small))[body_zyx].mean())
    return sitk.Cast(log_field - mean, sitk.sitkFloat32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let new ITK filters use one thread: the fit of B-splines sums in another order for each number of threads.

    The number set on the filter itself does not reach the filters that it contains.
    """
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
