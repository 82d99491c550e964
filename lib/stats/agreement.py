"""Do predicted volumes agree with reference volumes? Errors, R2, limits of agreement, concordance, intervals.

Definitions used everywhere in the project, x = reference, y = predicted, d = y - x:

    R2    1 - SS_res / SS_tot = 1 - sum(d^2) / sum((x - mean(x))^2): the share of the reference's variance that the
          prediction itself explains, no line fitted (deduced from Zhao 2020, Table 1). It is not Pearson's r squared.
    RE    100 d / x, in percent; MAPE the mean of |RE|
    SD    of the reference: population SD (ddof 0), as in that table; of differences: sample SD (ddof 1)
    LoA   bias -/+ 1.96 SD of the differences (Bland & Altman), of d and of RE
    CCC   2 s_xy / (s_x^2 + s_y^2 + (mean(x) - mean(y))^2), moments with divisor n (Lin, Biometrics 1989;45:255)
    ICC   ICC(2,1): two-way random, absolute agreement, a single measurement

Intervals where each person has one scan:

    bias, mean RE                        Student's t
    LoA                                  exact for each limit on its own (Carkeet, Optom Vis Sci 2015;92:e71)
    slope, intercept, proportional bias  least squares
    ICC                                  McGraw & Wong
    MAE, RMSE, R2, r, CCC, MAPE          jackknife over people (`lib.stats.jackknife`)

Where a person has several scans, scans are not independent: limits then use variance components (Bland & Altman, Stat
Methods Med Res 1999;8:135, 5.3), all intervals are of the jackknife over people, and neither a p-value nor an
interval of the ICC is stated.

All these hold for further people and the models that were trained. In a cross-validation each fold has a model of
its own; `fold_intervals` leave out a fold at a time, so that they hold for models trained this way. They take folds
as independent, though the models of two folds share most of their training people; what this does cannot be estimated
without bias (Bengio & Grandvalet, J Mach Learn Res 2004;5:1089).

A number that its sample does not define is NaN, and `undefined` says why.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.diagnostic import het_breuschpagan
from statsmodels.tools import add_constant

from lib.errors import ConfigError
from lib.stats.concordance import NAN, NO_INTERVAL, Interval, concordance, intraclass_correlation
from lib.stats.formats import undefined_reasons
from lib.stats.jackknife import jackknife_interval, limit_intervals, mean_interval, sums_without
from lib.stats.undefined import undefined_text
from lib.stats.variance import variance_components

# a limit of agreement lies so many SD from the bias
_LIMIT = float(stats.norm.ppf(0.975))
# fewer people tell nothing of how the spread of the differences grows
_FEWEST_FOR_GROWTH = 10
_SIGNIFICANT = 0.05

# what has an interval of the jackknife, with its scale (`lib.stats.jackknife.SCALES`): always, and what else where a
# person has several scans, or folds are left out
_JACKKNIFED = {
    **dict.fromkeys(("mae_mm3", "mape_percent"), "log"),
    "rmse_mm3": "inverse root",
    "r2": "complement",
    **dict.fromkeys(("pearson_r", "ccc"), "z"),
}
_JACKKNIFED_IF_DEPENDENT = {
    **_JACKKNIFED,
    **dict.fromkeys(("slope", "intercept_mm3", "proportional_bias"), "plain"),
}
# mean, lower and upper limit of differences and of relative errors
_LIMITS = ("bias_mm3", "loa_low_mm3", "loa_high_mm3")
_LIMITS_PERCENT = ("re_mean_percent", "loa_low_percent", "loa_high_percent")
# what has an interval with the folds
FOLD_INTERVALS = (*_LIMITS, *_LIMITS_PERCENT, *_JACKKNIFED_IF_DEPENDENT)
FOLD_COLUMNS = ("folds", *(f"{name}_fold_ci_{end}" for name in FOLD_INTERVALS for end in ("low", "high")))


@dataclass(frozen=True, kw_only=True)
class AgreementConfig:
    """Level of all intervals."""

    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if not 0.5 <= self.confidence < 1:
            raise ConfigError(f"report.confidence must be in [0.5, 1), got {self.confidence!r}")


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
    re_mean_percent: float
    re_mean_percent_ci_low: float
    re_mean_percent_ci_high: float
    re_sd_percent: float
    mape_percent: float
    mape_percent_ci_low: float
    mape_percent_ci_high: float
    loa_low_percent: float
    loa_low_percent_ci_low: float
    loa_low_percent_ci_high: float
    loa_high_percent: float
    loa_high_percent_ci_low: float
    loa_high_percent_ci_high: float
    growing_spread_p_value: float
    limits_to_use: str
    undefined: str


AGREEMENT_COLUMNS = (
    *(field.name for field in fields(Agreement) if field.name != "undefined"),
    *FOLD_COLUMNS,
    "undefined",
)


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
    folds: int
    difference_mm3_fold_ci_low: float
    difference_mm3_fold_ci_high: float
    undefined: str


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Pairs of volumes (scans,), their people and folds (scans,) numbered from 0; no folds: no cross-validation."""

    x: np.ndarray
    y: np.ndarray
    people: np.ndarray
    folds: np.ndarray | None

    @property
    def relative(self) -> tuple[np.ndarray, np.ndarray]:
        """Relative errors in percent where there is a reference, and which scans these are."""
        some = self.x > 0
        return 100 * (self.y[some] - self.x[some]) / self.x[some], some

    @property
    def count(self) -> int:
        """How many people there are."""
        return int(self.people.max()) + 1 if len(self.people) else 0


