"""The regions of a femur on a voxel grid: which share of each voxel belongs to head, neck, trochanter and shaft."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.phantom.anatomy.femur_landmarks import FemurLandmarks
from lib.phantom.voxelize import VoxelGrid

REGIONS = ("head", "neck", "trochanter", "shaft")
"""Disjoint regions that tile a femur, in the order of their columns and numbers."""

HEAD_RADII = 1.1
"""The head lies within so many radii of its centre."""

# size of sub-voxels of those that a border crosses; bone so close to the neck's outline belongs to the neck
_SUB_MM, _NECK_MARGIN_MM = 0.5, 1.0
_ANGLES = 72


@dataclass(frozen=True, kw_only=True)
class VoxelPoints:
    """Voxels of a grid as points: centres (n, 3) in LPS mm, and the size of a voxel."""

    centers_xyz_mm: np.ndarray
    spacing_xyz_mm: np.ndarray

    @property
    def reach_mm(self) -> float:
        """Half the diagonal of a voxel, mm."""
        return 0.5 * float(np.linalg.norm(self.spacing_xyz_mm))

    @classmethod
    def of(cls, voxels_zyx: tuple[np.ndarray, ...], grid: VoxelGrid) -> "VoxelPoints":
        """Return the voxels of the given indices."""
        centers = np.stack([grid.centers_mm(axis)[voxels_zyx[2 - axis]] for axis in range(3)], axis=1)
        return cls(centers_xyz_mm=centers, spacing_xyz_mm=np.array(grid.spacing_xyz_mm))


def region_shares(points: VoxelPoints, landmarks: FemurLandmarks) -> np.ndarray:
    """Return the share of each voxel in each of `REGIONS`, (n, 4); each row adds up to 1.

    Voxels that a border crosses are divided into sub-voxels of 0.5 mm.
    """
    inside = NeckOutline(landmarks)

    def regions_at(places: np.ndarray, size_xyz_mm: np.ndarray) -> np.ndarray:
        along = landmarks.along_neck_mm(places)
        across_neck, across_shaft = (
            width_mm(axis, size_xyz_mm) for axis in (landmarks.neck, landmarks.shaft)
        )
        above = step_share(landmarks.above_distal_mm(places), across_shaft)
        before_neck = step_share(landmarks.head_end_mm - along, across_neck)
        before_trochanter = step_share(landmarks.neck_end_mm - along, across_neck)
        from_center = np.linalg.norm(places - landmarks.center_xyz_mm, axis=1)
        head = above * before_neck * (from_center <= HEAD_RADII * landmarks.radius_mm)
        neck = above * (before_trochanter - before_neck)
        neck[neck > 0] *= inside(places[neck > 0])
        return np.stack([head, neck, above - head - neck, 1 - above], axis=1)

    middle = points.centers_xyz_mm
    along = landmarks.along_neck_mm(middle)
    borders_mm = (
        along - landmarks.head_end_mm,
        along - landmarks.neck_end_mm,
        landmarks.above_distal_mm(middle),
    )
    ball_mm = np.linalg.norm(middle - landmarks.center_xyz_mm, axis=1) - HEAD_RADII * landmarks.radius_mm
    crossed = np.any([np.abs(distance) < points.reach_mm for distance in borders_mm], axis=0)
    crossed |= (np.abs(ball_mm) < points.reach_mm) & (along < landmarks.head_end_mm + points.reach_mm)
    return split(points, crossed, regions_at)


def split(
    points: VoxelPoints, crossed: np.ndarray, shares_at: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the shares of each voxel in some parts, (n, parts).

    Args:
        points: The voxels.
        crossed: Which of them to divide into sub-voxels.
        shares_at: Shares of boxes around places (n, 3), which all have one size (3,), mm.
    """
    shares = shares_at(points.centers_xyz_mm, points.spacing_xyz_mm)
    counts = np.maximum(np.ceil(points.spacing_xyz_mm / _SUB_MM).astype(int), 1)
    size_xyz_mm = points.spacing_xyz_mm / counts
    steps = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(counts, size_xyz_mm, strict=True)]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    shares[crossed] = 0.0
    for shift in shifts:
        shares[crossed] += shares_at(points.centers_xyz_mm[crossed] + shift, size_xyz_mm) / len(shifts)
    return shares


def width_mm(normal: np.ndarray, size_mm: np.ndarray) -> float:
    """Return how far a box reaches along a direction, mm."""
    return float(np.abs(normal) @ size_mm)


def step_share(beyond_mm: np.ndarray, across_mm: float) -> np.ndarray:
    """Return the share of boxes beyond a plane, from the distance of their centres and their width across it."""
    return np.clip(0.5 + beyond_mm / across_mm, 0.0, 1.0)


class NeckOutline:
    """Tells the neck from other bone between the same two planes, such as the tip of the greater trochanter."""

    def __init__(self, landmarks: FemurLandmarks) -> None:
        """Take the neck's outlines as distances from its axis by angle."""
        self._landmarks = landmarks
        aside = np.cross(landmarks.neck, [0.0, 0.0, 1.0])
        self._first = aside / np.linalg.norm(aside)
        self._second = np.cross(landmarks.neck, self._first)
        self._places_mm = np.array([place for place, _ in landmarks.neck_outlines])
        angles = -np.pi + 2 * np.pi * np.arange(_ANGLES) / _ANGLES
        rings = []
        for _, ring in landmarks.neck_outlines:
            angle, distance = self._polar(ring.pieces_xyz_mm[:, 0])
            order = np.argsort(angle)
            rings.append(np.interp(angles, angle[order], distance[order], period=2 * np.pi))
        self._reach_mm = np.array(rings)

    def __call__(self, places_xyz_mm: np.ndarray) -> np.ndarray:
        """Return which places (n, 3) between head and trochanter lie within the neck's outline."""
        angle, distance = self._polar(places_xyz_mm)
        along = self._landmarks.along_neck_mm(places_xyz_mm)
        row = np.abs(along[:, None] - self._places_mm).argmin(axis=1)
        turn = (angle + np.pi) / (2 * np.pi) * _ANGLES
        low = np.floor(turn).astype(int) % _ANGLES
        share = turn - np.floor(turn)
        reach = (1 - share) * self._reach_mm[row, low] + share * self._reach_mm[row, (low + 1) % _ANGLES]
        return distance <= reach + _NECK_MARGIN_MM

    def _polar(self, places_xyz_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off = places_xyz_mm - self._landmarks.center_xyz_mm
        first, second = off @ self._first, off @ self._second
        return np.arctan2(second, first), np.hypot(first, second)
