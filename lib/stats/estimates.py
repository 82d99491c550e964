"""Point estimates of the agreement of volumes, from all pairs and with each of several groups left out."""

import math

import numpy as np
from scipy import stats

from lib.stats.concordance import concordance
from lib.stats.jackknife import sums_without
from lib.stats.undefined import NAN


def r_squared(reference: np.ndarray, predicted: np.ndarray) -> float:
    """Return 1 - SS_res / SS_tot; NaN for fewer than two pairs or a constant reference."""
    if len(reference) < 2 or np.ptp(reference) == 0:
        return NAN
    residual = np.sum((predicted - reference) ** 2)
    return float(1 - residual / np.sum((reference - reference.mean()) ** 2))


def point_estimates(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the estimates from reference volumes x (n,) and predicted volumes y (n,) without people or folds."""
    difference = y - x
    relative = 100 * difference[x > 0] / x[x > 0]
    r, p_value = NAN, NAN
    if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
        r, p_value = map(float, stats.pearsonr(x, y))
    return {
        "reference_mean": mean_or_nan(x),
        "reference_sd": float(x.std()) if len(x) > 1 else NAN,
        "mae": mean_or_nan(np.abs(difference)),
        "rmse": math.sqrt(mean_or_nan(difference**2)),
        "r2": r_squared(x, y),
        "pearson_r": r,
        "pearson_p_value": p_value,
        "re_min_percent": float(relative.min()) if len(relative) else NAN,
        "re_max_percent": float(relative.max()) if len(relative) else NAN,
        "mape_percent": mean_or_nan(np.abs(relative)),
        "ccc": concordance(x, y),
    }


def estimates_without(
    reference: np.ndarray, predicted: np.ndarray, groups: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the estimates (groups,) from pairs (n,) without each of the groups (n,), numbered from 0 without a gap.

    NaN if the remaining pairs do not define an estimate.
    """
    # centred and scaled by the spread, because differences of raw sums of squares lose digits
    origin, unit = reference.mean(), max(float(np.ptp(reference)), 1.0)
    x, y = (reference - origin) / unit, (predicted - origin) / unit
    difference, some = y - x, reference > 0
    relative = 100 * np.divide(unit * difference, reference, out=np.zeros(len(x)), where=some)
    terms = (np.ones(len(x)), x, y, x**2, y**2, x * y, difference**2, np.abs(difference))
    sums = sums_without(np.column_stack([*terms, some, np.abs(relative)]), groups).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y, xx, yy, xy, square, absolute = sums[1:8] / sums[0]
        # smaller values are the rounding error of a constant
        variance_x, variance_y = (np.where(v > 1e-18, v, NAN) for v in (xx - mean_x**2, yy - mean_y**2))
        covariance, bias = xy - mean_x * mean_y, mean_y - mean_x
        slope, both = covariance / variance_x, variance_x + variance_y
        return {
            "mae": unit * absolute,
            "rmse": unit * np.sqrt(square),
            "mape_percent": sums[9] / sums[8],
            "r2": 1 - square / variance_x,
            "pearson_r": covariance / np.sqrt(variance_x * variance_y),
            "ccc": 2 * covariance / (both + bias**2),
            "slope": slope,
            "intercept": unit * (mean_y - slope * mean_x) + origin * (1 - slope),
            # slope of y - x on (x + y) / 2
            "proportional_bias": 2 * (variance_y - variance_x) / (both + 2 * covariance),
        }


def mean_or_nan(values: np.ndarray) -> float:
    """Return the mean; NaN for no values."""
    return float(np.mean(values)) if len(values) else NAN
