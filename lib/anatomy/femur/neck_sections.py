"""Sections of a femur's mask at a right angle to an axis through the head."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# A section is what of it lies within this distance of the axis and is connected there.
REACH_MM = 30.0
# Distance of the sections along the axis, and of their points across it.
STEP_MM = 1.0
# The area and the centre of a section are means over a slab of three sections.
_SLAB_SECTIONS = 3


@dataclass(frozen=True, kw_only=True)
class NeckAxis:
    """A line from the head's centre to lateral, with two directions across it.

    Attributes:
        start_xyz_mm: the head's centre, (3,).
        along: unit vector from head to lateral, (3,).
        across: unit vectors at right angles to it and to one another, (2, 3).
    """

    start_xyz_mm: np.ndarray
    along: np.ndarray
    across: np.ndarray

    @classmethod
    def through(cls, start_xyz_mm: np.ndarray, along: np.ndarray) -> "NeckAxis":
        """Return the axis from a point in a direction that is not that of y."""
        along = along / np.linalg.norm(along)
        first = np.cross(along, (0.0, 1.0, 0.0))
        first /= np.linalg.norm(first)
        return cls(start_xyz_mm=start_xyz_mm, along=along, across=np.stack([first, np.cross(along, first)]))

    def places(self, points_xyz_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of points (n, 3) along the axis (n,) and across it (n, 2), mm."""
        away_mm = points_xyz_mm - self.start_xyz_mm
        return away_mm @ self.along, away_mm @ self.across.T

    def point(self, along_mm: float, across_mm: np.ndarray | tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Return a point by its place along and across the axis, (3,)."""
        return self.start_xyz_mm + along_mm * self.along + np.asarray(across_mm) @ self.across


@dataclass(frozen=True, kw_only=True)
class Sections:
    """Sections at places along an axis.

    Attributes:
        axis: the axis.
        along_mm: places of the sections, STEP_MM apart, (n,).
        across_mm: places of their points in both directions across the axis, (m,).
        bone: whether a point lies in the mask and within REACH_MM of the axis, (n, m, m).
        on_axis: whether it also belongs to the piece of bone next to the axis, (n, m, m).
    """

    axis: NeckAxis
    along_mm: np.ndarray
    across_mm: np.ndarray
    bone: np.ndarray
    on_axis: np.ndarray

    @property
    def areas_mm2(self) -> np.ndarray:
        """Areas of the pieces next to the axis, means over slabs of 3 mm, (n,)."""
        return self._over_slab(self.on_axis.sum(axis=(1, 2))) * STEP_MM**2

    @property
    def centres_mm(self) -> np.ndarray:
        """Centroids across the axis of the pieces, of slabs of 3 mm, (n, 2); NaN where there is no bone."""
        counts = self._over_slab(self.on_axis.sum(axis=(1, 2)))
        sums = (self._over_slab(self.on_axis.sum(axis=other) @ self.across_mm) for other in (2, 1))
        with np.errstate(invalid="ignore"):
            return np.stack([total / counts for total in sums], axis=1)

    @staticmethod
    def _over_slab(values: np.ndarray) -> np.ndarray:
        """Return running means over the sections of a slab."""
        return ndimage.uniform_filter1d(values.astype(float), _SLAB_SECTIONS, mode="nearest")

    def points_xyz_mm(self, chosen: np.ndarray) -> np.ndarray:
        """Return the places of the chosen points, (k, 3), from a mask like `bone`."""
        along, first, second = np.nonzero(chosen)
        across_mm = np.stack([self.across_mm[first], self.across_mm[second]], axis=1)
        return (
            self.axis.start_xyz_mm
            + np.outer(self.along_mm[along], self.axis.along)
            + (across_mm @ self.axis.across)
        )


def cut_sections(
    bone_zyx: np.ndarray,
    spacing_mm_zyx: tuple[float, float, float],
    axis: NeckAxis,
    between_mm: tuple[float, float],
) -> Sections:
    """Cut a mask by planes from the first of two places along an axis to at least the second.

    The mask is interpolated linearly between voxel centres; outside the array there is no bone.

    Args:
        bone_zyx: mask, float32 of 0 and 1.
        spacing_mm_zyx: voxel size; voxel (0, 0, 0) is the origin of positions.
        axis: the axis.
        between_mm: the two places.
    """
    first_mm, last_mm = between_mm
    along_mm = first_mm + STEP_MM * np.arange(1 + max(0, int(np.ceil((last_mm - first_mm) / STEP_MM))))
    count = int(REACH_MM / STEP_MM)
    across_mm = STEP_MM * np.arange(-count, count + 1)
    in_plane_mm = (
        across_mm[:, None, None] * axis.across[0] + across_mm[None, :, None] * axis.across[1]
    )  # (m, m, xyz)
    points_mm = axis.start_xyz_mm + along_mm[:, None, None, None] * axis.along + in_plane_mm
    voxels_zyx = np.moveaxis(points_mm[..., ::-1] / spacing_mm_zyx, -1, 0)
    away_mm = np.hypot(across_mm[:, None], across_mm)
    shares = ndimage.map_coordinates(bone_zyx, voxels_zyx, order=1, output=np.float32)
    bone = (shares >= 0.5) & (away_mm <= REACH_MM)
    return Sections(
        axis=axis, along_mm=along_mm, across_mm=across_mm, bone=bone, on_axis=_next_to_axis(bone, away_mm)
    )


def _next_to_axis(bone: np.ndarray, away_mm: np.ndarray) -> np.ndarray:
    """Return the piece of each section (n, m, m) that has the point nearest to the axis."""
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    pieces, _ = ndimage.label(bone, in_plane)
    nearest = np.where(bone, away_mm, np.inf).reshape(len(bone), -1).argmin(axis=1)
    chosen = pieces.reshape(len(bone), -1)[np.arange(len(bone)), nearest]
    return bone & (pieces == chosen[:, None, None])
