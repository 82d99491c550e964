"""Wilcoxon's signed-rank test and the Hodges-Lehmann estimate of paired differences, both exact; Holm's correction.

The differences d (n,) of n people are ranked by size. With zeros by Pratt (J Am Stat Assoc 1959;54:655): zeros are
ranked, too, and their ranks are then left out. Equal sizes share the mean of their ranks. The statistic W is the sum
of the ranks of positive differences. Under the null hypothesis each sign is + or - with probability 1/2, so that the
distribution of W given the ranks is

    f_0 = 1 at 0;  f_i(w) = (f_(i-1)(w) + f_(i-1)(w - rank_i)) / 2

which is exact also with ties and zeros (scipy's method `exact` takes the ranks 1 ... n all the same). p is twice the
smaller of P(W <= w) and P(W >= w), at most 1.

The estimate is the median of the M = n (n + 1) / 2 Walsh averages (d_i + d_j) / 2, i <= j (Hodges & Lehmann, Ann Math
Stat 1963;34:598), and its interval runs from the k-th smallest to the k-th largest of them, with the largest k for
which P(W < k) <= (1 - confidence) / 2 of ranks 1 ... n (Hollander, Wolfe & Chicken, Nonparametric Statistical
Methods, 2014, 3.3). Without ties and zeros it leaves out 0 if, and only if, p <= 1 - confidence. With ties or zeros
its coverage is at least `confidence`, because its ends belong to it (Noether, J Am Stat Assoc 1967;62:184).

Above EXACT_PEOPLE both use the normal approximation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from lib.stats.undefined import NAN, NO_INTERVAL, Interval

EXACT_PEOPLE = 200
EXACT, NORMAL = "exact", "normal approximation"
# values in tables have ten significant digits; differences closer than this share of the largest value are equal
_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class SignedRank:
    """The test of differences of `n` people, of which `positive`, `zero` and `negative` are such.

    `median` is the Hodges-Lehmann estimate, `method` EXACT or NORMAL. Without people, numbers are NaN; with too few
    people for its level, the interval is.
    """

    n: int
    positive: int
    zero: int
    negative: int
    median: float
    interval: Interval
    p_value: float
    method: str


def signed_rank(first: Sequence[float], second: Sequence[float], confidence: float) -> SignedRank:
    """Test whether the differences first - second (n,) of n people are symmetric about 0, and estimate their centre.

    Args:
        first: one finite value a person.
        second: the values with which they are compared, of the same people.
        confidence: level of the interval.
    """
    difference = _differences(np.asarray(first, float), np.asarray(second, float))
    n = len(difference)
    averages = walsh_averages(difference)
    return SignedRank(
        n=n,
        positive=int((difference > 0).sum()),
        zero=int((difference == 0).sum()),
        negative=int((difference < 0).sum()),
        median=float(np.median(averages)) if n else NAN,
        interval=_walsh_interval(averages, n, confidence),
        p_value=_p_value(difference),
        method=EXACT if n <= EXACT_PEOPLE else NORMAL,
    )


def walsh_averages(values: np.ndarray) -> np.ndarray:
    """Return the means of all pairs of values (n,), each with itself too: n (n + 1) / 2 numbers, sorted."""
    first, second = np.triu_indices(len(values))
    return np.sort((values[first] + values[second]) / 2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of one family, corrected by Holm (Scand J Stat 1979;6:65); NaN stay NaN.

    The i-th smallest of m becomes the largest of p_j (m - j + 1) for j up to i, at most 1. A test compares it with
    statsmodels, whose `multipletests` collects garbage at each call: a quarter of a second beside large tables.
    """
    given = np.asarray(p_values, float)
    corrected, known = np.full(len(given), NAN), np.flatnonzero(np.isfinite(given))
    order = known[np.argsort(given[known], kind="stable")]
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()


def fewest_for_interval(confidence: float) -> int:
    """Return the number of people from which the interval of a level exists: 6 at 95 %."""
    return math.ceil(1 - math.log2(1 - confidence) - 1e-9)


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return first - second, rounded so that equal differences are equal in spite of rounding errors."""
    largest = max(np.abs(first).max(initial=0), np.abs(second).max(initial=0))
    digits = _DIGITS - math.ceil(math.log10(largest)) if largest > 0 else _DIGITS
    return np.round(first - second, digits) + 0.0  # without a negative zero


def _p_value(difference: np.ndarray) -> float:
    n = len(difference)
    if not n:
        return NAN
    if not difference.any():
        return 1.0
    if n > EXACT_PEOPLE:
        return float(stats.wilcoxon(difference, zero_method="pratt", method="asymptotic").pvalue)
    doubled = np.rint(2 * stats.rankdata(np.abs(difference))).astype(int)
    chances = _chances(tuple(sorted(doubled[difference != 0].tolist())))
    found = int(doubled[difference > 0].sum())
    return min(1.0, 2 * float(min(chances[: found + 1].sum(), chances[found:].sum())))


def _walsh_interval(averages: np.ndarray, n: int, confidence: float) -> Interval:
    """Return the interval of the Hodges-Lehmann estimate from the sorted Walsh averages of n differences."""
    tail = (1 - confidence) / 2
    if n <= EXACT_PEOPLE:
        # of doubled ranks: every second chance is that of a sum of ranks
        below = np.cumsum(_chances(tuple(range(2, 2 * n + 1, 2)))[::2])
        k = int(np.searchsorted(below, tail * (1 + 1e-12), side="right"))
    else:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        k = math.floor(n * (n + 1) / 4 + stats.norm.ppf(tail) * spread)
    return (float(averages[k - 1]), float(averages[-k])) if k > 0 else NO_INTERVAL


@lru_cache(maxsize=256)
def _chances(doubled_ranks: tuple[int, ...]) -> np.ndarray:
    """Return the chance of each sum 0, 1, ... of those doubled ranks whose signs are positive."""
    chances, reach = np.zeros(sum(doubled_ranks) + 1), 0
    chances[0] = 1.0
    for rank in doubled_ranks:
        chances[: reach + rank + 1] /= 2
        chances[rank : reach + rank + 1] += chances[: reach + 1].copy()
        reach += rank
    chances.flags.writeable = False
    return chances
