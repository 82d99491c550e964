"""The HU scale: the stored range, and checks that intensities can be HU."""

import numpy as np
import SimpleITK as sitk

from lib.catalog.reasons import REASONS, Reason
from lib.imaging.grid import image_like
from lib.imaging.stored import require_finite, to_int16, without_value

AIR_HU = -1024

# Limits of a plausible CT in HU (fat -105, muscle 55, cortical bone 1300-1500; air below -900).
# A crop may contain no air around the body, but the noise of fat alone reaches below this.
_BELOW_FAT_HU = -150
_SOFT_TISSUE_HU = (-200, 200)
_ABOVE_SOFT_TISSUE_HU = 200
_BODY_HU = -500
_MIN_SOFT_TISSUE_SHARE = 0.2
_MIN_SHARE = 1e-4
# In an inverted image air is as bright as the densest bone: 34 and 41 % of the voxels of two whole scans, of which at
# most 1.1 % are bone of that density (0.2 % of a box around a femur).
_DENSE_HU, _MAX_DENSE_SHARE = 800, 0.2
# Clipped intensities pile up at the limit: the last value has more than twice the voxels of the 20 HU before it. In
# two real scans and three of the shape model, clipped at 600 or 1000 HU, the ratio is 6 to 45, and higher at the low
# end; in unclipped scans a single voxel has the last value. Clipping where there is no tissue is harmless (air; metal
# beyond the range of 12 bits).
_PILE_VOXELS, _PILE_RATIO, _BEFORE_LIMIT_HU = 20, 2.0, 20
_HARMLESS_BELOW_HU, _HARMLESS_ABOVE_HU = -900, 2000
# If intensities are clipped below this, cortex and trabecular bone cannot be distinguished.
_LEAST_TOP_HU = 500
_SAMPLED_EVERY = 3  # pixels along rows and columns: 9 times fewer voxels, shares change by less than 0.1 %


def hu_image(image: sitk.Image) -> tuple[sitk.Image, list[Reason]]:
    """Return `image` (any number type) as int16 HU from -1024 on, and a warning on voxels without value.

    NaN, which many programs write outside the field of view, becomes -1024.

    Raises:
        ScanError: `infinite_values`, a voxel is infinite.
    """
    values_zyx = sitk.GetArrayViewFromImage(image)
    if values_zyx.dtype == np.int16 and values_zyx.min() >= AIR_HU:
        return image, []
    hu_zyx = np.empty(values_zyx.shape, np.int16)
    missing, infinite = 0, 0
    # slice by slice, so that memory holds at most two volumes
    for hu_yx, values_yx in zip(hu_zyx, values_zyx, strict=True):
        nans = np.isnan(values_yx)
        missing += np.count_nonzero(nans)
        infinite += np.count_nonzero(np.isinf(values_yx))
        hu_yx[:] = to_int16(np.where(nans, AIR_HU, values_yx) if nans.any() else values_yx, AIR_HU)
    require_finite(infinite)
    return image_like(hu_zyx, image), without_value(missing, hu_zyx.size)


def check_hu(volume_zyx: np.ndarray) -> list[Reason]:
    """Return `implausible_hu` unless `volume_zyx` has the intensities of a person's CT in HU.

    Every such CT has voxels darker than fat, much soft tissue in the body, and some bone. A volume in other units
    (raw values without intercept, MR, a windowed image, fractions) lacks at least one of them, and in an inverted
    image air is as bright as the densest bone. Intensities clipped at either end give `clipped_hu`, or
    `implausible_hu` if they no longer show the structure of the bone.
    """
    sample = volume_zyx[:, ::_SAMPLED_EVERY, ::_SAMPLED_EVERY]
    body = sample[sample > _BODY_HU]
    low, high = _SOFT_TISSUE_HU
    soft_share = float(((body > low) & (body < high)).mean()) if body.size else 0.0
    dark_share, bone_share = (
        float((sample < _BELOW_FAT_HU).mean()),
        float((sample > _ABOVE_SOFT_TISSUE_HU).mean()),
    )
    if soft_share >= _MIN_SOFT_TISSUE_SHARE and dark_share >= _MIN_SHARE and bone_share >= _MIN_SHARE:
        dense_share = float((sample > _DENSE_HU).mean())
        if dense_share > _MAX_DENSE_SHARE:
            found = f"{dense_share:.0%} of the voxels are above {_DENSE_HU} HU: an inverted image?"
            return [Reason("implausible_hu", found)]
        return _check_clipped(sample)
    found = (
        f"intensities from {sample.min()} to {sample.max()}; {dark_share:.2%} below {_BELOW_FAT_HU}, "
        f"{bone_share:.2%} above {_ABOVE_SOFT_TISSUE_HU}, {soft_share:.1%} of the body from {low} to {high}"
    )
    return [Reason("implausible_hu", found)]


def _check_clipped(sample: np.ndarray) -> list[Reason]:
    """Return a reason for each end at which intensities were clipped."""
    reasons = []
    low, high = int(sample.min()), int(sample.max())
    if low > _HARMLESS_BELOW_HU and (share := _piled_share(sample, low, 1)):
        reasons.append(
            Reason("clipped_hu", f"{share:.2%} of the voxels are exactly {low} HU, and none is below")
        )
    if high < _HARMLESS_ABOVE_HU and (share := _piled_share(sample, high, -1)):
        code = "implausible_hu" if high < _LEAST_TOP_HU else "clipped_hu"
        found = f"{share:.2%} of the voxels are exactly {high} HU, and none is above"
        reasons.append(Reason(code, found, REASONS["clipped_hu"].action))
    return reasons


def _piled_share(sample: np.ndarray, limit: int, inward: int) -> float:
    """Return the share of voxels at a limit if they pile up there, else 0; `inward` is +1 at the low end, else -1."""
    # a difference of two int16 may exceed int16
    depth = inward * (sample.astype(np.int32) - limit)
    piled, before = np.count_nonzero(depth == 0), np.count_nonzero((depth > 0) & (depth <= _BEFORE_LIMIT_HU))
    # without values just inside the limit the image was drawn, not clipped
    is_pile = before > 0 and piled >= _PILE_VOXELS and piled > _PILE_RATIO * before
    return piled / sample.size if is_pile else 0.0
