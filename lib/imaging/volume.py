"""What a mask measures: volume, length, whether the scan cuts it, HU inside."""

import math
from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk

from lib.imaging.density_phantom import density_phantom_in_view
from lib.imaging.grid import array_zyx, require_same_grid
from lib.imaging.otsu import OtsuConfig, mask_at

__all__ = ["density_phantom_in_view", "gather_flags", "measure_volume", "volume_mm3", "voxel_mm3"]


def voxel_mm3(image: sitk.Image) -> float:
    """Return the volume of one voxel of `image`."""
    return math.prod(image.GetSpacing())


def volume_mm3(mask: sitk.Image) -> float:
    """Return the volume of the non-zero voxels of `mask`."""
    return int(np.count_nonzero(array_zyx(mask))) * voxel_mm3(mask)


def measure_volume(
    image: sitk.Image,
    probability: sitk.Image,
    mask: sitk.Image,
    full: sitk.Image,
    otsu: Mapping,
    config: OtsuConfig,
) -> dict:
    """Measure one mask.

    Args:
        image: Cropped CT, HU.
        probability: Probability map on the grid of `image`.
        mask: Mask on the grid of `image`.
        full: The same mask on the grid of the converted scan.
        otsu: Content of otsu.json.
        config: How the mask was made.

    Returns:
        Volumes in mm3 (of `mask`, of `full`, and at probability 0.5 with components chosen alike); mean and standard
        deviation (over voxels, ddof 0) of HU in the mask, None where it is empty; whether the mask reaches the most
        distal slice, so that only the part of the bone that was scanned is measured; its length along z.

    Raises:
        ScanError: `mask_off_grid`, image, probability and mask do not lie on one grid.
    """
    require_same_grid(mask, image, "the mask", "the cropped scan")
    require_same_grid(probability, image, "the probability map", "the cropped scan")
    mask_zyx = array_zyx(mask) > 0
    hu = array_zyx(image)[mask_zyx].astype(np.float64)
    at_half_zyx, _ = mask_at(array_zyx(probability), 0.5, keep_largest=config.keep_largest)
    return {
        "predicted_mm3": volume_mm3(mask),
        "predicted_full_mm3": volume_mm3(full),
        "predicted_at_half_mm3": int(np.count_nonzero(at_half_zyx)) * voxel_mm3(image),
        "otsu_threshold": otsu["threshold"],
        "hu_mean": float(hu.mean()) if hu.size else None,
        "hu_sd": float(hu.std()) if hu.size else None,
        "truncated_distally": bool(mask_zyx[0].any()),
        "length_mm": _length_mm(mask_zyx, image.GetSpacing()[2]),
    }


def gather_flags(
    otsu: Mapping, crop: Mapping, screened: Mapping, uncertainty: Mapping, review_member_dice: float
) -> list[str]:
    """Return all that is to be looked at.

    Flags of otsu.json and crop.json, warnings of the screening file, and `members_disagree` where uncertainty.json
    holds a `member_dice` below `review_member_dice`.
    """
    warnings = {reason["code"] for reason in screened["reasons"] if reason["severity"] == "warning"}
    member_dice = uncertainty["member_dice"]
    disagree = member_dice is not None and member_dice < review_member_dice
    return sorted({*warnings, *otsu["flags"], *crop["flags"], *(["members_disagree"] if disagree else [])})


def _length_mm(mask_zyx: np.ndarray, step_mm: float) -> float:
    slices = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    return float((slices[-1] - slices[0] + 1) * step_mm) if slices.size else 0.0
