"""Agreement of pairs that are clustered in people, as functions of sums over people, and bootstrap over people.

All numbers follow from sums of a few terms of each person, so that a bootstrap sample, which counts person i w_i
times, needs the weighted sums alone: thousands of samples are a product of matrices.

The definitions are those of `lib.stats.agreement` (x reference, y predicted, d = y - x). Further ones:

    sd                         of a single new difference: root of the sum of the variance components between and
                               within people (`lib.stats.limits_of_agreement`)
    calibration_in_the_large   mean(x) - mean(y): the intercept of the reference on the prediction with the slope 1
    within_person_r            correlation of x and y after each person's means are taken off (Bland & Altman, BMJ
                               1995;310:446), which the differences between people do not raise

Intervals: bias-corrected and accelerated percentiles (BCa; Efron & Tibshirani, An Introduction to the Bootstrap,
1993, chapter 14) of samples of people, each with all of their pairs. The normal quantile z is replaced by
sqrt(n / (n - 1)) t of Student with n - 1 degrees of freedom, because percentiles are too narrow for few people
(Hesterberg, Am Stat 2015;69:371). `tests/unit/test_clustered.py` measures their coverage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lib.stats.density_plan import FEWEST_FOR_BOOTSTRAP
from lib.stats.limits_of_agreement import LIMIT
from lib.stats.undefined import NAN, NO_INTERVAL, Interval

ESTIMATES = (
    *("pearson_r", "r2", "ccc", "bias", "sd", "loa_low", "loa_high", "rmse", "mae", "slope", "intercept"),
    *("calibration_in_the_large", "within_person_r", "sd_between_people", "sd_within_people"),
)
_MOST_WEIGHTS = 4_000_000  # held at once while people are drawn
_ROUNDING = 1e-12  # variances below this share of the squared range are the rounding error of a constant


@dataclass(frozen=True, kw_only=True)
class PersonSums:
    """Sums over the pairs of each person (people, terms) of values that are centred and scaled.

    `origin` and `unit` turn them back: value = origin + unit * centred.
    """

    sums: np.ndarray
    origin: float
    unit: float


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How people are resampled: number of samples, seed of the draws, level of the intervals."""

    samples: int
    seed: int
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Totals of terms: of everybody (1, terms), of samples (samples, terms), without a person (people, terms)."""

    everybody: np.ndarray
    sampled: np.ndarray
    left_out: np.ndarray

    @property
    def each(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the three in this order."""
        return self.everybody, self.sampled, self.left_out


def person_sums(x: np.ndarray, y: np.ndarray, people: np.ndarray) -> PersonSums:
    """Return the sums of pairs x, y (n,) by `people` (n,), numbered from 0 without a gap."""
    origin, unit = float(x.mean()), max(float(np.ptp(x)), 1e-9)
    x, y = (x - origin) / unit, (y - origin) / unit
    d = y - x
    terms = (np.ones(len(x)), x, y, x * x, y * y, x * y, d, d * d, np.abs(d))
    own = np.column_stack([np.bincount(people, term) for term in terms])
    m, sx, sy, sd = own[:, 0], own[:, 1], own[:, 2], own[:, 6]
    within = (own[:, 3] - sx**2 / m, own[:, 4] - sy**2 / m, own[:, 5] - sx * sy / m, own[:, 7] - sd**2 / m)
    return PersonSums(
        sums=np.column_stack([np.ones(len(m)), own, *within, m**2, sd**2 / m]), origin=origin, unit=unit
    )


