"""Do predicted volumes agree with reference volumes? Errors, R2, limits of agreement, concordance, intervals.

Definitions used everywhere in the project, x = reference, y = predicted, d = y - x:

    R2    1 - SS_res / SS_tot = 1 - sum(d^2) / sum((x - mean(x))^2): the share of the reference's variance that the
          prediction itself explains, no line fitted (deduced from Zhao 2020, Table 1). It is not Pearson's r squared.
    RE    100 d / x, in percent
    SD    of the reference: population SD (ddof 0), as in that table; of differences: sample SD (ddof 1)
    LoA   bias -/+ 1.96 SD of the differences (Bland & Altman), intervals from the noncentral t distribution
          (exact for each limit on its own: Carkeet, Optom Vis Sci 2015;92:e71)
    CCC   2 s_xy / (s_x^2 + s_y^2 + (mean(x) - mean(y))^2), moments with divisor n (Lin, Biometrics 1989;45:255)
    ICC   ICC(2,1): two-way random, absolute agreement, a single measurement; interval of McGraw & Wong

A number that its sample does not define is NaN. Where a person has several scans, scans are not independent: limits
then use variance components (Bland & Altman, Stat Methods Med Res 1999;8:135, 5.3), intervals of bias, limits, slope,
intercept and proportional bias come from the bootstrap over people too, and neither a p-value nor an interval of the
ICC is stated.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import statsmodels.api as sm
from scipy import stats

from lib.errors import ConfigError
from lib.stats.concordance import NAN, NO_INTERVAL, Interval, concordance, intraclass_correlation
from lib.stats.variance import variance_components

# a limit of agreement lies so many SD from the bias
_LIMIT = float(stats.norm.ppf(0.975))

# rows of resampled people held at once: bounds the memory of a bootstrap over many people
_BOOTSTRAP_CELLS = 4_000_000

# what has an interval from the bootstrap alone, and what else where a person has several scans
_RESAMPLED = ("mae_mm3", "rmse_mm3", "r2", "pearson_r", "ccc")
_RESAMPLED_IF_DEPENDENT = (
    *("bias_mm3", "loa_low_mm3", "loa_high_mm3"),
    *("slope", "intercept_mm3", "proportional_bias"),
)


@dataclass(frozen=True, kw_only=True)
class AgreementConfig:
    """Level of all intervals, number of bootstrap resamples, fewest people for a bootstrap, seed of the bootstrap."""

    confidence: float = 0.95
    bootstrap: int = 2000
    min_people: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"report.confidence must be in [0.5, 1), got {self.confidence!r}")
        if self.bootstrap < 1:
            raise ConfigError(f"report.bootstrap must be at least 1, got {self.bootstrap!r}")
        if self.min_people < 2:
            raise ConfigError(f"report.min_people must be at least 2, got {self.min_people!r}")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of `scans` pairs of volumes of `n` people; intervals end in `_ci_low` and `_ci_high`."""

    n: int
    reference_mean_mm3: float
    reference_sd_mm3: float
    mae_mm3: float
    mae_mm3_ci_low: float
    mae_mm3_ci_high: float
    rmse_mm3: float
    rmse_mm3_ci_low: float
    rmse_mm3_ci_high: float
    r2: float
    r2_ci_low: float
    r2_ci_high: float
    pearson_r: float
    pearson_r_ci_low: float
    pearson_r_ci_high: float
    pearson_p_value: float
    slope: float
    slope_ci_low: float
    slope_ci_high: float
    intercept_mm3: float
    intercept_mm3_ci_low: float
    intercept_mm3_ci_high: float
    re_min_percent: float
    re_max_percent: float
    bias_mm3: float
    bias_mm3_ci_low: float
    bias_mm3_ci_high: float
    loa_low_mm3: float
    loa_low_mm3_ci_low: float
    loa_low_mm3_ci_high: float
    loa_high_mm3: float
    loa_high_mm3_ci_low: float
    loa_high_mm3_ci_high: float
    ccc: float
    ccc_ci_low: float
    ccc_ci_high: float
    proportional_bias: float
    proportional_bias_ci_low: float
    proportional_bias_ci_high: float
    scans: int
    difference_sd_mm3: float
    icc: float
    icc_ci_low: float
    icc_ci_high: float


AGREEMENT_COLUMNS = tuple(field.name for field in fields(Agreement))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A least-squares line with intervals of its slope and its intercept."""

    slope: float = NAN
    intercept: float = NAN
    slope_ci: Interval = NO_INTERVAL
    intercept_ci: Interval = NO_INTERVAL


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Mean difference of two models' absolute errors on the same `n` people (negative: the first one is better)."""

    n: int
    first_mae_mm3: float
    second_mae_mm3: float
    difference_mm3: float
    difference_mm3_ci_low: float
    difference_mm3_ci_high: float
    wilcoxon_p_value: float


