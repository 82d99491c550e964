"""Voxel grids: where array axes meet patient axes. The flip between (x, y, z) and (z, y, x) lives here.

In memory an image is a SimpleITK image whose index axes run to the patient's left, back and head
(+L, +P, +S), so its direction is the identity. Arrays are (z, y, x); index 0 of z is the most distal slice.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from lib.errors import ConfigError, ScanError

SIDES = ("left", "right")

# A volume turned by less than this counts as axis-aligned: over 200 mm it moves voxels by 0.35 mm.
MAX_OBLIQUITY_DEGREES = 0.1

# Two grids are the same when no voxel centre differs by more than this fraction of the smallest voxel edge.
# NIfTI stores positions as float32, which moves voxels of a femur scan by about 1e-4 of an edge.
GRID_TOLERANCE_VOXELS = 0.05


def array_zyx(image: sitk.Image) -> np.ndarray:
    """Return a copy of the voxels of `image` as an array (z, y, x)."""
    return sitk.GetArrayFromImage(image)


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


def mirror_for_model(array_zyx: np.ndarray, side: str) -> np.ndarray:
    """Return `array_zyx` as the model sees it: a right hip mirrored along x, a left hip as it is.

    Doing it twice gives the array back, so the same call brings a prediction back to true anatomy. The
    result is contiguous; a left hip's array is returned itself.
    """
    if side not in SIDES:
        raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {side!r}")
    if side == "left":
        return array_zyx
    return np.ascontiguousarray(array_zyx[..., ::-1])


def same_grid(a: sitk.Image, b: sitk.Image) -> bool:
    """Return whether two images have the same size and the same voxel centres (to GRID_TOLERANCE_VOXELS)."""
    if a.GetSize() != b.GetSize():
        return False
    return grid_distance_mm(a, b) <= GRID_TOLERANCE_VOXELS * min(*a.GetSpacing(), *b.GetSpacing())


def grid_distance_mm(a: sitk.Image, b: sitk.Image) -> float:
    """Return the largest distance in mm between equal corners of two grids.

    Positions are affine in the index, so for grids of one size no voxel differs by more.
    """
    return max(math.dist(p, q) for p, q in zip(_corners_mm(a), _corners_mm(b), strict=True))


def require_same_grid(a: sitk.Image, b: sitk.Image, what_a: str, what_b: str) -> None:
    """Raise `ScanError("mask_off_grid")` naming both grids unless `a` and `b` lie on the same one."""
    if not same_grid(a, b):
        raise ScanError(
            "mask_off_grid",
            f"{what_a} and {what_b} must lie on the same grid; "
            f"{what_a} has {describe_grid(a)}, {what_b} has {describe_grid(b)}",
        )


def describe_grid(image: sitk.Image) -> str:
    """Return size, spacing and origin of `image` in words."""
    size = "x".join(str(count) for count in image.GetSize())
    spacing = "x".join(f"{edge:.4g}" for edge in image.GetSpacing())
    origin = ", ".join(f"{position:.2f}" for position in image.GetOrigin())
    return f"{size} voxels of {spacing} mm, first voxel at ({origin}) mm LPS"


def to_patient_axes(image: sitk.Image) -> sitk.Image:
    """Return `image` with index axes along +L, +P, +S.

    Axes are permuted and flipped, voxels never interpolated. What is left of an obliquity below
    MAX_OBLIQUITY_DEGREES is dropped: the direction becomes the identity.

    Raises:
        ScanError: `oblique_orientation`, the volume is turned by more than that.
    """
    oriented = sitk.DICOMOrient(image, "LPS")
    angle_degrees = obliquity_degrees(oriented.GetDirection())
    if angle_degrees > MAX_OBLIQUITY_DEGREES:
        raise ScanError(
            "oblique_orientation",
            f"the volume is turned by {angle_degrees:.2f} degrees against the patient's axes",
        )
    oriented.SetDirection(np.eye(3).ravel().tolist())
    return oriented


def obliquity_degrees(direction: Sequence[float]) -> float:
    """Return the largest angle between an index axis and the nearest patient axis, in degrees.

    Args:
        direction: ITK's direction, nine numbers of which columns are the index axes.
    """
    axes = np.asarray(direction).reshape(3, 3)
    along = np.abs(axes).max(axis=0)
    across = np.sqrt(np.maximum((axes**2).sum(axis=0) - along**2, 0.0))
    return float(np.degrees(np.arctan2(across, along)).max())


def _corners_mm(image: sitk.Image) -> list[tuple[float, ...]]:
    ends = [(0, count - 1) for count in image.GetSize()]
    return [image.TransformIndexToPhysicalPoint(corner) for corner in itertools.product(*ends)]
