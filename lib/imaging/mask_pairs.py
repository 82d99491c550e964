"""Overlap of two masks of the same scan, for many scans at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import same_grid
from lib.imaging.nifti import read_image

# pairs of files, one of each run, with the masks of a scan on one grid; further pairs are on other grids
Alternatives = Sequence[tuple[str, str]]


def compare_masks(masks: Sequence[Alternatives], workers: int) -> list[tuple[float | None, str]]:
    """Return the Dice coefficient of the masks of each scan, or None and the reason.

    Args:
        masks: the pairs of files to try for each scan; the first pair on one grid is used.
        workers: number of scans read at once.
    """
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(_first_dice, masks))


def _first_dice(alternatives: Alternatives) -> tuple[float | None, str]:
    found: tuple[float | None, str] = None, "no mask in either run"
    for first, second in alternatives:
        found = mask_dice(first, second)
        if found[0] is not None:
            return found
    return found


def mask_dice(first: str | Path, second: str | Path) -> tuple[float | None, str]:
    """Return 2 |A and B| / (|A| + |B|) of the non-zero voxels of two files of this workflow, or None and why."""
    there = [Path(path).exists() for path in (first, second)]
    if not all(there):
        return None, "only one run has a mask" if any(there) else "no mask in either run"
    try:
        images = [read_image(path) for path in (first, second)]
    except ScanError:
        return None, "a mask file is damaged"
    if not same_grid(*images):
        return None, "the masks lie on different grids"
    one, other = (sitk.GetArrayViewFromImage(image) != 0 for image in images)
    sizes = np.count_nonzero(one) + np.count_nonzero(other)
    if not sizes:
        return None, "both masks are empty"
    return 2 * np.count_nonzero(one & other) / sizes, ""
