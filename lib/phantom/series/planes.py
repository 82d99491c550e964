"""Volumes as slices along any patient axis, with the axes of a DICOM series."""

from dataclasses import dataclass

import numpy as np

from lib.phantom.voxelize import VoxelGrid

_AXES_ZYX = (2, 1, 0)  # array axis of x, y, z


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Orientation of slices: patient axis (0 x, 1 y, 2 z) and sign of rows, columns and slices; right-handed."""

    row: tuple[int, int]
    column: tuple[int, int]
    normal: tuple[int, int]

    @property
    def orientation(self) -> tuple[float, ...]:
        """ImageOrientationPatient: unit vectors along a row and down a column."""
        return (*_unit(*self.row), *_unit(*self.column))

    @property
    def direction(self) -> tuple[float, ...]:
        """The direction matrix of ITK, row by row; its columns are the index axes."""
        axes = np.array([_unit(*axis) for axis in (self.row, self.column, self.normal)])
        return tuple(float(v) for v in axes.T.ravel())


def _unit(axis: int, sign: int) -> tuple[float, float, float]:
    return tuple(float(sign) if k == axis else 0.0 for k in range(3))


AXIAL = Plane(row=(0, 1), column=(1, 1), normal=(2, 1))
CORONAL = Plane(row=(0, 1), column=(2, -1), normal=(1, 1))
SAGITTAL = Plane(row=(1, 1), column=(2, -1), normal=(0, -1))


@dataclass(frozen=True, kw_only=True)
class SliceStack:
    """Slices of a volume: values (slice, row, column) and the place of the first pixel.

    `spacing_ijk_mm` is the size of a voxel along the index axes: from column to column, row to row, slice to slice.
    """

    plane: Plane
    values: np.ndarray
    first_xyz_mm: tuple[float, float, float]
    spacing_ijk_mm: tuple[float, float, float]

    def position_xyz_mm(self, k: float) -> tuple[float, float, float]:
        """Return the place of the first pixel of slice `k`; halves lie between two slices."""
        axis, sign = self.plane.normal
        place = list(self.first_xyz_mm)
        place[axis] = place[axis] + sign * (k * self.spacing_ijk_mm[2])
        return tuple(place)


def cut_slices(volume_zyx: np.ndarray, grid: VoxelGrid, plane: Plane) -> SliceStack:
    """Return a volume on a grid as slices of a plane."""
    index_axes = (plane.row, plane.column, plane.normal)
    values = volume_zyx
    first = list(grid.origin_xyz_mm)
    for axis, sign in index_axes:
        if sign < 0:
            values = np.flip(values, _AXES_ZYX[axis])
            first[axis] += (grid.size_xyz[axis] - 1) * grid.spacing_xyz_mm[axis]
    order = [_AXES_ZYX[axis] for axis, _ in reversed(index_axes)]
    return SliceStack(
        plane=plane,
        values=np.ascontiguousarray(values.transpose(order)),
        first_xyz_mm=tuple(first),
        spacing_ijk_mm=tuple(grid.spacing_xyz_mm[axis] for axis, _ in index_axes),
    )