def clustered_estimates(of: PersonSums, totals: np.ndarray) -> dict[str, np.ndarray]:
    """Return ESTIMATES (samples,) of samples with these totals of the sums of people (samples, terms).

    NaN where a sample does not define a number.
    """
    total = totals.T
    persons, n = total[0], total[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x, mean_y, xx, yy, xy, bias, dd, absolute = total[2:10] / n
        var_x, var_y = (_positive(v) for v in (xx - mean_x**2, yy - mean_y**2))
        cov = xy - mean_x * mean_y
        within_x, within_y, within_xy = (_positive(total[10] / n), _positive(total[11] / n), total[12] / n)
        between, within = _components(total, persons, n)
        sd = np.sqrt(between + within)
        slope = cov / var_x
        bias_there = of.unit * bias
        return {
            "pearson_r": cov / np.sqrt(var_x * var_y),
            "r2": 1 - dd / var_x,
            "ccc": 2 * cov / (var_x + np.maximum(yy - mean_y**2, 0) + bias**2),
            "bias": bias_there,
            "sd": of.unit * sd,
            "loa_low": bias_there - LIMIT * of.unit * sd,
            "loa_high": bias_there + LIMIT * of.unit * sd,
            "rmse": of.unit * np.sqrt(dd),
            "mae": of.unit * absolute,
            "slope": slope,
            "intercept": of.unit * (mean_y - slope * mean_x) + of.origin * (1 - slope),
            "calibration_in_the_large": -bias_there,
            "within_person_r": within_xy / np.sqrt(within_x * within_y),
            "sd_between_people": np.where(n > persons, of.unit * np.sqrt(between), NAN),
            "sd_within_people": np.where(n > persons, of.unit * np.sqrt(within), NAN),
        }


def resampled_totals(terms: np.ndarray, samples: int, seed: int) -> Totals:
    """Return totals of terms (people, terms) over everybody, over samples of people, and without each person.

    A sample draws as many people as there are, with replacement. The same number of people and the same seed give
    the same samples.
    """
    people, generator = len(terms), np.random.default_rng(seed)
    drawn, step = [], max(1, _MOST_WEIGHTS // people)
    for start in range(0, samples, step):
        size = min(step, samples - start)
        drawn.append(generator.multinomial(people, np.full(people, 1 / people), size=size) @ terms)
    everybody = terms.sum(axis=0)
    return Totals(everybody=everybody[None], sampled=np.concatenate(drawn), left_out=everybody - terms)


def bca_interval(estimate: float, sampled: np.ndarray, left_out: np.ndarray, confidence: float) -> Interval:
    """Return the BCa interval of an estimate from those of bootstrap samples (samples,) and without each person.

    Two NaN for fewer than FEWEST_FOR_BOOTSTRAP people, if a sample of a hundred or more does not define the number,
    or if it is the same in all samples.
    """
    known = np.isfinite(sampled)
    if not (np.isfinite([estimate, *left_out]).all() and _is_sampled(sampled, len(left_out))):
        return NO_INTERVAL
    sampled = sampled[known]
    share = np.mean(sampled < estimate) + np.mean(sampled == estimate) / 2
    shift = stats.norm.ppf(np.clip(share, 1 / len(sampled), 1 - 1 / len(sampled)))
    distance = left_out.mean() - left_out
    squares = float(np.sum(distance**2))
    acceleration = float(np.sum(distance**3)) / (6 * squares**1.5) if squares > 0 else 0.0
    moved = shift + np.array([-1, 1]) * _reach(len(left_out), confidence)
    ends = np.quantile(sampled, stats.norm.cdf(shift + moved / (1 - acceleration * moved)))
    return float(ends[0]), float(ends[1])


def percentile_interval(sampled: np.ndarray, people: int, confidence: float) -> Interval:
    """Return the percentile interval of a number from bootstrap samples (samples,) of `people`, for few people wider.

    For numbers that take few values, such as kappa of a handful of people, whose bias and acceleration cannot be
    estimated. Two NaN as in `bca_interval`.
    """
    if not _is_sampled(sampled, people):
        return NO_INTERVAL
    tail = stats.norm.cdf(-_reach(people, confidence))
    low, high = np.quantile(sampled[np.isfinite(sampled)], [tail, 1 - tail])
    return float(low), float(high)


def _is_sampled(sampled: np.ndarray, people: int) -> bool:
    """Return whether samples tell an interval: enough `people`, nearly all samples defined, not all equal."""
    known = sampled[np.isfinite(sampled)]
    if people < FEWEST_FOR_BOOTSTRAP or len(known) < 0.99 * len(sampled):
        return False
    return bool(np.ptp(known) > _ROUNDING * max(np.abs(known).max(), 1.0))


def _reach(people: int, confidence: float) -> float:
    """Return the widened normal quantile: sqrt(n / (n - 1)) t of Student with n - 1 degrees of freedom."""
    return float(np.sqrt(people / (people - 1)) * stats.t.ppf(0.5 + confidence / 2, people - 1))


def estimates_with_intervals(of: PersonSums, how: Bootstrap) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return ESTIMATES and their intervals by name."""
    drawn = resampled_totals(of.sums, how.samples, how.seed)
    point, sampled, left_out = (clustered_estimates(of, totals) for totals in drawn.each)
    estimates = {name: float(point[name][0]) for name in ESTIMATES}
    return estimates, {
        name: bca_interval(value, sampled[name], left_out[name], how.confidence)
        for name, value in estimates.items()
    }


def rmse_difference(first: PersonSums, second: PersonSums, how: Bootstrap) -> tuple[float, Interval]:
    """Return the RMSE of the first method minus that of the second on the same people, and its paired interval.

    Both sums are of the same people in the same order, and a sample holds the same people of both.
    """
    pairs = zip(
        *(resampled_totals(of.sums, how.samples, how.seed).each for of in (first, second)), strict=True
    )
    point, sampled, left_out = (
        _rmse(first, of_first) - _rmse(second, of_second) for of_first, of_second in pairs
    )
    return float(point[0]), bca_interval(float(point[0]), sampled, left_out, how.confidence)


def _rmse(of: PersonSums, totals: np.ndarray) -> np.ndarray:
    return clustered_estimates(of, totals)["rmse"]


def _positive(variance: np.ndarray) -> np.ndarray:
    return np.where(variance > _ROUNDING, variance, NAN)


def _components(total: np.ndarray, persons: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance components of the differences between and within people, as `variance_components`.

    With one pair a person the sample variance stands for their sum, and `within` is 0.
    """
    several = n > persons
    within = np.where(several, total[13] / np.where(several, n - persons, 1), 0.0)
    mean_square = (total[15] - total[7] ** 2 / n) / (persons - 1)
    typical = np.where(several, (n - total[14] / n) / (persons - 1), 1.0)
    between = np.maximum(0, (mean_square - within) / typical)
    known = persons > 1
    return np.where(known, between, NAN), np.where(known, within, NAN)


def numbered(people: Sequence[str]) -> np.ndarray:
    """Return the number of each person (n,), from 0 without a gap."""
    return np.unique(np.asarray(people, str), return_inverse=True)[1]


def reasons_of_estimates(estimates: Mapping[str, float], people: int, pairs: int) -> dict[str, str]:
    """Return why numbers of ESTIMATES, or their intervals (`_ci`), are empty; `pairs` of `people` gave them."""
    few = "one person" if people == 1 else "nobody has both values"
    why = dict.fromkeys(ESTIMATES, few if people < 2 else "values are all the same")
    if people >= 2 and pairs == people:
        alone = dict.fromkeys(
            ("within_person_r", "sd_between_people", "sd_within_people"), "one value a person"
        )
        why |= alone
    for name in ESTIMATES:
        no_interval = (
            f"fewer than {FEWEST_FOR_BOOTSTRAP} people"
            if people < FEWEST_FOR_BOOTSTRAP
            else "the same in all samples, or not defined in some"
        )
        known = np.isfinite(estimates.get(name, NAN))
        why[f"{name}_ci"] = no_interval if known else why[name]
    return why
