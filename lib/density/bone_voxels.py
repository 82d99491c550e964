"""The voxels of a bone whose density is measured, cut out of their scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.catalog.calibration import NO_CALIBRATION


@dataclass(frozen=True, kw_only=True)
class BoneVoxels:
    """The part of a scan around a bone that is divided into regions; make it with `cut_out`.

    Attributes:
        labels_zyx: uint8, 0 outside of the bone, else the region's value; the lowest slice holds bone.
        hu_zyx: intensities, HU.
        density_zyx: densities, mg/cm3; None: they are not known.
        no_density: why they are not; empty if they are.
        spacing_mm_zyx: voxel size.
        start_zyx: index of the first voxel in the scan.
    """

    labels_zyx: np.ndarray
    hu_zyx: np.ndarray
    density_zyx: np.ndarray | None
    no_density: str
    spacing_mm_zyx: tuple[float, float, float]
    start_zyx: tuple[int, int, int]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm_zyx))

    def points_xyz_mm(self, chosen_zyx: np.ndarray) -> np.ndarray:
        """Return the centres of the chosen voxels from the centre of the scan's voxel (0, 0, 0), (n, 3)."""
        return ((np.argwhere(chosen_zyx) + self.start_zyx) * self.spacing_mm_zyx)[:, ::-1]


def cut_out(
    hu_zyx: np.ndarray,
    labels_zyx: np.ndarray,
    spacing_mm_zyx: tuple[float, float, float],
    density_of: Callable[[np.ndarray], np.ndarray] | None = None,
    no_density: str = NO_CALIBRATION,
) -> BoneVoxels | None:
    """Cut the bone out of its scan, with a margin of one voxel at all sides but the lower end.

    The lower end of a hip's mask is a cut through the shaft and no surface, so nothing below it is kept: what lies
    outside of the box is not seen as the outside of the bone.

    Args:
        hu_zyx: the scan, HU.
        labels_zyx: its regions, `lib.anatomy.femur.bone_regions.divide`.
        spacing_mm_zyx: voxel size of both.
        density_of: returns the densities (mg/cm3) of an array of HU; None: there are none.
        no_density: why there are none.

    Returns:
        None if no voxel has a label.
    """
    box = []
    for axis, size in enumerate(labels_zyx.shape):
        places = np.flatnonzero(labels_zyx.any(axis=tuple(other for other in range(3) if other != axis)))
        if not places.size:
            return None
        below = 0 if axis == 0 else 1
        box.append(slice(max(0, int(places[0]) - below), min(size, int(places[-1]) + 2)))
    hu_zyx = hu_zyx[tuple(box)].astype(float)
    return BoneVoxels(
        labels_zyx=labels_zyx[tuple(box)],
        hu_zyx=hu_zyx,
        density_zyx=None if density_of is None else np.asarray(density_of(hu_zyx), float),
        no_density=no_density if density_of is None else "",
        spacing_mm_zyx=spacing_mm_zyx,
        start_zyx=tuple(part.start for part in box),
    )


def has_label(labels_zyx: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return which voxels have one of some labels, bool (z, y, x)."""
    chosen = np.zeros(256, bool)
    chosen[list(values)] = True
    return chosen[labels_zyx]
