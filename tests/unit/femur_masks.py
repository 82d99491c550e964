"""Masks of femurs: of the shape model, and of solids whose regions can be computed."""

from dataclasses import dataclass

import numpy as np

from lib.phantom.anatomy.shape import FemurAxes, draw_hip_shape, femur_axes, head_top_mm
from lib.phantom.mesh import move
from lib.phantom.voxelize import VoxelGrid, coverage
from lib.rotations import rotation_matrix

THICK, FINE = (3.0, 0.8, 0.8), (0.8, 0.8, 0.8)
TURN = (8.0, -8.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class FemurMask:
    """A femur's mask (z, y, x), its spacing and side, the place of its first voxel and its true landmarks."""

    mask_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]
    side: str
    origin_xyz_mm: np.ndarray
    axes: FemurAxes


def person_femur(seed, side, turn=(0.0, 0.0, 0.0)):
    """A person's femur of the shape model as a mesh, turned about the head's centre."""
    shape = draw_hip_shape(np.random.default_rng(seed), "MF"[seed % 2])
    femur = shape.femurs[0 if side == "left" else 1]
    return move(femur, rotation_matrix(turn), np.zeros(3), femur_axes(femur).head_center_xyz_mm)


def grid_around(femur, spacing_mm_zyx, below_top_mm):
    """A grid around a femur that ends at a length below the head's top; voxels lie apart from round positions."""
    bottom_mm = head_top_mm(femur) - below_top_mm
    seen = femur.vertices_xyz_mm[femur.vertices_xyz_mm[:, 2] > bottom_mm]
    low, high = seen.min(axis=0) - 6.0, seen.max(axis=0) + 6.0
    spacing = np.array(spacing_mm_zyx[::-1])
    low[2] = bottom_mm + 0.3 * spacing[2]
    size = tuple(int(count) for count in np.ceil((high - low) / spacing))
    return VoxelGrid(origin_xyz_mm=tuple(low), spacing_xyz_mm=tuple(spacing), size_xyz=size)


def model_femur(seed, side, spacing_mm_zyx, *, turn=(0.0, 0.0, 0.0), below_top_mm=135.0):
    """The mask of a person's femur down to a length below the head's top."""
    femur = person_femur(seed, side, turn)
    grid = grid_around(femur, spacing_mm_zyx, below_top_mm)
    return FemurMask(
        mask_zyx=coverage(femur, grid, 3) >= 0.5,
        spacing_mm_zyx=spacing_mm_zyx,
        side=side,
        origin_xyz_mm=np.array(grid.origin_xyz_mm),
        axes=femur_axes(femur),
    )


# the solid femur: radii of head, isthmus and shaft, in mm from its head's centre, x to lateral and z up
HEAD_MM, NECK_MM, SHAFT_MM = 24.0, 15.0, 17.0
ISTHMUS_MM = 28.0
NECK_DEGREES = 46.0
SHAFT_X_MM = 52.0
NECK_ALONG = np.array([np.cos(np.radians(NECK_DEGREES)), 0.0, -np.sin(np.radians(NECK_DEGREES))])


def neck_radius_mm(along_mm):
    """Radius of the solid neck, which is waisted, by the place along its axis."""
    return NECK_MM + np.minimum(0.006 * (along_mm - ISTHMUS_MM) ** 2, 1.0)


def solid_hip(spacing_mm_zyx, *, end_mm=-120.0, phase=0.37):
    """Mask of a left femur of a ball, a round waisted neck, an upright shaft and two trochanters, and its frame.

    Returns:
        the mask (z, y, x) and the place of the head's centre from voxel (0, 0, 0), x, y, z.
    """
    low = np.array([-30.0, -32.0, end_mm]) + phase * np.array(spacing_mm_zyx[::-1])
    high = np.array([80.0, 32.0, 32.0])
    x, y, z = (
        np.arange(start, stop, step)
        for start, stop, step in zip(low, high, spacing_mm_zyx[::-1], strict=True)
    )
    z, y, x = np.meshgrid(z, y, x, indexing="ij", sparse=True)
    head = x**2 + y**2 + z**2 < HEAD_MM**2
    along = x * NECK_ALONG[0] + z * NECK_ALONG[2]
    neck = (x**2 + y**2 + z**2 - along**2 < neck_radius_mm(along) ** 2) & (along > 0) & (x < SHAFT_X_MM)
    shaft = ((x - SHAFT_X_MM) ** 2 + y**2 < SHAFT_MM**2) & (z < -20.0)
    greater = ((x - SHAFT_X_MM - 3.0) / 17.0) ** 2 + (y / 20.0) ** 2 + ((z + 22.0) / 30.0) ** 2 < 1
    away = 16.0
    beside = (x - SHAFT_X_MM + away * np.cos(np.pi / 6)) ** 2 + (y - away * np.sin(np.pi / 6)) ** 2
    lesser = beside / 9.0**2 + ((z + 62.0) / 12.0) ** 2 < 1
    return head | neck | shaft | greater | lesser, -low