def summarize_agreement(
    reference_mm3: Sequence[float],
    predicted_mm3: Sequence[float],
    subjects: Sequence[str],
    config: AgreementConfig,
) -> Agreement:
    """Compare predicted with reference volumes (n,) in mm3, one pair a scan; `subjects` names the person of each.

    Pairs with a volume that is not a number are left out. Raises ValueError when the lengths differ.
    """
    pairs = _finite_pairs(reference_mm3, predicted_mm3, subjects)
    x, y, people = pairs.x, pairs.y, pairs.people
    numbers = _point_estimates(x, y) | _lines(x, y, config) | _icc(x, y, config)
    relative, some = pairs.relative
    _, of_relative = np.unique(people[some], return_inverse=True)
    numbers |= _limits(_LIMITS, "difference_sd_mm3", (y - x, people), config)
    numbers |= _limits(_LIMITS_PERCENT, "re_sd_percent", (relative, of_relative), config)
    numbers["growing_spread_p_value"] = growing_spread(x, y)
    jackknifed = _JACKKNIFED
    if pairs.count < len(x):
        jackknifed = _JACKKNIFED_IF_DEPENDENT
        numbers |= {"pearson_p_value": NAN, "growing_spread_p_value": NAN, **_interval("icc", NO_INTERVAL)}
    numbers |= _jackknifed(pairs, people, jackknifed, config)
    told = {"n": pairs.count, "scans": len(x)}
    told["limits_to_use"] = limits_to_use(x, y, numbers["growing_spread_p_value"])
    return Agreement(**told, **numbers, undefined=undefined_text(_reasons(numbers, pairs)))


def fold_intervals(
    reference_mm3: Sequence[float],
    predicted_mm3: Sequence[float],
    subjects: Sequence[str],
    folds: Sequence[int],
    config: AgreementConfig,
) -> dict[str, float]:
    """Return FOLD_COLUMNS: the intervals that hold for models trained this way, from leaving out a fold at a time.

    Arguments as `summarize_agreement`; `folds` (n,) numbers the fold whose model predicted a scan. All intervals are
    NaN for fewer than two folds.
    """
    pairs = _finite_pairs(reference_mm3, predicted_mm3, subjects, folds)
    numbers: dict[str, float] = dict.fromkeys(FOLD_COLUMNS, NAN)
    numbers["folds"] = count = int(pairs.folds.max()) + 1 if len(pairs.folds) else 0
    if count < 2:
        return numbers
    relative, some = pairs.relative
    for names, values, kept in (
        (_LIMITS, pairs.y - pairs.x, np.ones(len(some), bool)),
        (_LIMITS_PERCENT, relative, some),
    ):
        _, people = np.unique(pairs.people[kept], return_inverse=True)
        _, groups = np.unique(pairs.folds[kept], return_inverse=True)
        spread = sd_of_differences(values, people), _LIMIT
        found = limit_intervals(values, people, groups, spread, config.confidence)
        for name, interval in zip(names, found, strict=True):
            numbers |= _interval(f"{name}_fold", interval)
    found = _jackknifed(pairs, pairs.folds, _JACKKNIFED_IF_DEPENDENT, config)
    return numbers | {name.replace("_ci_", "_fold_ci_"): value for name, value in found.items()}


