"""Resampling of slices with gantry tilt or uneven distances onto an upright, even grid.

Only slices off that grid are interpolated: each is shifted in its own plane (linear, below a pixel), and interpolated
between neighbours along the normal (linear). The verdict reports this repair.
"""

import math

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.reading.geometry import Stack

# A slice this close to its position on the grid, in pixels or slices, is not moved: headers round positions.
_ON_GRID = 1e-3


def straighten(volume: np.ndarray, stack: Stack, max_gb: float, outside: int) -> sitk.Image:
    """Return the slices of `stack` on its delivered grid (int16, axes as stored).

    The grid begins at the first slice. Its width covers all shifted slices; outside them it has the value `outside`.

    Args:
        volume: Pixels (slice, row, column) in int16, in the order of `stack`.
        stack: The positions of the slices.
        max_gb: The largest allowed volume.
        outside: The value of what was not measured: air.

    Raises:
        ScanError: `too_large`.
    """
    offsets_mm = stack.offsets_mm
    pixel_mm_xy = np.array(stack.slices[0].pixel_mm_xy)
    shifts_xy = _on_grid(offsets_mm[:, :2] / pixel_mm_xy)
    low_xy = np.floor(shifts_xy.min(axis=0)).astype(int)
    counts_xy = np.ceil(shifts_xy.max(axis=0)).astype(int) - low_xy + volume.shape[:0:-1]
    heights = _on_grid(offsets_mm[:, 2] / stack.step_mm)
    shape_zyx = (math.floor(heights[-1]) + 1, int(counts_xy[1]), int(counts_xy[0]))
    if 2e-9 * math.prod(shape_zyx) > max_gb:
        raise ScanError(
            "too_large",
            f"{2e-9 * math.prod(shape_zyx):.3g} GB on an even grid; at most {max_gb:g} GB is allowed",
        )
    upright = np.empty(shape_zyx, np.int16)
    places = np.interp(np.arange(len(upright)), heights, np.arange(len(heights)))
    for index, place in enumerate(_on_grid(places)):
        first, share = int(place), place - int(place)
        mixed_yx = (1 - share) * _shifted(volume[first], shifts_xy[first] - low_xy, counts_xy, outside)
        if share:
            mixed_yx += share * _shifted(volume[first + 1], shifts_xy[first + 1] - low_xy, counts_xy, outside)
        upright[index] = np.rint(mixed_yx)
    del volume  # frees memory before the image copies its voxels
    return stack.image(upright, first_mm=(*(low_xy * pixel_mm_xy), 0.0))


def _on_grid(places: np.ndarray) -> np.ndarray:
    nearest = np.rint(places)
    return np.where(np.abs(places - nearest) < _ON_GRID, nearest, places)


def _shifted(slice_yx: np.ndarray, shift_xy: np.ndarray, counts_xy: np.ndarray, outside: int) -> np.ndarray:
    """Return a slice moved by `shift_xy` pixels on a canvas of `counts_xy`, `outside` around it."""
    above_air = slice_yx.astype(np.float32) - outside
    for axis, shift in enumerate(shift_xy[::-1]):
        whole, count = math.floor(shift), above_air.shape[axis]
        old = np.moveaxis(above_air, axis, 0)
        moved = np.zeros((counts_xy[1 - axis], old.shape[1]), np.float32)
        moved[whole : whole + count] = (1 - (shift - whole)) * old
        if shift > whole:
            moved[whole + 1 : whole + 1 + count] += (shift - whole) * old
        above_air = np.moveaxis(moved, 0, axis)
    return above_air + outside
