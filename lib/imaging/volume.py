"""Measures of a mask: volume, length, truncation by the scan, volume above a plane, values inside."""

import numpy as np
import SimpleITK as sitk

from lib.imaging.binarise import BinaryMask
from lib.imaging.grid import array_zyx, require_same_grid, volume_mm3, voxel_mm3

NO_THRESHOLD = "labels are not made by a threshold"


def measure_volume(image: sitk.Image, mask: sitk.Image, full: sitk.Image) -> dict:
    """Measure one mask.

    Args:
        image: Cropped scan.
        mask: Mask on the grid of `image`.
        full: The same mask on the grid of the converted scan.

    Returns:
        Volumes in mm3 (of `mask` and of `full`); mean and standard deviation (over voxels, ddof 0) of the image
        in the mask, None if it is empty; whether the mask reaches the lowest slice, so that the bone is measured only
        as far as it was scanned; its length along z; `undefined`, the reasons for values that are None.

    Raises:
        ScanError: `mask_off_grid`, image and mask are not on the same grid.
    """
    require_same_grid(mask, image, "the mask", "the cropped scan")
    mask_zyx = array_zyx(mask) > 0
    values = array_zyx(image)[mask_zyx].astype(np.float64)
    return {
        "predicted_mm3": volume_mm3(mask),
        "predicted_full_mm3": volume_mm3(full),
        "mean_value": float(values.mean()) if values.size else None,
        "sd_value": float(values.std()) if values.size else None,
        "truncated_distally": bool(mask_zyx[0].any()),
        "length_mm": length_mm(mask_zyx, image.GetSpacing()[2]),
        "undefined": {}
        if values.size
        else dict.fromkeys(("mean_value", "sd_value"), "the predicted mask is empty"),
    }


def measure_threshold(mask: BinaryMask, voxel_mm3: float) -> dict:
    """Return the threshold by which a mask was made, and the volume at one half with the same choice of components.

    Args:
        mask: The mask.
        voxel_mm3: Volume of a voxel of its grid.
    """
    if mask.half_zyx is None:
        names = ("otsu_threshold", "predicted_at_half_mm3")
        return dict.fromkeys(names) | {"undefined": dict.fromkeys(names, NO_THRESHOLD)}
    return {
        "predicted_at_half_mm3": int(np.count_nonzero(mask.half_zyx)) * voxel_mm3,
        "otsu_threshold": mask.threshold,
    }


def volume_above_mm3(mask: sitk.Image, height_mm: float) -> float:
    """Return the volume of `mask` above the plane that lies `height_mm` above the lower face of its first slice.

    The slice cut by the plane counts with the fraction of its thickness above the plane.
    """
    voxels = np.count_nonzero(array_zyx(mask), axis=(1, 2))
    shares = np.clip(np.arange(1, len(voxels) + 1) - height_mm / mask.GetSpacing()[2], 0.0, 1.0)
    return float(voxels @ shares) * voxel_mm3(mask)


def length_mm(mask_zyx: np.ndarray, step_mm: float) -> float:
    """Return the length of a mask (z, y, x) along z, from its first to its last slice; 0 if it is empty."""
    slices = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    return float((slices[-1] - slices[0] + 1) * step_mm) if slices.size else 0.0
