"""Least-squares lines of predicted on reference volumes, and tests whether differences grow with volume."""

import math
from dataclasses import dataclass

import numpy as np
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.tools import add_constant

from lib.stats.undefined import NAN, NO_INTERVAL, Interval

# fewest people for a test whether the spread of the differences grows
FEWEST_FOR_GROWTH = 10

_SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Line:
    """A least-squares line with intervals of slope and intercept."""

    slope: float = NAN
    intercept: float = NAN
    slope_ci: Interval = NO_INTERVAL
    intercept_ci: Interval = NO_INTERVAL


def fit_line(x: np.ndarray, y: np.ndarray, confidence: float) -> Line:
    """Fit y on x by ordinary least squares (statsmodels); all NaN for fewer than three points or a constant x."""
    if len(x) < 3 or np.ptp(x) == 0:
        return Line()
    fit = OLS(y, add_constant(x)).fit()
    intercept_ci, slope_ci = (tuple(map(float, row)) for row in fit.conf_int(1 - confidence))
    intercept, slope = map(float, fit.params)
    return Line(slope=slope, intercept=intercept, slope_ci=slope_ci, intercept_ci=intercept_ci)


def line_band(x: np.ndarray, y: np.ndarray, along: np.ndarray, confidence: float) -> np.ndarray:
    """Return the fitted line and the lower and upper ends of the interval of its mean (3, points) at `along`."""
    fit = OLS(y, add_constant(x)).fit()
    # not add_constant, which adds no column if all values are equal
    places = np.column_stack([np.ones(len(along)), along])
    table = fit.get_prediction(places).summary_frame(alpha=1 - confidence)
    return table[["mean", "mean_ci_lower", "mean_ci_upper"]].to_numpy().T


def growing_spread(reference: np.ndarray, predicted: np.ndarray) -> float:
    """Return the p-value for a spread of predicted - reference that changes with the mean of both.

    Breusch and Pagan's test in Koenker's form (F; statsmodels) on the residuals about the line of differences on
    means. If it is small, limits in mm3 are too wide for small and too narrow for large bones: use limits in percent.
    NaN for fewer than ten pairs or if nothing varies.
    """
    mean, difference = (reference + predicted) / 2, predicted - reference
    return _changing_spread(mean, difference, np.abs(mean).max(initial=0.0))


def limits_to_use(reference: np.ndarray, predicted: np.ndarray, growing_spread_p_value: float) -> str:
    """Return which limits of agreement suit bones of every size, from volumes (n,) and p of `growing_spread`.

    The result is `mm3` unless the spread of the differences changes with volume (p below 0.05). Then it is `percent`,
    or `neither` if the spread of the relative errors changes with volume, too (same test). It is empty if the spread
    was not tested.
    """
    if math.isnan(growing_spread_p_value):
        return ""
    if growing_spread_p_value >= _SIGNIFICANT:
        return "mm3"
    if not (reference > 0).all():
        return "neither"
    relative = 100 * (predicted - reference) / reference
    p_value = _changing_spread((reference + predicted) / 2, relative, 100.0)
    return "neither" if p_value < _SIGNIFICANT else "percent"


def _changing_spread(mean: np.ndarray, difference: np.ndarray, size: float) -> float:
    """Return p of Breusch and Pagan's test of differences (n,) on means (n,); residuals below 1e-9 `size` are 0."""
    if len(mean) < FEWEST_FOR_GROWTH or np.ptp(mean) == 0:
        return NAN
    design = add_constant((mean - mean.mean()) / mean.std())
    residuals = OLS(difference, design).fit().resid
    if np.ptp(residuals) <= 1e-9 * size:
        return NAN
    return float(het_breuschpagan(residuals, design)[3])
