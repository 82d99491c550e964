"""Variance between and within groups: one-way analysis of variance."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class VarianceComponents:
    """Variance `between` and `within` groups, in the squared unit of the values; NaN if not defined."""

    between: float
    within: float


def variance_components(values: np.ndarray, groups: np.ndarray) -> VarianceComponents:
    """Split the variance of values (n,) by groups (n,), numbered from 0 without a gap.

    The estimates of the one-way random model come from mean squares; group sizes may differ (Searle, Linear Models,
    1971, chapter 10). `between` is 0 if the groups differ by less than expected from the variance within, and NaN for
    fewer than two groups. `within` (and so `between`) is NaN if every group has one value.
    """
    counts = np.bincount(groups)
    spare = len(values) - len(counts)
    if spare == 0:
        return VarianceComponents(between=math.nan, within=math.nan)
    means = np.bincount(groups, values) / counts
    within = float(np.sum((values - means[groups]) ** 2) / spare)
    if len(counts) < 2:
        return VarianceComponents(between=math.nan, within=within)
    mean_square = np.sum(counts * (means - values.mean()) ** 2) / (len(counts) - 1)
    typical_count = (len(values) - np.sum(counts**2) / len(values)) / (len(counts) - 1)
    return VarianceComponents(between=max(0.0, float(mean_square - within) / typical_count), within=within)