def summarize_agreement(
    reference_mm3: Sequence[float],
    predicted_mm3: Sequence[float],
    subjects: Sequence[str],
    config: AgreementConfig,
) -> Agreement:
    """Compare predicted with reference volumes (n,) in mm3, one pair a scan; `subjects` names the person of each.

    Pairs with a volume that is not a number are left out. Raises ValueError when the lengths differ.
    """
    x, y, people = _finite_pairs(reference_mm3, predicted_mm3, subjects)
    n = int(people.max()) + 1 if len(people) else 0
    icc, icc_ci = intraclass_correlation(np.column_stack([x, y]), config.confidence)
    numbers = _point_estimates(x, y) | _limits(y - x, people, config) | _lines(x, y, config)
    numbers |= {"icc": icc, **_interval("icc", icc_ci)}
    resampled = _RESAMPLED
    if n < len(x):
        resampled = (*_RESAMPLED, *_RESAMPLED_IF_DEPENDENT)
        numbers |= {"pearson_p_value": NAN, **_interval("icc", NO_INTERVAL)}
    intervals = bootstrap_intervals(x, y, people, config) if n >= config.min_people else {}
    for name in resampled:
        defined = math.isfinite(numbers[name])
        numbers |= _interval(name, intervals.get(name, NO_INTERVAL) if defined else NO_INTERVAL)
    return Agreement(n=n, scans=len(x), **numbers)


def r_squared(reference: np.ndarray, predicted: np.ndarray) -> float:
    """Return 1 - SS_res / SS_tot; NaN for fewer than two pairs or a constant reference."""
    if len(reference) < 2 or np.ptp(reference) == 0:
        return NAN
    residual = np.sum((predicted - reference) ** 2)
    return float(1 - residual / np.sum((reference - reference.mean()) ** 2))


def limit_interval(sd: float, n: int, confidence: float) -> Interval:
    """Exact interval of the upper 95 % limit of agreement, relative to the bias, in the unit of `sd`.

    The limit is bias + z sd with z = 1.96. With `sd` (ddof 1) from n independent differences, sqrt(n) times
    (limit - mean) / sd follows a noncentral t distribution with n - 1 degrees of freedom and noncentrality
    z sqrt(n) (Carkeet 2015). The lower limit's interval is the mirror image.
    """
    if n < 2 or not math.isfinite(sd):
        return NO_INTERVAL
    tail = (1 - confidence) / 2
    low, high = stats.nct.ppf([tail, 1 - tail], n - 1, _LIMIT * math.sqrt(n)) * sd / math.sqrt(n)
    return float(low), float(high)


def sd_of_differences(differences: np.ndarray, people: np.ndarray) -> float:
    """SD of a single new difference (ddof 1), from variance components where people have several scans.

    `people` numbers the person of each difference from 0. One-way analysis of variance: the variance is that
    between people plus that within. NaN for fewer than two people.
    """
    n = len(np.unique(people))
    if n < 2:
        return NAN
    if n == len(differences):
        return float(differences.std(ddof=1))
    components = variance_components(differences, people)
    return math.sqrt(components.between + components.within)


def fit_line(x: np.ndarray, y: np.ndarray, confidence: float) -> Line:
    """Ordinary least squares of y on x (statsmodels); all NaN for fewer than three points or a constant x."""
    if len(x) < 3 or np.ptp(x) == 0:
        return Line()
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    intercept_ci, slope_ci = (tuple(map(float, row)) for row in fit.conf_int(1 - confidence))
    intercept, slope = map(float, fit.params)
    return Line(slope=slope, intercept=intercept, slope_ci=slope_ci, intercept_ci=intercept_ci)


def bootstrap_intervals(
    reference: np.ndarray, predicted: np.ndarray, people: np.ndarray, config: AgreementConfig
) -> dict[str, Interval]:
    """Percentile intervals from resampling people with replacement, all scans of a person together.

    `people` numbers the person of each scan from 0. The same seed gives the same intervals. With few people they are
    too narrow: at 95 %, those of the limits held the true limit in 85 to 91 % of made-up studies of 20 people with
    two scans each (150 to 300 studies), of 60 people in 90 to 92 %.
    """
    # centred in units of the spread: raw sums of squares of volumes would cancel
    origin, unit = reference.mean(), max(float(np.ptp(reference)), 1.0)
    x, y = (reference - origin) / unit, (predicted - origin) / unit
    draws = [
        _weighted_estimates(x, y, origin / unit, weights) | _weighted_limits(y - x, people, weights)
        for weights in _resamples(people, config)
    ]
    tails = _tails(config)
    return {
        name: tuple(
            (unit if name.endswith("_mm3") else 1.0)
            * _percentiles(np.concatenate([draw[name] for draw in draws]), tails)
        )
        for name in draws[0]
    }


