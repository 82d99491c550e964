"""Rotations in 3-D, for the synthetic people and for augmentation."""

from collections.abc import Sequence

import numpy as np


def rotation_matrix(degrees_xyz: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the 3 x 3 rotation, acting on (x, y, z), about x, then y, then z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(np.radians(degrees_xyz)), np.cos(np.radians(degrees_xyz))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
