"""Voxel grids: array axes and patient axes. The conversion between (x, y, z) and (z, y, x) is defined here.

In memory an image is a SimpleITK image whose index axes are those nearest to the patient's left, back and head
(+L, +P, +S). Its direction is the identity, or a rotation if the scan is oblique: voxels are never interpolated to
straighten it. Arrays are (z, y, x); index 0 of z is the most distal slice.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError

SIDES = ("left", "right")

# A rotation that moves no voxel further than this is a rounding error of the header and is removed.
ROUNDING_MM = 0.005

# Two grids are the same when no voxel centre differs by more than this fraction of the smallest voxel edge.
# NIfTI stores positions as float32, which moves voxels of a femur scan by about 1e-4 of an edge.
GRID_TOLERANCE_VOXELS = 0.05

# Advice for two grids of equal size that differ by less than a voxel, and by more.
_SAME_HEADER = (
    "Spacing or origin was rounded when the mask was saved: save it again with the header of this scan "
    "(a label map with the scan as reference volume)."
)
_OTHER_PLACE = "Check that the mask belongs to this scan: it has the same size, but lies in another place."


def array_zyx(image: sitk.Image) -> np.ndarray:
    """Return a copy of the voxels of `image` as an array (z, y, x)."""
    return sitk.GetArrayFromImage(image)


def voxel_mm3(image: sitk.Image) -> float:
    """Return the volume of one voxel of `image`."""
    return math.prod(image.GetSpacing())


def volume_mm3(mask: sitk.Image) -> float:
    """Return the volume of the non-zero voxels of `mask`."""
    return int(np.count_nonzero(array_zyx(mask))) * voxel_mm3(mask)


def volumes_mm3(labels: sitk.Image, structures: Iterable[str]) -> dict[str, float]:
    """Return the volume of each structure of a label map of the study, by name in the order of its labels."""
    labels_zyx = sitk.GetArrayViewFromImage(labels)
    return {
        name: int(np.count_nonzero(labels_zyx == number)) * voxel_mm3(labels)
        for number, name in enumerate(structures, start=1)
    }


def image_like(array_zyx: np.ndarray, reference: sitk.Image) -> sitk.Image:
    """Return `array_zyx` (bool becomes uint8) as an image on the grid of `reference`.

    Raises:
        ValueError: the array has another shape than the grid.
    """
    shape_zyx = reference.GetSize()[::-1]
    if array_zyx.shape != shape_zyx:
        raise ValueError(f"an array of shape {array_zyx.shape} does not fit the grid {shape_zyx} (z, y, x)")
    if array_zyx.dtype == bool:
        array_zyx = array_zyx.astype(np.uint8)
    image = sitk.GetImageFromArray(array_zyx)
    image.SetOrigin(reference.GetOrigin())
    image.SetSpacing(reference.GetSpacing())
    image.SetDirection(reference.GetDirection())
    return image


def spacing_zyx(image: sitk.Image) -> tuple[float, float, float]:
    """Return the voxel spacing of `image` in mm, in array order (z, y, x)."""
    x_mm, y_mm, z_mm = image.GetSpacing()
    return z_mm, y_mm, x_mm


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Return whether two images have the same size and the same voxel centres (to GRID_TOLERANCE_VOXELS)."""
    if a.GetSize() != b.GetSize():
        return False
    return grid_distance_mm(a, b) <= GRID_TOLERANCE_VOXELS * min(*a.GetSpacing(), *b.GetSpacing())


def grid_distance_mm(a: sitk.Image, b: sitk.Image) -> float:
    """Return the largest distance in mm between equal corners of two grids.

    Positions are affine in the index, so in grids of equal size no voxel differs by more.
    """
    return max(math.dist(p, q) for p, q in zip(_corners_mm(a), _corners_mm(b), strict=True))


def require_same_grid(a: sitk.Image, b: sitk.Image, what_a: str, what_b: str) -> None:
    """Raise `ScanError("mask_off_grid")` naming both grids unless `a` and `b` lie on the same one.

    Grids of equal size may look alike in print, so the error states their distance and the tolerance.
    """
    if same_grid(a, b):
        return
    found = (
        f"{what_a} and {what_b} must lie on the same grid; "
        f"{what_a} has {describe_grid(a)}, {what_b} has {describe_grid(b)}"
    )
    if a.GetSize() != b.GetSize():
        raise ScanError("mask_off_grid", found)
    apart_mm, edge_mm = grid_distance_mm(a, b), min(*a.GetSpacing(), *b.GetSpacing())
    raise ScanError(
        "mask_off_grid",
        f"{found}: voxels lie up to {apart_mm:.2g} mm apart; "
        f"at most {GRID_TOLERANCE_VOXELS * edge_mm:.2g} mm is allowed",
        _SAME_HEADER if apart_mm <= edge_mm else _OTHER_PLACE,
    )


def laid_on(mask: sitk.Image, image: sitk.Image) -> sitk.Image | None:
    """Return a label map (uint8) on the whole grid of `image`, 0 outside a cropped map; None if it does not fit.

    Segmentations are often saved with the empty borders cut away. Such a mask fits if it lies within the image and
    its voxel centres are voxel centres of the image (to GRID_TOLERANCE_VOXELS).
    """
    if same_grid(mask, image):
        return mask
    start = [round(i) for i in image.TransformPhysicalPointToContinuousIndex(mask.GetOrigin())]
    counts = zip(start, mask.GetSize(), image.GetSize(), strict=True)
    if not all(first >= 0 and first + count <= whole for first, count, whole in counts):
        return None
    part = sitk.Image(mask.GetSize(), sitk.sitkUInt8)
    part.SetOrigin(image.TransformIndexToPhysicalPoint(start))
    part.SetSpacing(image.GetSpacing())
    part.SetDirection(image.GetDirection())
    if not same_grid(mask, part):
        return None
    whole_zyx = np.zeros(image.GetSize()[::-1], np.uint8)
    x, y, z = (slice(first, first + count) for first, count in zip(start, mask.GetSize(), strict=True))
    whole_zyx[z, y, x] = sitk.GetArrayViewFromImage(mask)
    return image_like(whole_zyx, image)