def bootstrap_means(values: np.ndarray, subjects: Sequence[str], config: AgreementConfig) -> np.ndarray:
    """Percentile intervals (columns, 2) of the means of values (scans, columns), from resampling people.

    All scans of a person are drawn together; a mean is that of the values that are numbers. NaN for a column that
    fewer than `config.min_people` people define.
    """
    _, people = np.unique(np.asarray(subjects, str), return_inverse=True)
    known = np.isfinite(values)
    enough = [len(np.unique(people[column])) >= config.min_people for column in known.T]
    if not any(enough):
        return np.full((values.shape[1], 2), NAN)
    filled, counts = np.where(known, values, 0), known.astype(float)
    with np.errstate(invalid="ignore"):
        means = np.vstack([weights @ filled / (weights @ counts) for weights in _resamples(people, config)])
    tails = _tails(config)
    return np.array(
        [
            _percentiles(column, tails) if shown else NO_INTERVAL
            for column, shown in zip(means.T, enough, strict=True)
        ]
    )


def compare_paired(
    first_error_mm3: Sequence[float], second_error_mm3: Sequence[float], config: AgreementConfig
) -> PairedComparison:
    """Compare the absolute errors (n,) in mm3 of two models on the same people, one error a person.

    The interval is the percentile bootstrap over people (NaN below `min_people`), the p-value Wilcoxon's signed
    rank test (NaN below six people, where it cannot reach 0.05).
    """
    first, second = (np.abs(np.asarray(errors, float)) for errors in (first_error_mm3, second_error_mm3))
    difference = first - second
    n, low, high = len(difference), NAN, NAN
    if n >= config.min_people:
        draws = np.random.default_rng(config.seed).integers(0, n, (config.bootstrap, n))
        low, high = np.percentile(difference[draws].mean(axis=1), _tails(config))
    tested = n >= 6 and np.any(difference != 0)
    return PairedComparison(
        n=n,
        first_mae_mm3=_mean(first),
        second_mae_mm3=_mean(second),
        difference_mm3=_mean(difference),
        difference_mm3_ci_low=float(low),
        difference_mm3_ci_high=float(high),
        wilcoxon_p_value=float(stats.wilcoxon(difference).pvalue) if tested else NAN,
    )