def agreement_row(
    reference_mm3: Sequence[float],
    predicted_mm3: Sequence[float],
    subjects: Sequence[str],
    config: AgreementConfig,
    folds: Sequence[int] | None = None,
) -> dict[str, float | int | str]:
    """Return AGREEMENT_COLUMNS of pairs of volumes (n,); `folds` (n,) of a cross-validation alone."""
    volumes = reference_mm3, predicted_mm3, subjects
    row = asdict(summarize_agreement(*volumes, config))
    told = row.pop("undefined")
    known = undefined_reasons(told)
    of_folds: dict[str, float] = dict.fromkeys(FOLD_COLUMNS, NAN) | {"folds": 0}
    if folds is not None:
        of_folds = fold_intervals(*volumes, folds, config)
    missing = (
        _why_no_folds(None if folds is None else int(of_folds["folds"])) or "too few people in the folds"
    )
    reasons = {
        f"{name}_fold_ci": known.get(name, missing)
        for name in FOLD_INTERVALS
        if math.isnan(of_folds[f"{name}_fold_ci_low"])
    }
    return row | of_folds | {"undefined": "; ".join(filter(None, (told, undefined_text(reasons))))}


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
    fit = OLS(y, add_constant(x)).fit()
    intercept_ci, slope_ci = (tuple(map(float, row)) for row in fit.conf_int(1 - confidence))
    intercept, slope = map(float, fit.params)
    return Line(slope=slope, intercept=intercept, slope_ci=slope_ci, intercept_ci=intercept_ci)


def line_band(x: np.ndarray, y: np.ndarray, along: np.ndarray, confidence: float) -> np.ndarray:
    """Return line, lower and upper end of the interval of its mean (3, points) at places `along` (statsmodels)."""
    fit = OLS(y, add_constant(x)).fit()
    # two columns even where all places are the same
    places = np.column_stack([np.ones(len(along)), along])
    table = fit.get_prediction(places).summary_frame(alpha=1 - confidence)
    return table[["mean", "mean_ci_lower", "mean_ci_upper"]].to_numpy().T


def growing_spread(reference: np.ndarray, predicted: np.ndarray) -> float:
    """Return the p-value of a spread of predicted - reference that changes with the mean of both.

    Breusch and Pagan's test in Koenker's form (F; statsmodels) on the residuals about the line of differences on
    means. Small: read the limits in percent, for those in mm3 are too wide for small and too narrow for large bones.
    NaN for fewer than ten pairs and where nothing varies.
    """
    mean, difference = (reference + predicted) / 2, predicted - reference
    return _changing_spread(mean, difference, np.abs(mean).max(initial=0.0))


