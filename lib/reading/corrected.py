"""Measurements of a manually corrected mask, on the grid on which it was edited."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, describe_grid, laid_on, same_grid, volume_mm3
from lib.imaging.volume import length_mm
from lib.reading.image_files import read_labels


def read_corrected(path: str | Path, scan: str) -> sitk.Image:
    """Read a corrected mask of any format as uint8, 0 or 1, on patient axes.

    Raises:
        ScanError: the file cannot be read; the text names the scan and the file.
    """
    try:
        return read_labels(path)
    except ScanError as error:
        raise ScanError(
            error.code, f"corrected mask {Path(path).name} of scan {scan} cannot be used: {error}"
        ) from None


def measure_corrected(mask: sitk.Image, grids: dict[str, sitk.Image], name: str) -> dict:
    """Measure a corrected mask.

    Args:
        mask: the corrected mask; empty borders may be cut away (see `laid_on`).
        grids: CTs in HU on which a prediction may have been edited, by description; the first that fits is used.
        name: name of the mask in errors.

    Returns:
        `corrected_mm3`; `hu_mean` and `hu_sd` (over voxels, ddof 0) in the mask; `length_mm` along z;
        `truncated_distally`, whether it reaches the most distal slice of its grid; `grid`, on which of `grids` it
        lies.

    Raises:
        ScanError: `mask_off_grid`, the mask lies on none of the grids; `empty_mask`.
    """
    laid = {what: laid_on(mask, image) for what, image in grids.items()}
    # a mask on a whole grid may be a crop of another one, too
    fitting = [what for what, image in grids.items() if same_grid(mask, image)]
    fitting += [what for what, whole in laid.items() if whole is not None]
    if not fitting:
        expected = "; or ".join(f"{what}, {describe_grid(image)}" for what, image in grids.items())
        raise ScanError(
            "mask_off_grid",
            f"{name} must lie on the grid of {expected}; it has {describe_grid(mask)}. Edit a copy of "
            "mask_full.nii.gz or of mask.nii.gz and save it without resampling",
        )
    mask = laid[fitting[0]]
    mask_zyx = array_zyx(mask) > 0
    if not mask_zyx.any():
        raise ScanError("empty_mask", f"{name} is empty; leave corrected_mask empty, or reject the scan")
    hu = array_zyx(grids[fitting[0]])[mask_zyx].astype(np.float64)
    return {
        "corrected_mm3": volume_mm3(mask),
        "hu_mean": float(hu.mean()),
        "hu_sd": float(hu.std()),
        "length_mm": length_mm(mask_zyx, mask.GetSpacing()[2]),
        "truncated_distally": bool(mask_zyx[0].any()),
        "grid": fitting[0],
    }
