"""Checks of the structures of a reference mask that hold for any bone: slices without it, and parts apart from it."""

from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk

from lib.catalog.reasons import Reason
from lib.imaging.components import label_pieces

# Limits of the share of empty slices between the ends of a structure: a forgotten slice is flagged, a mask that is
# drawn on every second or fifth slice is refused.
_MANY_EMPTY = 0.1
# Share of a structure apart from its largest piece, above which it is flagged. It is never refused, because one
# structure may stand for several bones.
_FEW_APART = 0.01

_GAPS_ADVICE = (
    "Draw or interpolate the slices that are empty. If the structure stands for bones that lie apart, name each as a "
    "structure of its own."
)


def judge_bodies(labels: sitk.Image, structures: Iterable[str]) -> list[Reason]:
    """Return the reasons why structures of a label map cannot be bones, and warnings.

    Args:
        labels: label map of the study, on patient axes.
        structures: their names, in the order of the labels. A structure without a voxel is not judged.

    Returns:
        Any of `mask_gaps` and the warning `mask_not_solid`, for each structure.
    """
    labels_zyx = sitk.GetArrayViewFromImage(labels)
    reasons = []
    for number, name in enumerate(structures, start=1):
        mask_zyx = labels_zyx == number
        if mask_zyx.any():
            mask_zyx = _cut_out(mask_zyx)
            reasons += [*_check_slices(mask_zyx, name), *_check_parts(mask_zyx, name)]
    return reasons


def _cut_out(mask_zyx: np.ndarray) -> np.ndarray:
    """Return the smallest box that holds a mask."""
    covered = (np.flatnonzero(mask_zyx.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    return mask_zyx[tuple(slice(found[0], found[-1] + 1) for found in covered)]


def _check_slices(mask_zyx: np.ndarray, name: str) -> list[Reason]:
    empty = np.count_nonzero(~mask_zyx.any(axis=(1, 2)))
    if not empty:
        return []
    found = f"{name}: {empty} of {len(mask_zyx)} slices between its ends are empty"
    if empty <= _MANY_EMPTY * len(mask_zyx):
        return [Reason("mask_not_solid", found)]
    return [Reason("mask_gaps", found, _GAPS_ADVICE)]


def _check_parts(mask_zyx: np.ndarray, name: str) -> list[Reason]:
    pieces = np.bincount(label_pieces(mask_zyx, corners=True).ravel())[1:]
    apart = 1.0 - pieces.max() / pieces.sum()
    found = f"{name}: {apart:.1%} of it lies apart from its largest piece"
    return [Reason("mask_not_solid", found)] if apart > _FEW_APART else []