def limits_to_use(reference: np.ndarray, predicted: np.ndarray, growing_spread_p_value: float) -> str:
    """Return which limits of agreement fit bones of every size, from volumes (n,) and p of `growing_spread`.

    `mm3` unless the spread of the differences changes with volume (p below 0.05); then `percent`, unless that of the
    relative errors changes with volume too (the same test): `neither`, and limits are to be read for each size by
    itself. Empty where the spread was not tested.
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
    if len(mean) < _FEWEST_FOR_GROWTH or np.ptp(mean) == 0:
        return NAN
    design = add_constant((mean - mean.mean()) / mean.std())
    residuals = OLS(difference, design).fit().resid
    if np.ptp(residuals) <= 1e-9 * size:
        return NAN
    return float(het_breuschpagan(residuals, design)[3])


def compare_paired(
    first_error_mm3: Sequence[float],
    second_error_mm3: Sequence[float],
    config: AgreementConfig,
    folds: Sequence[int] | None = None,
) -> PairedComparison:
    """Compare the absolute errors (n,) in mm3 of two models on the same people, one error a person.

    The interval is Student's t, the p-value Wilcoxon's signed rank test (NaN below six people, where it cannot reach
    0.05); both hold for these trained models. `folds` (n,) numbers the fold whose models predicted a person: the
    interval with the folds leaves out one at a time and holds for models trained this way.
    """
    first, second = (np.abs(np.asarray(errors, float)) for errors in (first_error_mm3, second_error_mm3))
    difference = first - second
    n, count = len(difference), 0 if folds is None else len(set(folds))
    interval = mean_interval(difference, np.arange(n), config.confidence)
    of_folds = mean_interval(difference, folds, config.confidence) if count else NO_INTERVAL
    tested = n >= 6 and np.any(difference != 0)
    reasons = {
        "difference_mm3_ci": "one person" if n < 2 else "",
        "difference_mm3_fold_ci": _why_no_folds(None if folds is None else count),
        "wilcoxon_p_value": "fewer than six people" if n < 6 else "" if tested else "no error differs",
    }
    return PairedComparison(
        n=n,
        first_mae_mm3=_mean(first),
        second_mae_mm3=_mean(second),
        difference_mm3=_mean(difference),
        **_interval("difference_mm3", interval),
        wilcoxon_p_value=float(stats.wilcoxon(difference).pvalue) if tested else NAN,
        folds=count,
        **_interval("difference_mm3_fold", of_folds),
        undefined=undefined_text(reasons),
    )


def _finite_pairs(
    reference_mm3: Sequence[float],
    predicted_mm3: Sequence[float],
    subjects: Sequence[str],
    folds: Sequence[int] | None = None,
) -> _Pairs:
    x, y = np.asarray(reference_mm3, float), np.asarray(predicted_mm3, float)
    lengths = [len(x), len(y), len(subjects), len(subjects if folds is None else folds)]
    if len(set(lengths)) > 1:
        names = ("reference", "predicted", "subjects", "folds")
        told = ", ".join(f"{length} {name}" for length, name in zip(lengths, names, strict=True))
        raise ValueError(f"lengths differ: {told}")
    known = np.isfinite(x) & np.isfinite(y)
    _, people = np.unique(np.asarray(subjects, str)[known], return_inverse=True)
    numbered = None
    if folds is not None:
        _, numbered = np.unique(np.asarray(folds, int)[known], return_inverse=True)
    return _Pairs(x=x[known], y=y[known], people=people, folds=numbered)


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
        "mape_percent": _mean(np.abs(relative)),
        "ccc": concordance(x, y),
    }


def _icc(x: np.ndarray, y: np.ndarray, config: AgreementConfig) -> dict[str, float]:
    """Return the ICC and its interval; NaN beyond -1 to 1, as two people can make it, and of a constant reference."""
    icc, interval = intraclass_correlation(np.column_stack([x, y]), config.confidence)
    if not abs(icc) <= 1 or np.ptp(x) == 0:
        icc, interval = NAN, NO_INTERVAL
    return {"icc": icc, **_interval("icc", interval)}


def _limits(
    names: Sequence[str], sd_name: str, scans: tuple[np.ndarray, np.ndarray], config: AgreementConfig
) -> dict[str, float]:
    """Mean, SD and limits of the values of `scans`, with people beside; intervals exact for one scan a person."""
    values, people = scans
    mean, sd, n = _mean(values), sd_of_differences(values, people), len(values)
    if len(np.unique(people)) < n:
        found = limit_intervals(values, people, people, (sd, _LIMIT), config.confidence)
    else:
        upper = limit_interval(sd, n, config.confidence)
        of_mean = mean_interval(values, people, config.confidence)
        found = of_mean, (mean - upper[1], mean - upper[0]), (mean + upper[0], mean + upper[1])
    numbers = dict(zip(names, (mean, mean - _LIMIT * sd, mean + _LIMIT * sd), strict=True)) | {sd_name: sd}
    for name, interval in zip(names, found, strict=True):
        numbers |= _interval(name, interval)
    return numbers


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


def _jackknifed(
    pairs: _Pairs, groups: np.ndarray, scales: Mapping[str, str], config: AgreementConfig
) -> dict[str, float]:
    """Intervals of the names in `scales` from leaving out each of the groups (scans,)."""
    x, y = pairs.x, pairs.y
    estimates = _point_estimates(x, y) | _lines(x, y, config) | _icc(x, y, config)
    left = estimates_without(x, y, groups) if len(x) > 1 else {}
    numbers: dict[str, float] = {}
    for name, scale in scales.items():
        interval = NO_INTERVAL
        if math.isfinite(estimates[name]) and left:
            interval = jackknife_interval(estimates[name], left[name], config.confidence, scale)
        numbers |= _interval(name, interval)
    return numbers


def estimates_without(
    reference: np.ndarray, predicted: np.ndarray, groups: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the estimates (groups,) of pairs (n,) without each of the groups (n,), numbered from 0 without a gap.

    NaN where what remains does not define an estimate.
    """
    # centred in units of the spread: raw sums of squares of volumes would cancel
    origin, unit = reference.mean(), max(float(np.ptp(reference)), 1.0)
    x, y = (reference - origin) / unit, (predicted - origin) / unit
    difference, some = y - x, reference > 0
    relative = 100 * np.divide(unit * difference, reference, out=np.zeros(len(x)), where=some)
    terms = (np.ones(len(x)), x, y, x**2, y**2, x * y, difference**2, np.abs(difference))
    sums = sums_without(np.column_stack([*terms, some, np.abs(relative)]), groups).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y, xx, yy, xy, square, absolute = sums[1:8] / sums[0]
        # below: rounding of a constant
        variance_x, variance_y = (np.where(v > 1e-18, v, NAN) for v in (xx - mean_x**2, yy - mean_y**2))
        covariance, bias = xy - mean_x * mean_y, mean_y - mean_x
        slope, both = covariance / variance_x, variance_x + variance_y
        return {
            "mae_mm3": unit * absolute,
            "rmse_mm3": unit * np.sqrt(square),
            "mape_percent": sums[9] / sums[8],
            "r2": 1 - square / variance_x,
            "pearson_r": covariance / np.sqrt(variance_x * variance_y),
            "ccc": 2 * covariance / (both + bias**2),
            "slope": slope,
            "intercept_mm3": unit * (mean_y - slope * mean_x) + origin * (1 - slope),
            # slope of y - x on (x + y) / 2
            "proportional_bias": 2 * (variance_y - variance_x) / (both + 2 * covariance),
        }


