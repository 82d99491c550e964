"""Voxels of a probability map by level, inside and outside the reference, and the areas under the curves.

A stored map holds levels, whole multiples of 1/65535. Curves follow from the numbers of voxels of each level inside
and outside the reference. From the counts of all levels the areas are those that scikit-learn computes from the
voxels: ties count half in the area under the ROC curve; the area under the precision-recall curve is the average
precision, the sum of (R_n - R_(n-1)) P_n over falling thresholds.

To pool many scans, counts are kept in bins. Near 0 and 1, where most voxels of a trained network's map lie, a bin is
one level; from there to the middle, bins become wider, up to 256 levels. Every point of a pooled curve is exact. In
an area, voxels of a bin of several levels count with the mean over all orders in which they may stand. From ten
thousand voxels of bone on, it then differs from scikit-learn's by less than 1e-4; if a map has far fewer levels than
a file can hold, its ties remain unknown, and the difference reaches 4e-4 (tests/unit/test_curves.py).

In a small field of view almost every voxel of the background is easy, so that the area under the ROC curve is near 1
for any network. Precision and recall do not count these voxels (Saito and Rehmsmeier 2015, PLoS ONE 10:e0118432).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from lib.errors import TableError

LEVELS = 65536  # of a stored map: level / (LEVELS - 1) is the probability

NO_REFERENCE = "the reference mask is empty"
NO_BACKGROUND = "the reference fills the whole crop"

# levels of the widest bins; their borders are multiples of 1/256, as are thresholds by Otsu
_WIDEST = 256
_GROWTH = 0.05  # width of a bin by its distance from 0 or 1


def _lowest_levels() -> np.ndarray:
    half = [0]
    while (width := max(1, int(_GROWTH * half[-1]))) < _WIDEST:
        half.append(half[-1] + width)
    half.extend(range(-(-half[-1] // _WIDEST) * _WIDEST, LEVELS // 2, _WIDEST))
    edges = np.unique([*half, LEVELS // 2])
    return np.concatenate([edges, LEVELS - edges[-2:0:-1]])


BIN_LEVELS = _lowest_levels()  # the lowest level of each bin
_BIN_WIDTHS = np.diff(BIN_LEVELS, append=LEVELS)


@dataclass(frozen=True, kw_only=True)
class VoxelCounts:
    """Voxels by level of their probability, inside and outside the reference, each (n,).

    Attributes:
        inside, outside: numbers of voxels, from the lowest level to the highest.
        ties: whether all voxels of a bin have one level, (n,).
    """

    inside: np.ndarray
    outside: np.ndarray
    ties: np.ndarray

    def in_bins(self) -> dict[str, list[int]]:
        """Return the counts of all levels in the bins of BIN_LEVELS, as `measured/` keeps them."""
        counts = {"inside": self.inside, "outside": self.outside}
        return {name: np.add.reduceat(number, BIN_LEVELS).tolist() for name, number in counts.items()}


def count_levels(levels_zyx: np.ndarray, reference_zyx: np.ndarray) -> VoxelCounts:
    """Count the voxels of each of LEVELS levels.

    Args:
        levels_zyx: levels of the probability (z, y, x), uint16.
        reference_zyx: reference on the same grid, 0 outside.
    """
    inside, total = np.zeros(LEVELS, np.int64), np.zeros(LEVELS, np.int64)
    # slice by slice: bincount makes a copy in int64, which would be large for a whole map
    for levels_yx, reference_yx in zip(levels_zyx, np.asarray(reference_zyx) != 0, strict=True):
        total += np.bincount(levels_yx.ravel(), minlength=LEVELS)
        inside += np.bincount(levels_yx[reference_yx], minlength=LEVELS)
    return VoxelCounts(inside=inside, outside=total - inside, ties=np.ones(LEVELS, bool))


def pool_counts(binned: Iterable[Mapping]) -> VoxelCounts:
    """Return the sum of counts in bins (`VoxelCounts.in_bins`) of several scans.

    Raises:
        TableError: they were counted in other bins.
    """
    sums = {name: np.zeros(len(BIN_LEVELS), np.int64) for name in ("inside", "outside")}
    for counts in binned:
        for name, total in sums.items():
            if len(counts[name]) != len(total):
                raise TableError(
                    f"voxels were counted in {len(counts[name])} bins of the probability, expected are {len(total)}: "
                    "measure these predictions again"
                )
            total += np.asarray(counts[name], np.int64)
    return VoxelCounts(**sums, ties=_BIN_WIDTHS == 1)


def measure_areas(counts: VoxelCounts) -> dict:
    """Return `auc_pr` and `auc_roc` of counts, None where undefined, and the reasons in `undefined`."""
    areas = {"auc_pr": average_precision(counts), "auc_roc": roc_area(counts)}
    why = NO_BACKGROUND if counts.inside.any() else NO_REFERENCE
    return areas | {"undefined": {name: why for name, area in areas.items() if area is None}}


def roc_area(counts: VoxelCounts) -> float | None:
    """Return the area under the ROC curve; None if no voxel, or every voxel, belongs to the reference.

    It is the probability that a voxel inside has a higher level than one outside; ties, and voxels of one bin, count
    half (Hanley and McNeil 1982, Radiology 143:29).
    """
    # float64 holds the products of counts of many large scans without overflow
    inside, outside = counts.inside.astype(float), counts.outside.astype(float)
    if not (inside.any() and outside.any()):
        return None
    below = np.cumsum(outside) - outside
    return float(inside / inside.sum() @ ((below + 0.5 * outside) / outside.sum()))


def average_precision(counts: VoxelCounts) -> float | None:
    """Return the area under the precision-recall curve; None if no voxel belongs to the reference."""
    # from the highest level down
    inside, outside, ties = counts.inside[::-1], counts.outside[::-1], counts.ties[::-1]
    filled = inside > 0
    if not filled.any():
        return None
    found, chosen = np.cumsum(inside), np.cumsum(inside + outside)
    gained = inside[filled] * np.where(
        ties[filled],
        found[filled] / chosen[filled],
        _mean_precision(inside[filled], outside[filled], found[filled], chosen[filled]),
    )
    return float(gained.sum() / inside.sum())


def _mean_precision(
    inside: np.ndarray, outside: np.ndarray, found: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Return the mean precision at the voxels inside the reference in bins whose voxels stand in an unknown order.

    Above a bin lie C voxels, F of them inside; in the bin s, a of them inside. If its k-th voxel is inside, there are
    on average F + 1 + (k - 1) c inside up to it, with c = (a - 1)/(s - 1), out of C + k. The mean of that share over
    k = 1...s is c + (F + 1 - c(C + 1)) (digamma(C + s + 1) - digamma(C + 1))/s.

    Args:
        inside, outside: voxels of each bin, at least one of them inside.
        found, chosen: voxels inside, and all voxels, down to the lower border of each bin.
    """
    size = inside + outside
    above, chosen_above = found - inside, chosen - size
    share = (inside - 1) / np.maximum(size - 1, 1)
    steps = digamma(chosen + 1.0) - digamma(chosen_above + 1.0)
    return share + (above + 1 - share * (chosen_above + 1)) * steps / size


def curve_of(counts: VoxelCounts) -> dict[str, np.ndarray]:
    """Return `threshold`, `precision`, `recall` and `false_positive_rate` of counts in bins, from high to low."""
    found, added = np.cumsum(counts.inside[::-1]), np.cumsum(counts.outside[::-1])
    return {
        "threshold": BIN_LEVELS[::-1] / (LEVELS - 1),
        "precision": _shares(found, found + added),
        "recall": _shares(found, found[-1]),
        "false_positive_rate": _shares(added, added[-1]),
    }


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return part / whole
