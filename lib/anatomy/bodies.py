"""Checks of the structures of a reference mask that hold for any bone: slices without it, and parts apart from it."""

from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk

from lib.acquired_slices import PLANES
from lib.catalog.reasons import Reason
from lib.imaging.components import label_pieces

# Limits of the share of empty slices between the ends of a structure: a forgotten slice is flagged, a mask that is
# drawn on every second or fifth slice is refused.
_MANY_EMPTY = 0.1
# Readers draw on the acquired slices, or on those of another view. There, empty slices may also lie between the bones
# of one structure, such as both femurs or several vertebrae, so that a mask is refused only if it consists of at
# least three groups of slices, of at most two slices in the mean: as if each were drawn by itself.
_LEAST_GROUPS, _MOST_SLICES = 3, 2
# Share of a structure apart from its largest piece, above which it is flagged. It is never refused, because one
# structure may stand for several bones.
_FEW_APART = 0.01

_GAPS_ADVICE = (
    "Draw or interpolate the slices that are empty. If the structure stands for bones that lie apart, name each as a "
    "structure of its own."
)


def judge_bodies(labels: sitk.Image, structures: Iterable[str], acquired_axis: str = "z") -> list[Reason]:
    """Return the reasons why structures of a label map cannot be bones, and warnings.

    Args:
        labels: label map of the study, on patient axes.
        structures: their names, in the order of the labels. A structure without a voxel is not judged.
        acquired_axis: patient axis (x, y or z) along which the slices of the scan were acquired.

    Returns:
        Any of `mask_gaps` and the warning `mask_not_solid`, for each structure.
    """
    labels_zyx = sitk.GetArrayViewFromImage(labels)
    reasons = []
    for number, name in enumerate(structures, start=1):
        mask_zyx = labels_zyx == number
        if mask_zyx.any():
            mask_zyx = _cut_out(mask_zyx)
            reasons += [*_check_gaps(mask_zyx, name, acquired_axis), *_check_parts(mask_zyx, name)]
    return reasons


def _cut_out(mask_zyx: np.ndarray) -> np.ndarray:
    """Return the smallest box that holds a mask."""
    covered = (np.flatnonzero(_drawn(mask_zyx, axis)) for axis in "zyx")
    return mask_zyx[tuple(slice(found[0], found[-1] + 1) for found in covered)]


def _drawn(mask_zyx: np.ndarray, axis: str) -> np.ndarray:
    """Return whether each slice along a patient axis holds a voxel of a mask."""
    return mask_zyx.any(axis=tuple(place for place in range(3) if "zyx"[place] != axis))


def _check_gaps(mask_zyx: np.ndarray, name: str, acquired_axis: str) -> list[Reason]:
    """Report empty slices along each axis of a mask that fills its box."""
    reasons = []
    for axis in "zyx":
        drawn = _drawn(mask_zyx, axis)
        empty = int(np.count_nonzero(~drawn))
        if not empty or not (axis == acquired_axis or _is_drawn_singly(drawn)):
            continue
        found = f"{name}: {empty} of {drawn.size} {PLANES[axis]} slices between its ends are empty"
        many = empty > _MANY_EMPTY * drawn.size
        reasons.append(Reason("mask_gaps", found, _GAPS_ADVICE) if many else Reason("mask_not_solid", found))
    return reasons


def _is_drawn_singly(drawn: np.ndarray) -> bool:
    """Return whether the drawn slices, of which the first and the last are, stand alone or in pairs."""
    groups = 1 + np.count_nonzero(drawn[1:] & ~drawn[:-1])
    return bool(groups >= _LEAST_GROUPS and np.count_nonzero(drawn) <= _MOST_SLICES * groups)


def _check_parts(mask_zyx: np.ndarray, name: str) -> list[Reason]:
    pieces = np.bincount(label_pieces(mask_zyx, corners=True).ravel())[1:]
    apart = 1.0 - pieces.max() / pieces.sum()
    found = f"{name}: {apart:.1%} of it lies apart from its largest piece"
    return [Reason("mask_not_solid", found)] if apart > _FEW_APART else []
