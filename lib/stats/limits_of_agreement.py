"""Limits of agreement: the SD of differences, and the exact interval of a limit."""

import math

import numpy as np
from scipy import stats

from lib.stats.undefined import NAN, NO_INTERVAL, Interval
from lib.stats.variance import variance_components

# distance of a limit of agreement from the bias in SDs
LIMIT = float(stats.norm.ppf(0.975))


def limit_interval(sd: float, n: int, confidence: float) -> Interval:
    """Return the exact interval of the upper 95 % limit of agreement, relative to the bias, in the unit of `sd`.

    The limit is bias + z sd with z = 1.96. With `sd` (ddof 1) from n independent differences, sqrt(n) times
    (limit - mean) / sd follows a noncentral t distribution with n - 1 degrees of freedom and noncentrality
    z sqrt(n) (Carkeet 2015). The lower limit's interval is the mirror image.
    """
    if n < 2 or not math.isfinite(sd):
        return NO_INTERVAL
    tail = (1 - confidence) / 2
    low, high = stats.nct.ppf([tail, 1 - tail], n - 1, LIMIT * math.sqrt(n)) * sd / math.sqrt(n)
    return float(low), float(high)


def sd_of_differences(differences: np.ndarray, people: np.ndarray) -> float:
    """Return the SD of a single new difference (ddof 1), from variance components if people have several scans.

    `people` numbers the person of each difference from 0. The variance is the sum of the components between and
    within people of a one-way analysis of variance. NaN for fewer than two people.
    """
    n = len(np.unique(people))
    if n < 2:
        return NAN
    if n == len(differences):
        return float(differences.std(ddof=1))
    components = variance_components(differences, people)
    return math.sqrt(components.between + components.within)
