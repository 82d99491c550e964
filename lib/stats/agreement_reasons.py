"""The reasons why numbers of the agreement of volumes are undefined."""

import math
from collections.abc import Mapping

import numpy as np

from lib.stats.lines import FEWEST_FOR_GROWTH
from lib.stats.pairs import Pairs
from lib.stats.undefined import NAN


def agreement_reasons(numbers: Mapping[str, float], pairs: Pairs) -> dict[str, str]:
    """Return the reasons why numbers are NaN, by name; the two ends of an interval share the name `..._ci`."""
    return {
        name.removesuffix("_low") if "_ci_" in name else name: _why(name, numbers, pairs)
        for name, value in numbers.items()
        if math.isnan(value) and not name.endswith("_ci_high")
    }


def _why(name: str, numbers: Mapping[str, float], pairs: Pairs) -> str:
    """Return the reason why a number is NaN."""
    x, y, count = pairs.x, pairs.y, pairs.count
    if not count:
        return "nobody has both volumes"
    if name.startswith("re_") or "percent" in name:
        x, y = x[x > 0], y[x > 0]
        if not len(x):
            return "no reference above 0"
    estimate = name.split("_ci_")[0]
    if name != estimate and math.isfinite(numbers.get(estimate, NAN)):
        if estimate == "icc" and count < len(pairs.x):
            return "several scans of a person"
        return _why_no_interval(estimate, numbers[estimate], count)
    of_reference = ("r2", "pearson_", "slope", "intercept", "ccc", "icc")
    if count == 1:
        return "one person"
    if estimate.startswith(of_reference) and np.ptp(x) == 0:
        return "the reference does not vary"
    if estimate.startswith("pearson_") and np.ptp(y) == 0:
        return "the prediction does not vary"
    if name in ("pearson_p_value", "growing_spread_p_value") and count < len(pairs.x):
        return "several scans of a person"
    if name == "growing_spread_p_value" and len(x) >= FEWEST_FOR_GROWTH:
        return "the differences do not vary about their line"
    if estimate == "icc":
        return "people differ less than expected by chance"
    few = "fewer than ten people" if name == "growing_spread_p_value" else "fewer than three scans"
    return (
        few if len(x) < (FEWEST_FOR_GROWTH if "growing" in name else 3) else "the mean volume does not vary"
    )


def _why_no_interval(name: str, estimate: float, count: int) -> str:
    """Return the reason why an estimate has no interval."""
    if count == 1:
        return "one person"
    if name.startswith(("mae", "rmse", "mape")) and estimate == 0:
        return "no prediction differs from its reference"
    if abs(estimate) == 1:
        return "the estimate lies at the end of its range"
    return "too few people, or nothing varies"


def why_no_folds(count: int | None) -> str:
    """Return the reason why there is no interval with folds: no cross-validation (None) or fewer than two folds."""
    if count is None:
        return "no cross-validation"
    return "fewer than two folds" if count < 2 else ""
