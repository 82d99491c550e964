"""Metal implants: rods, and a nail in the proximal femur."""

import numpy as np

from lib.phantom.anatomy.shape import FemurAxes
from lib.phantom.mesh import Mesh


def nail_mesh(axes: FemurAxes, radius_mm: float = 5.5) -> Mesh:
    """Return a closed rod from the femoral head through the neck to the lateral wall of the shaft."""
    start = axes.head_center_xyz_mm
    along = axes.neck_base_xyz_mm - start
    length = np.linalg.norm(along) * 1.5
    along = along / np.linalg.norm(along)
    return rod_mesh(start, length * along, radius_mm, np.array([0.0, 1.0, 0.0]))


def rod_mesh(
    start_xyz_mm: np.ndarray, along_xyz_mm: np.ndarray, radius_mm: float, aside: np.ndarray, corners: int = 24
) -> Mesh:
    """Return a closed rod from a point along a vector; `aside` is any direction that is not parallel to it."""
    along = along_xyz_mm / np.linalg.norm(along_xyz_mm)
    side = np.cross(along, aside)
    side /= np.linalg.norm(side)
    angle = 2 * np.pi * np.arange(corners) / corners
    ring = radius_mm * (np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * np.cross(along, side))
    here, after = np.arange(corners), (np.arange(corners) + 1) % corners
    near, far = np.full(corners, 2 * corners), np.full(corners, 2 * corners + 1)
    faces = [(here, after, here + corners), (after, after + corners, here + corners)]
    faces += [(near, after, here), (far, here + corners, after + corners)]
    end = start_xyz_mm + along_xyz_mm
    vertices = np.concatenate([start_xyz_mm + ring, end + ring, [start_xyz_mm, end]])
    return Mesh(vertices_xyz_mm=vertices, faces=np.concatenate([np.stack(f, axis=1) for f in faces]))