def _reasons(numbers: Mapping[str, float], pairs: _Pairs) -> dict[str, str]:
    """Return why numbers are NaN, by name; the ends of an interval have one name, that ends in `_ci`."""
    return {
        name.removesuffix("_low") if "_ci_" in name else name: _why(name, numbers, pairs)
        for name, value in numbers.items()
        if math.isnan(value) and not name.endswith("_ci_high")
    }


def _why(name: str, numbers: Mapping[str, float], pairs: _Pairs) -> str:
    """Return why a number is NaN."""
    x, y, count = pairs.x, pairs.y, pairs.count
    if not count:
        return "nobody has both volumes"
    if name.startswith("re_") or "percent" in name:
        x, y = x[x > 0], y[x > 0]
        if not len(x):
            return "no reference above 0 mm3"
    estimate = name.split("_ci_")[0]
    if name != estimate and math.isfinite(numbers.get(estimate, NAN)):
        if estimate == "icc" and count < len(pairs.x):
            return "several scans of a person"
        return _why_no_interval(estimate, numbers[estimate], count)
    of_reference = ("r2", "pearson_", "slope", "intercept_", "ccc", "icc")
    if count == 1:
        return "one person"
    if estimate.startswith(of_reference) and np.ptp(x) == 0:
        return "the reference does not vary"
    if estimate.startswith("pearson_") and np.ptp(y) == 0:
        return "the prediction does not vary"
    if name in ("pearson_p_value", "growing_spread_p_value") and count < len(pairs.x):
        return "several scans of a person"
    if name == "growing_spread_p_value" and len(x) >= _FEWEST_FOR_GROWTH:
        return "the differences do not vary about their line"
    if estimate == "icc":
        return "people differ less than chance makes them"
    few = "fewer than ten people" if name == "growing_spread_p_value" else "fewer than three scans"
    return (
        few if len(x) < (_FEWEST_FOR_GROWTH if "growing" in name else 3) else "the mean volume does not vary"
    )


def _why_no_interval(name: str, estimate: float, count: int) -> str:
    """Return why an estimate has no interval."""
    if count == 1:
        return "one person"
    if name.startswith(("mae", "rmse", "mape")) and estimate == 0:
        return "no prediction differs from its reference"
    if abs(estimate) == 1:
        return "the estimate lies at the end of its range"
    return "too few people, or nothing varies"


def _why_no_folds(count: int | None) -> str:
    """Return why there is no interval with the folds: no cross-validation (None), or fewer than two folds."""
    if count is None:
        return "no cross-validation"
    return "fewer than two folds" if count < 2 else ""


def _interval(name: str, interval: Interval) -> dict[str, float]:
    return {f"{name}_ci_low": float(interval[0]), f"{name}_ci_high": float(interval[1])}


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else NAN
