"""Intervals from leaving out one person, or one fold, at a time (jackknife).

With the estimates T_j from leaving out each of G groups in turn, on a scale on which their spread is symmetric:

    SE        sqrt((G - 1) / G * sum((T_j - mean(T_j))^2))
    interval  T -/+ t SE, t of Student with G - 1 degrees of freedom, transformed back from the scale

(Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11; groups of dependent values: MacKinnon,
Nielsen & Webb, J Appl Econom 2023;38:671.) Groups are people, so that several scans of a person count as one
source of variation, or the folds of a cross-validation, so that the variation between trainings counts, too. For a
mean over groups of equal size this is Student's interval of the group means, exact if they are normal.
`bench/coverage.py` measures the coverage of the intervals.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from scipy import stats

from lib.stats.undefined import NAN, NO_INTERVAL, Interval

# with fewer groups an interval on a transformed scale is unbounded
FEWEST_GROUPS = 3
Transform = Callable[[np.ndarray], np.ndarray]
# name -> transformation and its inverse
SCALES: Mapping[str, tuple[Transform, Transform]] = MappingProxyType(
    {
        "plain": (lambda value: value, lambda moved: moved),
        # errors and distances: above 0
        "log": (np.log, np.exp),
        # roots of mean squares: above 0, their estimates more skewed than means
        "inverse root": (
            lambda value: -1 / np.sqrt(value),
            lambda moved: np.where(moved < 0, moved**-2, NAN),
        ),
        # shares and R2: below 1, often near it
        "complement": (lambda value: -np.log1p(-value), lambda moved: -np.expm1(-moved)),
        # correlations: within -1 and 1 (Fisher's z)
        "z": (np.arctanh, np.tanh),
    }
)


def jackknife_interval(
    estimate: float, left_out: np.ndarray, confidence: float, scale: str = "plain"
) -> Interval:
    """Return the interval of an estimate from the estimates without one group each (groups,), on a scale of SCALES.

    Two NaN if an estimate is not defined on the scale, such as a correlation of 1; for one group; and for two groups
    on a transformed scale, on which Student's t of one degree of freedom (12.7) would give a useless interval.
    """
    there, back = SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, moved = there(np.float64(estimate)), there(np.asarray(left_out, float))
    if len(moved) < (2 if scale == "plain" else FEWEST_GROUPS) or not (
        np.isfinite(middle) and np.isfinite(moved).all()
    ):
        return NO_INTERVAL
    half = student(len(moved), confidence) * standard_error(moved)
    with np.errstate(divide="ignore"):
        low, high = float(back(middle - half)), float(back(middle + half))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else NO_INTERVAL


def standard_error(left_out: np.ndarray) -> float:
    """Return the jackknife standard error from the estimates without one group each (groups,)."""
    groups = len(left_out)
    return math.sqrt((groups - 1) / groups * float(np.sum((left_out - left_out.mean()) ** 2)))


def student(groups: int, confidence: float) -> float:
    """Return the quantile of Student's t for two-sided intervals from this number of groups."""
    return float(stats.t.ppf(0.5 + confidence / 2, groups - 1))


def mean_interval(values: np.ndarray, groups: Sequence, confidence: float, scale: str = "plain") -> Interval:
    """Return the interval of the mean of values (n,) from leaving out each of `groups` (n,) in turn.

    NaN values are left out. Two NaN for fewer than two groups. On the scale `complement`, used for shares, an end
    below 0 becomes 0.
    """
    values = np.asarray(values, float)
    known = np.isfinite(values)
    _, numbered = np.unique(np.asarray(groups)[known], return_inverse=True)
    values = values[known]
    if not len(values) or numbered.max() == 0:
        return NO_INTERVAL
    low, high = jackknife_interval(float(values.mean()), means_without(values, numbered), confidence, scale)
    return (max(low, 0.0) if scale == "complement" else low), high


def median_interval(values: np.ndarray, confidence: float) -> Interval:
    """Return the interval of the median of independent values (n,), whose ends are values (scipy's quantile test).

    NaN values are left out. Two NaN if there are too few values: below six at 95 %.
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return NO_INTERVAL
    low, high = stats.quantile_test(known, p=0.5).confidence_interval(confidence)
    return (float(low), float(high)) if np.isfinite([low, high]).all() else NO_INTERVAL


def means_without(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the mean of values (n,) without each of the groups (n,), numbered from 0 without a gap."""
    origin = values.mean()  # sums of deviations from the mean lose no digits
    left = sums_without(np.column_stack([np.ones(len(values)), values - origin]), groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        return origin + left[:, 1] / left[:, 0]


def sums_without(terms: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the sums (groups, terms) of terms (n, terms) without each of the groups (n,), numbered from 0."""
    own = np.column_stack([np.bincount(groups, term) for term in terms.T])
    return own.sum(axis=0) - own


def limit_intervals(
    values: np.ndarray, people: np.ndarray, groups: np.ndarray, spread: tuple[float, float], confidence: float
) -> tuple[Interval, Interval, Interval]:
    """Return the intervals of mean, lower and upper limit of agreement of values (n,), leaving out groups in turn.

    `people` and `groups` (n,) are numbered from 0 without a gap, and each person is in one group; `spread` is the SD
    of a new value (see `sd_of_differences`) and the number of SDs from the mean to a limit. The distances of mean and
    SD (on a logarithmic scale) from the ends of their intervals are combined as in Zou, Stat Methods Med Res
    2013;22:630 (MOVER).
    """
    sd, factor = spread
    count = int(groups.max()) + 1 if len(groups) else 0
    if count < FEWEST_GROUPS or not (math.isfinite(sd) and sd > 0):
        return NO_INTERVAL, NO_INTERVAL, NO_INTERVAL
    mean, quantile = float(values.mean()), student(count, confidence)
    half = quantile * standard_error(means_without(values, groups))
    sds = sds_without(values, people, groups)
    if not (np.isfinite(sds).all() and (sds > 0).all()):
        return (mean - half, mean + half), NO_INTERVAL, NO_INTERVAL
    growth = math.exp(quantile * standard_error(np.log(sds)))
    inner = math.hypot(half, factor * sd * (1 - 1 / growth))
    outer = math.hypot(half, factor * sd * (growth - 1))
    low, high = mean - factor * sd, mean + factor * sd
    return (mean - half, mean + half), (low - outer, low + inner), (high - inner, high + outer)


def sds_without(values: np.ndarray, people: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the SD of a new value without each group (groups,), from the variances between and within people."""
    counts = np.bincount(people)
    means = np.bincount(people, values - values.mean()) / counts
    squares = np.bincount(people, (values - values.mean() - means[people]) ** 2)
    of_person = groups[np.unique(people, return_index=True)[1]]
    terms = np.column_stack(
        [np.ones(len(counts)), counts, counts * means, counts * means**2, counts**2, squares]
    )
    persons, scans, total, square, paired, within = sums_without(terms, of_person).T
    with np.errstate(divide="ignore", invalid="ignore"):
        # people with one scan each do not contribute to the variance within
        within = within / np.maximum(scans - persons, 1)
        mean_square = (square - total**2 / scans) / (persons - 1)
        typical_count = (scans - paired / scans) / (persons - 1)
        variance = np.maximum(0, (mean_square - within) / typical_count) + within
    return np.where(persons > 1, np.sqrt(variance), NAN)
