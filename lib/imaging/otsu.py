"""Otsu's threshold of probabilities, at the middle of the criterion's plateau (Otsu 1979)."""

import numpy as np

from lib.errors import ModelError

HISTOGRAM_BINS = 256

# Criteria that differ by less count as equal: sums over a million voxels have rounding errors.
PLATEAU_TOLERANCE = 1e-9


def otsu_threshold(probability: np.ndarray) -> float | None:
    """Return Otsu's threshold of probabilities in [0, 1] (any shape); None if all lie in one of 256 bins.

    If several thresholds separate equally well (no voxel lies between them), it is the middle of that plateau.

    Raises:
        ModelError: a value is not a number or lies outside [0, 1].
    """
    counts = _histogram(probability)
    centers = (np.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
    # the classes below and above the upper edge of each bin except the last
    below, total = np.cumsum(counts)[:-1], counts.sum()
    above = total - below
    sum_below = np.cumsum(counts * centers)[:-1]
    sum_above = (counts * centers).sum() - sum_below
    split = (below > 0) & (above > 0)
    if not split.any():
        return None
    means_apart = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
    between_class = np.where(split, below * above * means_apart**2, 0.0)
    best = np.flatnonzero(between_class >= between_class.max() * (1.0 - PLATEAU_TOLERANCE))
    return float(0.5 * (best[0] + best[-1]) + 1.0) / HISTOGRAM_BINS


def _histogram(probability: np.ndarray) -> np.ndarray:
    # this form also refuses NaN
    if probability.size and not (probability.min() >= 0.0 and probability.max() <= 1.0):
        raise ModelError(
            "a probability map holds values that are not numbers from 0 to 1; train the model again"
        )
    bins = np.minimum((probability * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
    return np.bincount(bins.ravel(), minlength=HISTOGRAM_BINS).astype(np.float64)
