"""Voxels of a probability map by level, inside and outside the reference, and the areas under the curves.

A stored map holds levels, whole multiples of 1/65535. Curves follow from the numbers of voxels of each level inside
and outside the reference. From the counts of all levels the areas are those that scikit-learn computes from the
voxels: ties count half in the area under the ROC curve; the area under the precision-recall curve is the average
precision, the sum of (R_n - R_(n-1)) P_n over falling thresholds.

To pool many scans, a scan keeps its voxels in runs of levels (`VoxelCounts.in_runs`). A level that holds many voxels
is a run by itself. Levels that hold few are counted together, as long as the run adds at most one part in SHARES to
the recall and to the number of voxels above a threshold. In a pooled area, the voxels of a run stand evenly between
its lowest and its highest level. Where a map has few different values, every run is one level. The pooled areas
differ from scikit-learn's by less than 1e-4 (tests/unit/test_curves.py; the largest found is 2e-5). No run crosses a
border of BIN_LEVELS, so that points of a pooled curve are exact.

In a small field of view almost every voxel of the background is easy, so that the area under the ROC curve is near 1
for any network. Precision and recall do not count these voxels (Saito and Rehmsmeier 2015, PLoS ONE 10:e0118432).
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lib.errors import TableError

LEVELS = 65536  # of a stored map: level / (LEVELS - 1) is the probability

NO_REFERENCE = "the reference mask is empty"
NO_BACKGROUND = "the reference fills the whole crop"

SHARES = 500  # parts of the recall, and of the voxels above a threshold, that a run may add
RUN_COLUMNS = ("lowest", "span", "inside", "outside")

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


BIN_LEVELS = _lowest_levels()  # levels at which points of pooled curves are given
_BIN_OF_LEVEL = np.repeat(np.arange(len(BIN_LEVELS)), np.diff(BIN_LEVELS, append=LEVELS))


@dataclass(frozen=True, kw_only=True)
class VoxelCounts:
    """Numbers of voxels of each of LEVELS levels, inside and outside the reference, each (LEVELS,)."""

    inside: np.ndarray
    outside: np.ndarray

    def in_runs(self) -> dict[str, np.ndarray]:
        """Return the counts in runs of levels, from the highest level to the lowest.

        Returns:
            RUN_COLUMNS: the lowest level of each run that has voxels, how far above it the highest one lies (0: the
            run is one level), and the numbers of voxels; whole numbers, (runs,) each.
        """
        total = self.inside + self.outside
        levels = np.flatnonzero(total)[::-1]
        firsts = np.flatnonzero(_begins_run(levels, self.inside[levels], total[levels]))
        lowest = levels[np.append(firsts[1:], len(levels)) - 1]
        runs = {"lowest": lowest, "span": levels[firsts] - lowest}
        runs |= {name: np.add.reduceat(getattr(self, name)[levels], firsts) for name in ("inside", "outside")}
        return {name: runs[name] for name in RUN_COLUMNS}

    def to_json(self) -> dict[str, str]:
        """Return the counts in runs as `measured/` keeps them.

        `runs` has a line of numbers for each of RUN_COLUMNS, compressed by zlib and written in base64: a third of the
        size of the numbers. `read_runs` reads it.
        """
        lines = "\n".join(" ".join(map(str, column.tolist())) for column in self.in_runs().values())
        return {"runs": b64encode(zlib.compress(lines.encode("ascii"), 9)).decode("ascii")}


def _begins_run(levels: np.ndarray, inside: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return whether a run begins at each of the levels that have voxels, from the highest down.

    Args:
        levels: their numbers, falling.
        inside, total: voxels inside the reference, and all, of each level.
    """
    # inside, and all, above each level
    found, chosen = np.cumsum(inside) - inside, np.cumsum(total) - total
    bone = max(1, inside.sum())
    steps = found * SHARES // bone, np.floor(np.log(np.maximum(chosen, 1)) * SHARES), _BIN_OF_LEVEL[levels]
    begins = (inside * SHARES > bone) | (total * SHARES > chosen)
    for step in steps:
        begins[1:] |= np.diff(step) != 0
    begins[:1] = True
    return begins


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
    return VoxelCounts(inside=inside, outside=total - inside)


def read_runs(counts: Mapping) -> dict[str, np.ndarray]:
    """Return the runs of levels of a scan (see `VoxelCounts.in_runs`) from what `VoxelCounts.to_json` gave.

    Raises:
        TableError: it is that of another version, or damaged.
    """
    try:
        lines = zlib.decompress(b64decode(counts["runs"])).split(b"\n")
        columns = [np.array(line.split(), np.int64) for line in lines]
        return dict(zip(RUN_COLUMNS, columns, strict=True))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error):
        raise TableError(
            f"the counts of a scan's voxels by their probability (section curves of measured/) hold no "
            f"{', '.join(RUN_COLUMNS)}: another version made them, or they are damaged; measure the prediction again"
        ) from None


def pool_counts(scans: Iterable[Mapping]) -> VoxelCounts:
    """Return the sum of counts (`VoxelCounts.to_json`) of several scans, as floats.

    The voxels of a run are spread evenly over its levels.

    Raises:
        TableError: see `read_runs`.
    """
    sums = {name: np.zeros(LEVELS) for name in ("inside", "outside")}
    for runs in map(read_runs, scans):
        widths = runs["span"] + 1
        starts = runs["lowest"] + widths - np.cumsum(widths)
        levels = np.repeat(starts, widths) + np.arange(widths.sum())
        for name, total in sums.items():
            total += np.bincount(levels, np.repeat(runs[name] / widths, widths), minlength=LEVELS)
    return VoxelCounts(**sums)


def measure_areas(counts: VoxelCounts) -> dict:
    """Return `auc_pr` and `auc_roc` of counts, None where undefined, and the reasons in `undefined`."""
    areas = {"auc_pr": average_precision(counts), "auc_roc": roc_area(counts)}
    why = NO_BACKGROUND if counts.inside.any() else NO_REFERENCE
    return areas | {"undefined": {name: why for name, area in areas.items() if area is None}}


def roc_area(counts: VoxelCounts) -> float | None:
    """Return the area under the ROC curve; None if no voxel, or every voxel, belongs to the reference.

    It is the probability that a voxel inside has a higher level than one outside; ties count half (Hanley and McNeil
    1982, Radiology 143:29).
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
    inside, outside = counts.inside[::-1], counts.outside[::-1]
    filled = inside > 0
    if not filled.any():
        return None
    found, chosen = np.cumsum(inside), np.cumsum(inside + outside)
    gained = inside[filled] * (found[filled] / chosen[filled])
    return float(gained.sum() / inside.sum())


def curve_of(counts: VoxelCounts) -> dict[str, np.ndarray]:
    """Return `threshold`, `precision`, `recall` and `false_positive_rate` at BIN_LEVELS, from high to low."""
    # whole numbers: no run crosses a border
    inside, outside = (
        np.rint(np.add.reduceat(number, BIN_LEVELS)) for number in (counts.inside, counts.outside)
    )
    found, added = np.cumsum(inside[::-1]), np.cumsum(outside[::-1])
    return {
        "threshold": BIN_LEVELS[::-1] / (LEVELS - 1),
        "precision": _shares(found, found + added),
        "recall": _shares(found, found[-1]),
        "false_positive_rate": _shares(added, added[-1]),
    }


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return part / whole
