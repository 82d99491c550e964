"""Agreement of predicted with reference values: errors, R2, limits of agreement, concordance, intervals.

Definitions used everywhere in the project, x = reference, y = predicted, d = y - x:

    R2    1 - SS_res / SS_tot = 1 - sum(d^2) / sum((x - mean(x))^2): the share of the reference's variance that the
          prediction explains without a fitted line (deduced from Zhao 2020, Table 1). It is not Pearson's r squared.
    RE    100 d / x, in percent; MAPE the mean of |RE|
    SD    of the reference: population SD (ddof 0), as in that table; of differences: sample SD (ddof 1)
    LoA   bias -/+ 1.96 SD of the differences (Bland & Altman), of d and of RE
    CCC   2 s_xy / (s_x^2 + s_y^2 + (mean(x) - mean(y))^2), moments with divisor n (Lin, Biometrics 1989;45:255)
    ICC   ICC(2,1): two-way random, absolute agreement, a single measurement

Intervals if each person has one scan:

    bias, mean RE                        Student's t
    LoA                                  exact for each limit on its own (Carkeet, Optom Vis Sci 2015;92:e71)
    slope, intercept, proportional bias  least squares
    ICC                                  McGraw & Wong
    MAE, RMSE, R2, r, CCC, MAPE          jackknife over people (`lib.stats.jackknife`)

If a person has several scans, scans are not independent: limits then use variance components (Bland & Altman, Stat
Methods Med Res 1999;8:135, 5.3), all intervals are those of the jackknife over people, and neither a p-value nor an
interval of the ICC is given.

All these intervals hold for further people and the trained models. In cross-validation each fold has its own model;
`fold_intervals` leaves out one fold at a time, so that its intervals hold for models trained this way. Folds are
treated as independent although the models of two folds share most of their training people; this effect cannot be
estimated without bias (Bengio & Grandvalet, J Mach Learn Res 2004;5:1089).

A number that the sample does not define is NaN, with the reason in `undefined`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from lib.report_settings import AgreementConfig
from lib.stats.agreement_reasons import agreement_reasons, why_no_folds
from lib.stats.concordance import intraclass_correlation
from lib.stats.estimates import estimates_without, mean_or_nan, point_estimates
from lib.stats.formats import undefined_reasons
from lib.stats.jackknife import jackknife_interval, limit_intervals, mean_interval
from lib.stats.limits_of_agreement import LIMIT, limit_interval, sd_of_differences
from lib.stats.lines import fit_line, growing_spread, limits_to_use
from lib.stats.pairs import Pairs, finite_pairs
from lib.stats.undefined import NAN, NO_INTERVAL, interval_columns, undefined_text

# numbers with a jackknife interval and its scale (`lib.stats.jackknife.SCALES`): in all cases, and in addition if a
# person has several scans or folds are left out
_JACKKNIFED = {
    **dict.fromkeys(("mae", "mape_percent"), "log"),
    "rmse": "inverse root",
    "r2": "complement",
    **dict.fromkeys(("pearson_r", "ccc"), "z"),
}
_JACKKNIFED_IF_DEPENDENT = {
    **_JACKKNIFED,
    **dict.fromkeys(("slope", "intercept", "proportional_bias"), "plain"),
}
# mean, lower and upper limit, of differences and of relative errors
_LIMITS = ("bias", "loa_low", "loa_high")
_LIMITS_PERCENT = ("re_mean_percent", "loa_low_percent", "loa_high_percent")
FOLD_INTERVALS = (*_LIMITS, *_LIMITS_PERCENT, *_JACKKNIFED_IF_DEPENDENT)
FOLD_COLUMNS = ("folds", *(f"{name}_fold_ci_{end}" for name in FOLD_INTERVALS for end in ("low", "high")))


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of `scans` pairs of values of `n` people, in the unit of the values (`lib.stats.agreement_units`).

    Names of interval ends end in `_ci_low` and `_ci_high`.
    """

    n: int
    reference_mean: float
    reference_sd: float
    mae: float
    mae_ci_low: float
    mae_ci_high: float
    rmse: float
    rmse_ci_low: float
    rmse_ci_high: float
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
    intercept: float
    intercept_ci_low: float
    intercept_ci_high: float
    re_min_percent: float
    re_max_percent: float
    bias: float
    bias_ci_low: float
    bias_ci_high: float
    loa_low: float
    loa_low_ci_low: float
    loa_low_ci_high: float
    loa_high: float
    loa_high_ci_low: float
    loa_high_ci_high: float
    ccc: float
    ccc_ci_low: float
    ccc_ci_high: float
    proportional_bias: float
    proportional_bias_ci_low: float
    proportional_bias_ci_high: float
    scans: int
    difference_sd: float
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


def summarize_agreement(
    reference: Sequence[float],
    predicted: Sequence[float],
    subjects: Sequence[str],
    config: AgreementConfig,
) -> Agreement:
    """Compare predicted with reference values (n,), one pair per scan; `subjects` (n,) names the people.

    Pairs with a NaN are left out. Raises ValueError if the lengths differ.
    """
    pairs = finite_pairs(reference, predicted, subjects)
    x, y, people = pairs.x, pairs.y, pairs.people
    numbers = point_estimates(x, y) | _lines(x, y, config) | _icc(x, y, config)
    relative, some = pairs.relative
    _, of_relative = np.unique(people[some], return_inverse=True)
    numbers |= _limits(_LIMITS, "difference_sd", (y - x, people), config)
    numbers |= _limits(_LIMITS_PERCENT, "re_sd_percent", (relative, of_relative), config)
    numbers["growing_spread_p_value"] = growing_spread(x, y)
    jackknifed = _JACKKNIFED
    if pairs.count < len(x):
        jackknifed = _JACKKNIFED_IF_DEPENDENT
        numbers |= {
            "pearson_p_value": NAN,
            "growing_spread_p_value": NAN,
            **interval_columns("icc", NO_INTERVAL),
        }
    numbers |= _jackknifed(pairs, people, jackknifed, config)
    told = {"n": pairs.count, "scans": len(x)}
    told["limits_to_use"] = limits_to_use(x, y, numbers["growing_spread_p_value"])
    return Agreement(**told, **numbers, undefined=undefined_text(agreement_reasons(numbers, pairs)))