def _finite_pairs(
    reference_mm3: Sequence[float], predicted_mm3: Sequence[float], subjects: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = np.asarray(reference_mm3, float), np.asarray(predicted_mm3, float)
    if not len(x) == len(y) == len(subjects):
        raise ValueError(f"lengths differ: {len(x)} reference, {len(y)} predicted, {len(subjects)} subjects")
    known = np.isfinite(x) & np.isfinite(y)
    _, people = np.unique(np.asarray(subjects, str)[known], return_inverse=True)
    return x[known], y[known], people


def _point_estimates(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    difference = y - x
    relative = 100 * difference[x > 0] / x[x > 0]
    r, p_value = NAN, NAN
    if len(x) >= 3 and np.ptp(x) > 0 and np.ptp(y) > 0:
        r, p_value = map(float, stats.pearsonr(x, y))
    return {
        "reference_mean_mm3": _mean(x),
        "reference_sd_mm3": float(x.std()) if len(x) > 1 else NAN,
        "mae_mm3": _mean(np.abs(difference)),
        "rmse_mm3": math.sqrt(_mean(difference**2)),
        "r2": r_squared(x, y),
        "pearson_r": r,
        "pearson_p_value": p_value,
        "re_min_percent": float(relative.min()) if len(relative) else NAN,
        "re_max_percent": float(relative.max()) if len(relative) else NAN,
        "ccc": concordance(x, y),
    }


def _limits(difference: np.ndarray, people: np.ndarray, config: AgreementConfig) -> dict[str, float]:
    """Bias, SD and limits; the intervals are exact for one scan a person."""
    bias, sd, n = _mean(difference), sd_of_differences(difference, people), len(difference)
    bias_ci, upper = NO_INTERVAL, limit_interval(sd, n, config.confidence)
    if n > 1:
        half = float(stats.t.ppf(0.5 + config.confidence / 2, n - 1)) * sd / math.sqrt(n)
        bias_ci = bias - half, bias + half
    return {
        "bias_mm3": bias,
        "loa_low_mm3": bias - _LIMIT * sd,
        "loa_high_mm3": bias + _LIMIT * sd,
        "difference_sd_mm3": sd,
        **_interval("bias_mm3", bias_ci),
        **_interval("loa_low_mm3", (bias - upper[1], bias - upper[0])),
        **_interval("loa_high_mm3", (bias + upper[0], bias + upper[1])),
    }


def _lines(x: np.ndarray, y: np.ndarray, config: AgreementConfig) -> dict[str, float]:
    """Regression of predicted on reference, and of the difference on the mean (proportional bias)."""
    line = fit_line(x, y, config.confidence)
    trend = fit_line((x + y) / 2, y - x, config.confidence)
    return {
        "slope": line.slope,
        "intercept_mm3": line.intercept,
        "proportional_bias": trend.slope,
        **_interval("slope", line.slope_ci),
        **_interval("intercept_mm3", line.intercept_ci),
        **_interval("proportional_bias", trend.slope_ci),
    }


def _resamples(people: np.ndarray, config: AgreementConfig) -> Iterator[np.ndarray]:
    """Yield blocks (resamples, scans) that say how often each scan is drawn, `config.bootstrap` rows in all.

    `people` (scans,) numbers the person of each scan from 0 without a gap; people are drawn, with all their scans.
    """
    generator = np.random.default_rng(config.seed)
    n = int(people.max()) + 1
    chunk = max(1, _BOOTSTRAP_CELLS // max(len(people), n))
    for start in range(0, config.bootstrap, chunk):
        times = generator.multinomial(n, np.full(n, 1 / n), size=min(chunk, config.bootstrap - start))
        yield times[:, people].astype(float)


def _tails(config: AgreementConfig) -> list[float]:
    return [50 * (1 - config.confidence), 50 * (1 + config.confidence)]


def _weighted_estimates(
    x: np.ndarray, y: np.ndarray, origin: float, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Estimates of each resample, from volumes less `origin`, all in one unit.

    `weights` (resamples, scans) says how often each scan was drawn.
    """
    total = weights.sum(axis=1)
    difference = y - x
    mean = {name: weights @ values / total for name, values in (("x", x), ("y", y), ("d", difference))}
    square = {name: weights @ values**2 / total for name, values in (("x", x), ("y", y), ("d", difference))}
    variance_x, variance_y = square["x"] - mean["x"] ** 2, square["y"] - mean["y"] ** 2
    covariance = weights @ (x * y) / total - mean["x"] * mean["y"]
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = covariance / variance_x
        return {
            "mae_mm3": weights @ np.abs(difference) / total,
            "rmse_mm3": np.sqrt(square["d"]),
            "bias_mm3": mean["d"],
            "r2": 1 - square["d"] / variance_x,
            "pearson_r": covariance / np.sqrt(variance_x * variance_y),
            "ccc": 2 * covariance / (variance_x + variance_y + (mean["x"] - mean["y"]) ** 2),
            "slope": slope,
            "intercept_mm3": origin + mean["y"] - slope * (origin + mean["x"]),
            # slope of y - x on (x + y) / 2
            "proportional_bias": 2 * (variance_y - variance_x) / (variance_x + variance_y + 2 * covariance),
        }


def _weighted_limits(
    difference: np.ndarray, people: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Limits of agreement of each resample, by `variance_components`; who is drawn twice counts as two people."""
    counts = np.bincount(people)
    means = np.bincount(people, difference) / counts
    squares = np.bincount(people, (difference - means[people]) ** 2)
    times = weights[:, np.unique(people, return_index=True)[1]]
    drawn, scans = times.sum(axis=1), times @ counts
    bias = times @ (counts * means) / scans
    # a resample of people with one scan each says nothing of the variance within
    within = times @ squares / np.maximum(scans - drawn, 1)
    mean_square = (times @ (counts * means**2) - scans * bias**2) / (drawn - 1)
    typical_count = (scans - times @ counts**2 / scans) / (drawn - 1)
    sd = np.sqrt(np.maximum(0, (mean_square - within) / typical_count) + within)
    return {"loa_low_mm3": bias - _LIMIT * sd, "loa_high_mm3": bias + _LIMIT * sd}


def _percentiles(values: np.ndarray, tails: list[float]) -> np.ndarray:
    """Percentiles of the resamples that define a value; NaN where more than one in a hundred does not."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.99 * len(values):
        return np.array(NO_INTERVAL)
    return np.percentile(defined, tails)


def _interval(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_ci_low": float(interval[0]), f"{name}_ci_high": float(interval[1])}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else NAN
