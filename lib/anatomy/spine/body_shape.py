"""The shape of a vertebral body: its centre, its heights in front, in the middle and behind, contact with others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Heights are measured beside the midline up to this distance, mm, and in these parts of the body's depth, from the
# front; its rims, which osteophytes change, are left out.
_HALF_SLAB_MM = 8.0
_PARTS = {"anterior": (0.08, 0.30), "middle": (0.39, 0.61), "posterior": (0.70, 0.92)}
_LEAST_DEPTH_MM = 8.0  # less is no body
# ends of the body's depth, as shares of its voxels: single voxels beyond do not count
_DEPTH_SHARES = (0.01, 0.99)


@dataclass(frozen=True, kw_only=True)
class Body:
    """The voxels of a vertebral body.

    Attributes:
        points_mm: centres of its voxels (n, 3) along the image's axes: left, back, up, mm.
        spacing_mm_xyz: size of a voxel, mm.
    """

    points_mm: np.ndarray
    spacing_mm_xyz: Sequence[float]

    @property
    def centroid_mm(self) -> np.ndarray:
        """Its centre (x, y, z)."""
        return self.points_mm.mean(axis=0)

    @property
    def volume_mm3(self) -> float:
        """Its volume."""
        return len(self.points_mm) * float(np.prod(self.spacing_mm_xyz))


def body_of(
    mask_zyx: np.ndarray, spacing_mm_zyx: Sequence[float], corner_zyx: Sequence[int] = (0, 0, 0)
) -> Body:
    """Return the voxels of a mask (z, y, x), whose first voxel has the index `corner_zyx` in the image."""
    indices = np.argwhere(mask_zyx) + np.asarray(corner_zyx)
    return Body(
        points_mm=(indices * np.asarray(spacing_mm_zyx))[:, ::-1].astype(float),
        spacing_mm_xyz=tuple(spacing_mm_zyx)[::-1],
    )


def measure_heights(body: Body, up_mm: np.ndarray) -> dict[str, float]:
    """Return the heights (mm) of a body in its anterior, middle and posterior part; none of a thin remnant.

    A height is the volume of a part over its area seen from above, so that it does not jump with the voxels.

    Args:
        body: the body.
        up_mm: direction (x, y, z) along the column, from feet to head; of any length.
    """
    up = up_mm / np.linalg.norm(up_mm)
    back = np.array([0.0, 1.0, 0.0]) - up[1] * up
    back /= np.linalg.norm(back)
    aside = np.cross(back, up)
    centred = body.points_mm - body.centroid_mm
    beside_mm, behind_mm = centred @ aside, centred @ back
    edges_mm = [float(np.abs(axis) @ np.asarray(body.spacing_mm_xyz)) for axis in (aside, back)]
    in_slab = _overlap(beside_mm, edges_mm[0], -_HALF_SLAB_MM, _HALF_SLAB_MM)
    if not in_slab.any():
        return {}
    front, rear = np.quantile(behind_mm[in_slab > 0], _DEPTH_SHARES)
    if rear - front < _LEAST_DEPTH_MM:
        return {}
    voxel_mm3 = float(np.prod(body.spacing_mm_xyz))
    heights = {}
    for part, shares in _PARTS.items():
        low, high = (front + share * (rear - front) for share in shares)
        inside = in_slab * _overlap(behind_mm, edges_mm[1], low, high)
        heights[part] = float(inside.sum() * voxel_mm3 / ((high - low) * 2 * _HALF_SLAB_MM))
    return heights


def contact_mm2(labels_zyx: np.ndarray, one: int, other: int, spacing_mm_zyx: Sequence[float]) -> float:
    """Return the area (mm2) of the faces between voxels of two labels of a label map (z, y, x)."""
    area_mm2 = 0.0
    for axis in range(3):
        lower = np.take(labels_zyx, range(labels_zyx.shape[axis] - 1), axis=axis)
        upper = np.take(labels_zyx, range(1, labels_zyx.shape[axis]), axis=axis)
        faces = np.count_nonzero((lower == one) & (upper == other))
        faces += np.count_nonzero((lower == other) & (upper == one))
        area_mm2 += faces * float(np.prod(spacing_mm_zyx)) / spacing_mm_zyx[axis]
    return area_mm2


def _overlap(positions_mm: np.ndarray, edge_mm: float, low_mm: float, high_mm: float) -> np.ndarray:
    """Return which share of each voxel, of an edge about a position, lies between two ends."""
    inside_mm = np.minimum(positions_mm + 0.5 * edge_mm, high_mm) - np.maximum(
        positions_mm - 0.5 * edge_mm, low_mm
    )
    return np.clip(inside_mm / edge_mm, 0.0, 1.0)