def fold_intervals(
    reference: Sequence[float],
    predicted: Sequence[float],
    subjects: Sequence[str],
    folds: Sequence[int],
    config: AgreementConfig,
) -> dict[str, float]:
    """Return FOLD_COLUMNS: intervals that hold for models trained this way, from leaving out one fold at a time.

    Arguments are as in `summarize_agreement`; `folds` (n,) numbers the fold whose model predicted each scan. All
    intervals are NaN for fewer than two folds.
    """
    pairs = finite_pairs(reference, predicted, subjects, folds)
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
        spread = sd_of_differences(values, people), LIMIT
        found = limit_intervals(values, people, groups, spread, config.confidence)
        for name, interval in zip(names, found, strict=True):
            numbers |= interval_columns(f"{name}_fold", interval)
    found = _jackknifed(pairs, pairs.folds, _JACKKNIFED_IF_DEPENDENT, config)
    return numbers | {name.replace("_ci_", "_fold_ci_"): value for name, value in found.items()}


def agreement_row(
    reference: Sequence[float],
    predicted: Sequence[float],
    subjects: Sequence[str],
    config: AgreementConfig,
    folds: Sequence[int] | None = None,
) -> dict[str, float | int | str]:
    """Return AGREEMENT_COLUMNS of pairs of values (n,); `folds` (n,) is given only for cross-validation."""
    values = reference, predicted, subjects
    row = asdict(summarize_agreement(*values, config))
    told = row.pop("undefined")
    known = undefined_reasons(told)
    of_folds: dict[str, float] = dict.fromkeys(FOLD_COLUMNS, NAN) | {"folds": 0}
    if folds is not None:
        of_folds = fold_intervals(*values, folds, config)
    missing = why_no_folds(None if folds is None else int(of_folds["folds"])) or "too few people in the folds"
    reasons = {
        f"{name}_fold_ci": known.get(name, missing)
        for name in FOLD_INTERVALS
        if math.isnan(of_folds[f"{name}_fold_ci_low"])
    }
    return row | of_folds | {"undefined": "; ".join(filter(None, (told, undefined_text(reasons))))}


def _icc(x: np.ndarray, y: np.ndarray, config: AgreementConfig) -> dict[str, float]:
    """Return the ICC and its interval; NaN outside -1 to 1 (possible for two people) or for a constant reference."""
    icc, interval = intraclass_correlation(np.column_stack([x, y]), config.confidence)
    if not abs(icc) <= 1 or np.ptp(x) == 0:
        icc, interval = NAN, NO_INTERVAL
    return {"icc": icc, **interval_columns("icc", interval)}


def _limits(
    names: Sequence[str], sd_name: str, scans: tuple[np.ndarray, np.ndarray], config: AgreementConfig
) -> dict[str, float]:
    """Return mean, SD and limits of the values of `scans`; intervals are exact if each person has one scan."""
    values, people = scans
    mean, sd, n = mean_or_nan(values), sd_of_differences(values, people), len(values)
    if len(np.unique(people)) < n:
        found = limit_intervals(values, people, people, (sd, LIMIT), config.confidence)
    else:
        upper = limit_interval(sd, n, config.confidence)
        of_mean = mean_interval(values, people, config.confidence)
        found = of_mean, (mean - upper[1], mean - upper[0]), (mean + upper[0], mean + upper[1])
    numbers = dict(zip(names, (mean, mean - LIMIT * sd, mean + LIMIT * sd), strict=True)) | {sd_name: sd}
    for name, interval in zip(names, found, strict=True):
        numbers |= interval_columns(name, interval)
    return numbers


def _lines(x: np.ndarray, y: np.ndarray, config: AgreementConfig) -> dict[str, float]:
    """Return the regressions of predicted on reference and of the difference on the mean (proportional bias)."""
    line = fit_line(x, y, config.confidence)
    trend = fit_line((x + y) / 2, y - x, config.confidence)
    return {
        "slope": line.slope,
        "intercept": line.intercept,
        "proportional_bias": trend.slope,
        **interval_columns("slope", line.slope_ci),
        **interval_columns("intercept", line.intercept_ci),
        **interval_columns("proportional_bias", trend.slope_ci),
    }


def _jackknifed(
    pairs: Pairs, groups: np.ndarray, scales: Mapping[str, str], config: AgreementConfig
) -> dict[str, float]:
    """Return the intervals of the names in `scales` from leaving out each of the groups (scans,) in turn."""
    x, y = pairs.x, pairs.y
    estimates = point_estimates(x, y) | _lines(x, y, config) | _icc(x, y, config)
    left = estimates_without(x, y, groups) if len(x) > 1 else {}
    numbers: dict[str, float] = {}
    for name, scale in scales.items():
        interval = NO_INTERVAL
        if math.isfinite(estimates[name]) and left:
            interval = jackknife_interval(estimates[name], left[name], config.confidence, scale)
        numbers |= interval_columns(name, interval)
    return numbers