def require_laid_on(mask: sitk.Image, image: sitk.Image, what_mask: str, what_image: str) -> sitk.Image:
    """Return `laid_on(mask, image)`, or raise `ScanError("mask_off_grid")` naming both grids."""
    laid = laid_on(mask, image)
    if laid is None:
        require_same_grid(mask, image, what_mask, what_image)
    return laid


def describe_grid(image: sitk.Image) -> str:
    """Return size, spacing and origin of `image` in words."""
    size = "x".join(str(count) for count in image.GetSize())
    spacing = "x".join(f"{edge:.4g}" for edge in image.GetSpacing())
    origin = ", ".join(f"{position:.2f}" for position in image.GetOrigin())
    turned = obliquity_degrees(image.GetDirection())
    oblique = f", turned by {turned:.2f} degrees" if turned else ""
    return f"{size} voxels of {spacing} mm, first voxel at ({origin}) mm LPS{oblique}"


def to_patient_axes(image: sitk.Image) -> sitk.Image:
    """Return `image` with index axes nearest to +L, +P, +S.

    Axes are permuted and flipped, but voxels are never interpolated: an oblique volume stays oblique. A rotation
    within ROUNDING_MM is removed.
    """
    if axis_letters(image) != "LPS":
        image = sitk.DICOMOrient(image, "LPS")
    halves_mm = 0.5 * (np.array(image.GetSize()) - 1) * image.GetSpacing()
    turn = np.reshape(image.GetDirection(), (3, 3)) - np.eye(3)
    # no corner moves further than the sum over the axes
    moved_mm = np.linalg.norm(turn * halves_mm, axis=0).sum()
    return straightened(image) if moved_mm < ROUNDING_MM else image


def axis_letters(image: sitk.Image) -> str:
    """Return the letters of the patient directions in which the indices increase, for example RAS."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def straightened(image: sitk.Image) -> sitk.Image:
    """Return `image` (axes nearest to +L, +P, +S) with identity direction: same voxels, same centre.

    Positions in it are along the volume's own axes; they equal those in the patient if it is not oblique.
    """
    if np.array_equal(np.reshape(image.GetDirection(), (3, 3)), np.eye(3)):
        return image
    straight = sitk.Image(image)
    halves_mm = 0.5 * (np.array(image.GetSize()) - 1) * image.GetSpacing()
    straight.SetOrigin((np.array(_center_mm(image)) - halves_mm).tolist())
    straight.SetDirection(np.eye(3).ravel().tolist())
    return straight


def column_index(image: sitk.Image, xy_mm: Sequence[float]) -> tuple[float, float]:
    """Return the index (i, j) of the column of voxels through (x, y) mm at the height of the image's centre."""
    point_mm = (*xy_mm, _center_mm(image)[2])
    i, j, _ = image.TransformPhysicalPointToContinuousIndex(point_mm)
    return i, j


def slice_index(image: sitk.Image, point_mm_xyz: Sequence[float]) -> float:
    """Return the (fractional) index of the slice through a point (LPS mm)."""
    return image.TransformPhysicalPointToContinuousIndex(point_mm_xyz)[2]


def column_mm(image: sitk.Image, ij: Sequence[float]) -> tuple[float, float]:
    """Return the position (x, y) mm of a column of voxels at the height of the image's centre."""
    low, high = (np.array(image.TransformContinuousIndexToPhysicalPoint((*ij, k))) for k in (0.0, 1.0))
    x_mm, y_mm, _ = low + (high - low) * (_center_mm(image)[2] - low[2]) / (high[2] - low[2])
    return float(x_mm), float(y_mm)


def positions_in(image: sitk.Image, grid: sitk.Image, axis: int) -> np.ndarray:
    """Return the positions of the voxel centres of `grid` along an axis (0 = x), in voxels of `image`.

    Both must have the same direction, like a scan, its resampled image and its crop.
    """
    first = image.TransformPhysicalPointToContinuousIndex(grid.GetOrigin())[axis]
    return first + grid.GetSpacing()[axis] / image.GetSpacing()[axis] * np.arange(grid.GetSize()[axis])


def obliquity_degrees(direction: Sequence[float]) -> float:
    """Return the largest angle between an index axis and the nearest patient axis, in degrees.

    Args:
        direction: ITK's direction, nine numbers; columns are the index axes.
    """
    axes = np.asarray(direction).reshape(3, 3)
    along = np.abs(axes).max(axis=0)
    across = np.sqrt(np.maximum((axes**2).sum(axis=0) - along**2, 0.0))
    return float(np.degrees(np.arctan2(across, along)).max())


def _center_mm(image: sitk.Image) -> tuple[float, ...]:
    return image.TransformContinuousIndexToPhysicalPoint([0.5 * (count - 1) for count in image.GetSize()])


def _corners_mm(image: sitk.Image) -> list[tuple[float, ...]]:
    ends = [(0, count - 1) for count in image.GetSize()]
    return [image.TransformIndexToPhysicalPoint(corner) for corner in itertools.product(*ends)]
