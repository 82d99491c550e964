"""What lies around vertebral bodies: metal, contrast medium in the aorta, ribs, further bodies without a label."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# metal
NEAR_METAL_MM = 20.0
_MIN_METAL_MM3 = 50.0
# The aorta runs in front of L3, a little to the left. Balls of this radius fit into it; their centres are tried over
# this range beside the middle and in front of the body.
_AORTA_RADIUS_MM = 8.0
_AORTA_BESIDE_MM, _AORTA_BEFORE_MM, _AORTA_STEP_MM = (-28.0, 28.0), (8.0, 32.0), 4.0
# The lowest ribs run outwards and down, and pass beside L1. Beside L2 there is at most the tip of one: in synthetic
# spines of 12 people there were 3,700 to 6,700 mm3 of bone beside L1 on either side, and up to 900 mm3 beside L2.
_RIB_BESIDE_MM, _RIB_BEHIND_MM, _RIB_ABOVE_MM = (50.0, 110.0), (-10.0, 60.0), (-28.0, 10.0)
_RIB_HU, _MIN_RIB_MM3 = 150.0, 1500.0
_RIB_VIEW_MM = 90.0  # a view that ends nearer than this beside the body may lack ribs that are there


@dataclass(frozen=True, kw_only=True)
class Place:
    """A CT as an array, with positions along its axes (left, back, up) in mm from its first voxel.

    Attributes:
        hu_zyx: its voxels, HU.
        spacing_mm_zyx: size of a voxel, mm.
    """

    hu_zyx: np.ndarray
    spacing_mm_zyx: Sequence[float]

    @property
    def ends_mm_xyz(self) -> np.ndarray:
        """Position of the last voxel."""
        return ((np.array(self.hu_zyx.shape) - 1) * self.spacing_mm_zyx)[::-1]

    def box(self, low_mm_xyz: Sequence[float], high_mm_xyz: Sequence[float]) -> tuple[slice, slice, slice]:
        """Return the index ranges (z, y, x) of the voxels between two corners; empty ones outside the image."""
        ranges = []
        for low, high, edge, count in zip(
            low_mm_xyz[::-1], high_mm_xyz[::-1], self.spacing_mm_zyx, self.hu_zyx.shape, strict=True
        ):
            first, last = int(np.ceil(low / edge)), int(np.floor(high / edge))
            ranges.append(slice(min(max(first, 0), count), min(max(last + 1, 0), count)))
        return tuple(ranges)

    def ball(self, center_mm_xyz: Sequence[float], radius_mm: float) -> np.ndarray:
        """Return the HU of the voxels of a ball."""
        center = np.asarray(center_mm_xyz)
        box = self.box(center - radius_mm, center + radius_mm)
        z, y, x = (
            (np.arange(part.start, part.stop) * edge - middle) ** 2
            for part, edge, middle in zip(box, self.spacing_mm_zyx, center[::-1], strict=True)
        )
        inside = z[:, None, None] + y[:, None] + x <= radius_mm**2
        return self.hu_zyx[box][inside]

    def holds(self, low_mm_xyz: Sequence[float], high_mm_xyz: Sequence[float]) -> bool:
        """Return whether a box lies in the image."""
        return bool(
            np.all(np.asarray(low_mm_xyz) >= 0) and np.all(np.asarray(high_mm_xyz) <= self.ends_mm_xyz)
        )


def has_metal_near(
    place: Place, mask_zyx: np.ndarray, box: tuple[slice, slice, slice], metal_hu: float
) -> bool:
    """Return whether at least 50 mm3 of metal lie within 20 mm of a mask.

    Args:
        place: the scan.
        mask_zyx: the mask within its box.
        box: index ranges (z, y, x) of the mask in the scan.
        metal_hu: intensity above which a voxel is metal, HU.
    """
    reach = [int(np.ceil(NEAR_METAL_MM / edge)) for edge in place.spacing_mm_zyx]
    wide = tuple(
        slice(max(part.start - more, 0), min(part.stop + more, count))
        for part, more, count in zip(box, reach, place.hu_zyx.shape, strict=True)
    )
    metal_zyx = place.hu_zyx[wide] > metal_hu
    voxel_mm3 = float(np.prod(place.spacing_mm_zyx))
    if np.count_nonzero(metal_zyx) * voxel_mm3 < _MIN_METAL_MM3:
        return False
    outside_zyx = np.ones(metal_zyx.shape, bool)
    inner = tuple(
        slice(part.start - more.start, part.stop - more.start) for part, more in zip(box, wide, strict=True)
    )
    outside_zyx[inner] = ~mask_zyx
    away_mm = ndimage.distance_transform_edt(outside_zyx, sampling=place.spacing_mm_zyx)
    return np.count_nonzero(metal_zyx & (away_mm <= NEAR_METAL_MM)) * voxel_mm3 >= _MIN_METAL_MM3


def brightest_vessel_hu(place: Place, front_mm_xyz: Sequence[float]) -> float | None:
    """Return the highest median HU of balls of the size of an aorta in front of a body; None if none is in view.

    Args:
        place: the scan.
        front_mm_xyz: the middle of the body's front.
    """
    steps = itertools.product(
        np.arange(_AORTA_BESIDE_MM[0], _AORTA_BESIDE_MM[1] + 1e-6, _AORTA_STEP_MM),
        np.arange(_AORTA_BEFORE_MM[0], _AORTA_BEFORE_MM[1] + 1e-6, _AORTA_STEP_MM),
    )
    found = []
    for beside, before in steps:
        center = np.asarray(front_mm_xyz) + [beside, -before, 0.0]
        if place.holds(center - _AORTA_RADIUS_MM, center + _AORTA_RADIUS_MM):
            found.append(float(np.median(place.ball(center, _AORTA_RADIUS_MM))))
    return max(found, default=None)


def has_ribs_beside(place: Place, center_mm_xyz: Sequence[float]) -> bool | None:
    """Return whether ribs pass beside a vertebra on either side; None if the view is too narrow to tell."""
    center = np.asarray(center_mm_xyz)
    voxel_mm3 = float(np.prod(place.spacing_mm_zyx))
    for side in (-1.0, 1.0):
        end = center + [side * _RIB_VIEW_MM, 0.0, 0.0]
        if not place.holds(end, end):
            return None
        inner, outer = sorted(side * np.array(_RIB_BESIDE_MM))
        low = center + [inner, _RIB_BEHIND_MM[0], _RIB_ABOVE_MM[0]]
        high = center + [outer, _RIB_BEHIND_MM[1], _RIB_ABOVE_MM[1]]
        if np.count_nonzero(place.hu_zyx[place.box(low, high)] > _RIB_HU) * voxel_mm3 >= _MIN_RIB_MM3:
            return True
    return False
