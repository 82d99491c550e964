"""Values as the workflow stores them: int16, in HU for CT, in the scanner's own scale for MR."""

import numpy as np
import SimpleITK as sitk

from lib.catalog.reasons import Reason
from lib.errors import ScanError
from lib.imaging.grid import image_like

LARGEST = 32767


def to_int16(values: np.ndarray, lowest: int) -> np.ndarray:
    """Return `values` (any shape, numbers) rounded, clipped to `lowest`...32767 and as int16."""
    if values.dtype == np.int16:
        return values if lowest <= -LARGEST else np.maximum(values, np.int16(lowest))
    if values.dtype.kind == "f":
        values = np.rint(values)
    return np.clip(values, lowest, LARGEST).astype(np.int16)


def fit_int16(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return `values` as int16 without clipping, and the factor by which these must be multiplied to return them.

    Whole numbers that fit are unchanged (factor 1). Others are scaled so that the largest becomes 32767: the scale of
    MR images is arbitrary, but nothing may be cut off, and fractions must not be rounded away.
    """
    if values.dtype == np.int16:
        return values, 1.0
    largest = float(np.abs(values).max())
    if largest <= LARGEST and (values.dtype.kind != "f" or bool((values == np.rint(values)).all())):
        return values.astype(np.int16), 1.0
    factor = largest / LARGEST
    return np.rint(values / np.float32(factor)).astype(np.int16), factor


def signal_image(image: sitk.Image) -> tuple[sitk.Image, float, list[Reason]]:
    """Return an MR image (any number type) as int16, the factor of `fit_int16`, and a warning on NaN.

    NaN, which many programs write outside the field of view, becomes 0.

    Raises:
        ScanError: `infinite_values`, a voxel is infinite.
    """
    values_zyx = sitk.GetArrayViewFromImage(image)
    if values_zyx.dtype.kind != "f":
        stored_zyx, factor = fit_int16(values_zyx)
        return image_like(stored_zyx, image), factor, []
    missing_zyx = np.isnan(values_zyx)
    require_finite(np.count_nonzero(np.isinf(values_zyx)))
    stored_zyx, factor = fit_int16(np.where(missing_zyx, 0, values_zyx).astype(np.float32))
    return image_like(stored_zyx, image), factor, without_value(int(missing_zyx.sum()), missing_zyx.size)


def require_finite(infinite: int) -> None:
    """Raise `ScanError("infinite_values")` if there are any."""
    if infinite:
        raise ScanError("infinite_values", f"{infinite} voxels are infinite")


def without_value(missing: int, voxels: int) -> list[Reason]:
    """Return the warning on voxels that hold NaN, if there are any."""
    return [Reason("missing_values", f"{missing} of {voxels} voxels without value")] if missing else []
