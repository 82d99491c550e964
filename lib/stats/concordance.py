"""Coefficients of agreement between ratings of the same targets: Lin's concordance, intraclass correlation."""

import numpy as np
from scipy import stats

from lib.stats.undefined import NAN, NO_INTERVAL, Interval


def concordance(reference: np.ndarray, predicted: np.ndarray) -> float:
    """Return Lin's concordance correlation coefficient; NaN for fewer than two pairs or a constant reference."""
    if len(reference) < 2 or np.ptp(reference) == 0:
        return NAN
    covariance = np.mean((reference - reference.mean()) * (predicted - predicted.mean()))
    shift = (reference.mean() - predicted.mean()) ** 2
    return float(2 * covariance / (reference.var() + predicted.var() + shift))


def intraclass_correlation(ratings: np.ndarray, confidence: float) -> tuple[float, Interval]:
    """Return ICC(2,1) of ratings (n targets, k raters) and its interval.

    Two-way random effects, absolute agreement, a single rating: ICC(2,1) of Shrout & Fleiss (Psychol Bull
    1979;86:420), ICC(A,1) of McGraw & Wong (Psychol Methods 1996;1:30, table 7 for the interval). With the mean
    squares R of targets, C of raters and E of the residual it is (R - E) / (R + (k - 1) E + k (C - E) / n).
    NaN for fewer than two targets or if nothing varies. A negative coefficient may have no interval.
    """
    n, k = ratings.shape
    if n < 2 or np.ptp(ratings) == 0:
        return NAN, NO_INTERVAL
    targets, raters, residual = _mean_squares(ratings)
    total = targets + (k - 1) * residual + k * (raters - residual) / n
    if total <= 0:
        return NAN, NO_INTERVAL
    icc = (targets - residual) / total
    noise = k * raters + (k * n - k - n) * residual
    if noise <= 0 or targets <= 0:  # all ratings of a target are equal, or targets do not differ
        return icc, NO_INTERVAL
    freedom = _residual_freedom(icc, raters, residual, (n, k))
    if (
        icc < 0 and freedom < k - 1
    ):  # parts of opposite sign cancel, and the approximation of the interval fails
        return icc, NO_INTERVAL
    share = 0.5 + confidence / 2
    low, high = stats.f.ppf(share, n - 1, freedom), stats.f.ppf(share, freedom, n - 1)
    return icc, (
        float(n * (targets - low * residual) / (low * noise + n * targets)),
        float(n * (high * targets - residual) / (noise + n * high * targets)),
    )


def _mean_squares(ratings: np.ndarray) -> tuple[float, float, float]:
    """Return the mean squares of the two-way analysis of variance: targets, raters, residual."""
    n, k = ratings.shape
    centred = ratings - ratings.mean()
    row, column = centred.mean(axis=1, keepdims=True), centred.mean(axis=0, keepdims=True)
    rest = np.sum((centred - row - column) ** 2)
    return (
        float(k * np.sum(row**2) / (n - 1)),
        float(n * np.sum(column**2) / (k - 1)),
        float(rest / ((n - 1) * (k - 1))),
    )


def _residual_freedom(icc: float, raters: float, residual: float, shape: tuple[int, int]) -> float:
    """Return Satterthwaite's degrees of freedom of the combined rater and residual variance; McGraw & Wong's v."""
    n, k = shape
    of_raters = k * icc * raters
    of_residual = (n * (1 - icc) + k * icc * (n - 1)) * residual
    together = of_raters**2 / (k - 1) + of_residual**2 / ((n - 1) * (k - 1))
    return (of_raters + of_residual) ** 2 / together
