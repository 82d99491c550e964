"""Density of bone on a coarse copy of a CT, along the image's own axes: where searches for an anatomy begin."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.imaging.grid import column_mm, spacing_zyx
from lib.imaging.kernels import block_mean

COARSE_MM = 3.0

# Density rises from 0 to 1 between these multiples of bone_hu, so that sparse trabecular bone of old people counts a
# little and metal counts no more than cortical bone.
_DENSITY_LOW, _DENSITY_HIGH = 0.25, 1.5
# A column at least this dense on every slice is a rod of a density phantom or part of the table, not bone.
_COLUMN_DENSITY = 0.3
_TISSUE_HU = -300.0


@dataclass(frozen=True, kw_only=True)
class ImageAxes:
    """Positions along the axes of an image, mm; in an oblique image the axes turn about the image's centre."""

    image: sitk.Image

    @property
    def origin_mm_xyz(self) -> np.ndarray:
        """Position of the first voxel; the image's origin if it is not oblique."""
        origin_mm = np.array(self.image.GetOrigin())
        return origin_mm + (self._direction.T - np.eye(3)) @ (origin_mm - self._center_mm)

    def point_mm(self, xyz_mm: Sequence[float]) -> np.ndarray:
        """Return the position of a point in the patient (x, y, z; LPS)."""
        return np.array(xyz_mm) + (self._direction - np.eye(3)) @ (np.array(xyz_mm) - self._center_mm)

    def column_mm(self, xy_mm: Sequence[float]) -> tuple[float, float]:
        """Return where a column along the third axis lies in the patient (see `lib.imaging.grid.column_mm`)."""
        return column_mm(self.image, (np.array(xy_mm) - self.origin_mm_xyz[:2]) / self.image.GetSpacing()[:2])

    @property
    def _direction(self) -> np.ndarray:
        return np.array(self.image.GetDirection()).reshape(3, 3)

    @property
    def _center_mm(self) -> np.ndarray:
        middle = [0.5 * (count - 1) for count in self.image.GetSize()]
        return np.array(self.image.TransformContinuousIndexToPhysicalPoint(middle))


@dataclass(frozen=True, kw_only=True)
class CoarseBone:
    """Bone density (z, y, x) on a coarse grid, and the tissue voxels in each coronal (y) and sagittal (x) plane.

    Positions are along the axes of the image.
    """

    density_zyx: np.ndarray
    tissue_y: np.ndarray
    tissue_x: np.ndarray
    spacing_mm_zyx: np.ndarray
    origin_mm_zyx: np.ndarray

    def positions_mm(self, axis: int) -> np.ndarray:
        """Return the voxel centres along an axis (0 = z)."""
        return self.origin_mm_zyx[axis] + self.spacing_mm_zyx[axis] * np.arange(self.density_zyx.shape[axis])

    @property
    def body_x_mm(self) -> float:
        """Mean position of the tissue in view, left to right."""
        return float(np.average(self.positions_mm(2), weights=self.tissue_x + 1e-6))

    @property
    def tissue_lean(self) -> float:
        """Excess of tissue in the right eighth of the field of view over the left eighth, relative to the mean."""
        count = max(1, len(self.tissue_x) // 8)
        return float(
            (self.tissue_x[:count].mean() - self.tissue_x[-count:].mean()) / max(self.tissue_x.mean(), 1e-6)
        )

    @property
    def whole_body(self) -> bool:
        """Whether the body ends within the field of view on both sides."""
        return max(self.tissue_x[0], self.tissue_x[-1]) < 0.05 * self.tissue_x.max()


def coarse_bone(axes: ImageAxes, bone_hu: float) -> CoarseBone:
    """Return the density of bone of a CT (HU) on a coarse grid; `bone_hu` is a voxel of bone."""
    fine_mm = np.array(spacing_zyx(axes.image))
    steps = np.maximum(1, np.floor(COARSE_MM / fine_mm + 0.01).astype(int))
    hu_zyx = block_mean(sitk.GetArrayViewFromImage(axes.image), steps)
    low_hu, high_hu = _DENSITY_LOW * bone_hu, _DENSITY_HIGH * bone_hu
    density_zyx = np.clip((hu_zyx - low_hu) / (high_hu - low_hu), 0.0, 1.0)
    density_zyx *= density_zyx.min(axis=0) < _COLUMN_DENSITY
    # slices are skipped, pixels of a slice are averaged
    block_shift_mm = 0.5 * fine_mm * (steps - 1) * [0, 1, 1]
    tissue_yx = np.count_nonzero(hu_zyx > _TISSUE_HU, axis=0)
    return CoarseBone(
        density_zyx=density_zyx,
        tissue_y=tissue_yx.sum(axis=1),
        tissue_x=tissue_yx.sum(axis=0),
        spacing_mm_zyx=fine_mm * steps,
        origin_mm_zyx=axes.origin_mm_xyz[::-1] + block_shift_mm,
    )
