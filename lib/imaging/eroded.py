"""The inner part of a structure, some mm below its surface, and its intensities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# if fewer mm3 are left, less is eroded
MIN_LEFT_MM3 = 500.0
LESS_MM = 3.0


@dataclass(frozen=True, kw_only=True)
class Eroded:
    """The eroded part of a mask.

    Attributes:
        mask_zyx: bool (z, y, x); None if less than `MIN_LEFT_MM3` is left by either erosion.
        depth_mm: how deep below the surface it begins; None with `mask_zyx`.
    """

    mask_zyx: np.ndarray | None
    depth_mm: float | None

    def volume_mm3(self, voxel_mm3: float) -> float:
        """Return its volume; 0 if nothing is left."""
        return 0.0 if self.mask_zyx is None else int(np.count_nonzero(self.mask_zyx)) * voxel_mm3


def erode(mask_zyx: np.ndarray, spacing_mm_zyx: Sequence[float], depth_mm: float) -> Eroded:
    """Return the voxels of a mask whose centres lie at least `depth_mm` below its surface; 3 mm if too few do.

    Outside the array nothing belongs to the mask. Its surface is taken to lie half a voxel (the cube root of its
    volume) before the centre of the nearest voxel outside.

    Args:
        mask_zyx: bool (z, y, x).
        spacing_mm_zyx: size of its voxels, mm.
        depth_mm: wanted depth, mm.
    """
    voxel_mm3 = float(np.prod(spacing_mm_zyx))
    outside_mm = ndimage.distance_transform_edt(np.pad(mask_zyx, 1), sampling=spacing_mm_zyx)[
        1:-1, 1:-1, 1:-1
    ]
    half_voxel_mm = 0.5 * voxel_mm3 ** (1 / 3)
    for depth in dict.fromkeys((depth_mm, min(depth_mm, LESS_MM))):
        inner_zyx = outside_mm >= depth + half_voxel_mm
        if np.count_nonzero(inner_zyx) * voxel_mm3 >= MIN_LEFT_MM3:
            return Eroded(mask_zyx=inner_zyx, depth_mm=depth)
    return Eroded(mask_zyx=None, depth_mm=None)
