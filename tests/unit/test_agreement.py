"""Agreement statistics against hand-computed values, statsmodels, pingouin and the paper's own table."""

import math
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from lib.errors import ConfigError
from lib.report_settings import AgreementConfig
from lib.stats.agreement import AGREEMENT_COLUMNS, FOLD_INTERVALS, agreement_row, summarize_agreement
from lib.stats.concordance import concordance, intraclass_correlation
from lib.stats.estimates import estimates_without, r_squared
from lib.stats.formats import undefined_reasons
from lib.stats.limits_of_agreement import limit_interval, sd_of_differences
from lib.stats.lines import fit_line, growing_spread
from lib.stats.paired import compare_paired

CONFIG = AgreementConfig()


def people(n):
    return [f"p{index}" for index in range(n)]


def volumes(n, seed=1, sd=900.0):
    generator = np.random.default_rng(seed)
    reference = generator.normal(90_000, 20_000, n)
    return reference, reference * 1.004 + generator.normal(300, sd, n)


def test_five_people_by_hand():
    reference, predicted = [100.0, 200.0, 300.0, 400.0, 500.0], [110.0, 190.0, 310.0, 390.0, 520.0]
    result = summarize_agreement(reference, predicted, people(5), CONFIG)
    assert (result.n, result.scans) == (5, 5)
    assert result.reference_mean == 300
    assert result.reference_sd == pytest.approx(math.sqrt(20_000))  # ddof 0
    assert result.mae == pytest.approx(12)
    assert result.rmse == pytest.approx(math.sqrt(160))
    assert result.r2 == pytest.approx(1 - 800 / 100_000)
    assert result.bias == pytest.approx(4)
    assert (result.re_min_percent, result.re_max_percent) == pytest.approx((-5.0, 10.0))
    sd = math.sqrt((36 + 196 + 36 + 196 + 256) / 4)  # ddof 1
    assert result.loa_high == pytest.approx(4 + 1.959963984540054 * sd)
    assert result.loa_low == pytest.approx(4 - 1.959963984540054 * sd)
    assert result.slope == pytest.approx(1.02)
    assert result.intercept == pytest.approx(-2)


@pytest.mark.parametrize(
    ("sex", "rmse", "sd", "published"),
    [("male", 883.48, 18343.68, 0.9977), ("female", 1361.10, 13340.79, 0.9896)],
)
def test_the_papers_r2_follows_from_its_rmse_and_population_sd(sex, rmse, sd, published):
    reference = 90_000 + sd * np.array([-1.0, 1.0])
    assert reference.std() == pytest.approx(sd)
    predicted = reference + rmse
    assert round(r_squared(reference, predicted), 4) == published == round(1 - (rmse / sd) ** 2, 4)


def test_r2_is_not_the_square_of_r():
    reference = np.arange(1.0, 11.0)
    result = summarize_agreement(reference, 2 * reference, people(10), CONFIG)
    assert result.pearson_r == pytest.approx(1)
    assert result.r2 < 0


def test_pearson_regression_and_bias_agree_with_pingouin():
    reference, predicted = volumes(40)
    result = summarize_agreement(reference, predicted, people(40), CONFIG)
    correlation = pingouin.corr(reference, predicted).iloc[0]
    assert result.pearson_r == pytest.approx(correlation["r"])
    p_column = next(
        name for name in correlation.index if name.lower().replace("-", "_") in ("p_val", "p_value")
    )
    assert result.pearson_p_value == pytest.approx(correlation[p_column], rel=1e-6)
    line = pingouin.linear_regression(pd.Series(reference, name="reference"), predicted)
    assert result.slope == pytest.approx(line["coef"][1])
    assert result.intercept == pytest.approx(line["coef"][0])
    assert (result.slope_ci_low, result.slope_ci_high) == pytest.approx(tuple(line.iloc[1, -2:]), rel=1e-6)
    bias = stats.ttest_rel(predicted, reference).confidence_interval(0.95)
    assert (result.bias_ci_low, result.bias_ci_high) == pytest.approx((bias.low, bias.high))


# Bland & Altman, Lancet 1986;1:307: first measurement of peak flow (l/min) by two meters
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI_WRIGHT = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_peak_flow_as_bland_and_altman_published_it():
    result = summarize_agreement(MINI_WRIGHT, WRIGHT, people(17), CONFIG)
    assert round(result.bias, 1) == -2.1
    assert round(result.difference_sd, 1) == 38.8
    assert round(result.pearson_r, 2) == 0.94
    # the paper prints -22.0 to 17.8, from a rounded SD and t
    assert (result.bias_ci_low, result.bias_ci_high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # the paper uses 2 SD: -79.7 and 75.5
    limits = np.array([-79.7, 75.5]) + 2.1
    assert (np.array([result.loa_low, result.loa_high]) + 2.1) * 2 / 1.96 == pytest.approx(limits, abs=0.15)


def test_the_exact_interval_of_a_limit_is_wider_outside_than_inside():
    # the approximate interval of Bland & Altman is symmetrical about the limit
    result = summarize_agreement(MINI_WRIGHT, WRIGHT, people(17), CONFIG)
    difference = np.subtract(WRIGHT, MINI_WRIGHT)
    expected = difference.mean() + 1.959964 * difference.std(ddof=1) * np.array([-1, 1])
    assert (result.loa_low, result.loa_high) == pytest.approx(tuple(expected))
    half = stats.t.ppf(0.975, 16) * math.sqrt(3) * result.difference_sd / math.sqrt(17)
    assert result.loa_high_ci_high - result.loa_high > half
    assert result.loa_high - result.loa_high_ci_low < half


def test_an_interval_of_limits_is_a_tolerance_factor():
    # by definition, with chance 0.95 the upper end lies above the 97.5 % quantile; mean and SD are independent
    n, generator = 17, np.random.default_rng(6)
    mean = generator.normal(0, 1 / math.sqrt(n), 400_000)
    sd = np.sqrt(generator.chisquare(n - 1, 400_000) / (n - 1))
    factors = (stats.norm.ppf(0.975) - mean) / sd
    assert limit_interval(1.0, n, 0.9) == pytest.approx(np.percentile(factors, [5, 95]), rel=0.003)


def test_icc_is_close_to_the_concordance():
    reference, predicted = volumes(40)
    result = summarize_agreement(reference, predicted, people(40), CONFIG)
    # both measure absolute agreement: they differ by the order of 1 / n
    assert result.icc == pytest.approx(result.ccc, abs=1e-3)
    assert result.icc_ci_low < result.icc < result.icc_ci_high <= 1
    repeated = summarize_agreement(reference, predicted, people(20) * 2, CONFIG)
    assert repeated.icc == pytest.approx(result.icc)
    assert math.isnan(repeated.icc_ci_low)
    assert undefined_reasons(repeated.undefined)["icc_ci"] == "several scans of a person"


def test_exact_limits_cover_at_their_level():
    # 20,000 studies of 8 people: the interval contains the true limit 1.96 in 95 % of them
    differences = np.random.default_rng(3).normal(0, 1, (20_000, 8))
    low, high = limit_interval(1.0, 8, 0.95)
    mean, sd = differences.mean(axis=1), differences.std(axis=1, ddof=1)
    holds = (mean + low * sd <= 1.959964) & (mean + high * sd >= 1.959964)
    assert holds.mean() == pytest.approx(0.95, abs=0.005)
    assert np.mean(mean + low * sd > 1.959964) == pytest.approx(0.025, abs=0.004)


def test_exact_limits_approach_the_large_sample_formula():
    low, high = limit_interval(2.0, 5000, 0.95)
    z = stats.norm.ppf(0.975)
    half = z * 2.0 * math.sqrt(1 / 5000 + z**2 / (2 * 4999))
    assert (low, high) == pytest.approx((2 * z - half, 2 * z + half), rel=2e-3)


def test_limits_lie_symmetrically_about_the_bias():
    result = summarize_agreement(*volumes(12), people(12), CONFIG)
    assert result.loa_high_ci_low - result.bias == pytest.approx(result.bias - result.loa_low_ci_high)
    assert result.loa_low_ci_low < result.loa_low < result.loa_low_ci_high < result.bias


def lin_interval(x, y, confidence=0.95):
    """Lin's interval of the CCC (Biometrics 1989;45:255, with the correction of 2000;56:324)."""
    n, ccc, r = len(x), concordance(x, y), np.corrcoef(x, y)[0, 1]
    shift = (x.mean() - y.mean()) ** 2 / (x.std() * y.std())
    variance = (1 - r**2) * ccc**2 / ((1 - ccc**2) * r**2)
    variance += 2 * ccc**3 * (1 - ccc) * shift / (r * (1 - ccc**2) ** 2)
    variance -= ccc**4 * shift**2 / (2 * r**2 * (1 - ccc**2) ** 2)
    half = stats.norm.ppf(0.5 + confidence / 2) * math.sqrt(variance / (n - 2))
    return tuple(np.tanh(np.arctanh(ccc) + np.array([-half, half])))


def test_the_interval_of_the_concordance_approaches_that_of_lin():
    reference, predicted = volumes(4000)
    result = summarize_agreement(reference, predicted, people(4000), CONFIG)
    low, high = lin_interval(reference, predicted)
    assert result.ccc_ci_low == pytest.approx(low, abs=0.05 * (high - low))
    assert result.ccc_ci_high == pytest.approx(high, abs=0.05 * (high - low))


def test_the_peak_flow_has_a_concordance_with_its_interval():
    # 0.943, 0.848 to 0.979 by Lin's formula; with seventeen people the jackknife agrees with it
    result = summarize_agreement(MINI_WRIGHT, WRIGHT, people(17), CONFIG)
    low, high = lin_interval(*(np.array(meter, float) for meter in (MINI_WRIGHT, WRIGHT)))
    assert round(result.ccc, 3) == 0.943
    assert (low, high) == pytest.approx((0.848, 0.979), abs=0.003)
    assert (result.ccc_ci_low, result.ccc_ci_high) == pytest.approx((low, high), abs=0.06)


def test_r_has_about_fishers_interval_and_r2_that_of_f():
    reference, predicted = volumes(4000)
    result = summarize_agreement(reference, predicted, people(4000), CONFIG)
    fisher = stats.pearsonr(reference, predicted).confidence_interval(0.95)
    width = fisher.high - fisher.low
    assert (result.pearson_r_ci_low, result.pearson_r_ci_high) == pytest.approx(
        tuple(fisher), abs=0.05 * width
    )
    # (1 - R2) times the ratio of the true variances has an F distribution if errors are normal, of mean 0 and
    # independent of the volume
    reference, predicted = reference, reference + np.random.default_rng(2).normal(0, 900, 4000)
    result = summarize_agreement(reference, predicted, people(4000), CONFIG)
    low, high = 1 - (1 - result.r2) / stats.f.ppf([0.025, 0.975], 4000, 3999)
    assert (result.r2_ci_low, result.r2_ci_high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_few_people_have_intervals_of_all_that_is_defined():
    few = summarize_agreement(*volumes(10), people(10), CONFIG)
    for name in ("ccc", "r2", "mae", "rmse", "pearson_r", "mape_percent", "re_mean_percent"):
        low, high = (getattr(few, f"{name}_ci_{end}") for end in ("low", "high"))
        assert low < getattr(few, name) < high
    assert few.undefined == ""
    assert few.mae_ci_low > 0 and few.ccc_ci_high < 1 and few.r2_ci_high < 1


def test_agreement_in_percent_is_that_of_relative_errors():
    reference, predicted = volumes(30)
    result = summarize_agreement(reference, predicted, people(30), CONFIG)
    relative = 100 * (predicted / reference - 1)
    of_relative = summarize_agreement(np.full(30, 100.0), 100 + relative, people(30), CONFIG)
    for name, same in (
        ("re_mean_percent", "bias"),
        ("loa_low_percent", "loa_low"),
        ("loa_high_percent", "loa_high"),
    ):
        for end in ("", "_ci_low", "_ci_high"):
            assert getattr(result, name + end) == pytest.approx(getattr(of_relative, f"{same}{end}"))
    assert result.re_sd_percent == pytest.approx(np.std(relative, ddof=1))
    assert result.mape_percent == pytest.approx(np.abs(relative).mean())
    # pingouin's limits of agreement are bias -/+ 1.96 SD with the divisor n
    expected = stats.ttest_1samp(relative, 0).confidence_interval(0.95)
    assert (result.re_mean_percent_ci_low, result.re_mean_percent_ci_high) == pytest.approx(tuple(expected))


def test_a_spread_that_grows_with_volume_is_seen():
    generator = np.random.default_rng(3)
    reference = generator.uniform(50_000, 130_000, 60)
    noise = generator.normal(0, 1, 60)
    even = growing_spread(reference, reference + 1500 * noise)
    growing = growing_spread(reference, reference * (1 + 2e-7 * (reference - 40_000) * noise))
    assert growing < 0.01 < 0.05 < even
    # by hand: F of the squared residuals on the means
    predicted = reference + 1500 * noise
    mean, difference = (reference + predicted) / 2, predicted - reference
    residuals = difference - np.polyval(np.polyfit(mean, difference, 1), mean)
    assert even == pytest.approx(stats.linregress(mean, residuals**2).pvalue, rel=1e-6)
    assert math.isnan(growing_spread(reference[:9], predicted[:9]))
    assert math.isnan(growing_spread(reference, reference + 3))


def test_which_limits_fit_every_size_is_said():
    generator = np.random.default_rng(3)
    reference, noise = generator.uniform(20_000, 150_000, 200), generator.normal(0, 1, 200)
    spreads = {
        "mm3": 1500 * noise,
        "percent": 0.02 * reference * noise,
        "neither": 1500 * (140_000 / reference) ** 2 * noise,  # smaller bones are worse
    }
    for expected, error in spreads.items():
        assert (
            summarize_agreement(reference, reference + error, people(200), CONFIG).limits_to_use == expected
        )
    few = summarize_agreement(reference[:9], reference[:9] * 1.01, people(9), CONFIG)
    assert few.limits_to_use == ""


def direct(x, y):
    """The estimates of some pairs, each computed separately."""
    line, trend = fit_line(x, y, 0.5), fit_line((x + y) / 2, y - x, 0.5)
    return {
        "r2": r_squared(x, y),
        "ccc": concordance(x, y),
        "mae": np.abs(y - x).mean(),
        "rmse": math.sqrt(np.mean((y - x) ** 2)),
        "mape_percent": 100 * np.abs(y / x - 1).mean(),
        "pearson_r": np.corrcoef(x, y)[0, 1],
        "slope": line.slope,
        "intercept": line.intercept,
        "proportional_bias": trend.slope,
    }


def test_estimates_without_a_group_are_those_of_the_others():
    reference, predicted = volumes(23)
    groups = np.arange(23) % 4
    left = estimates_without(reference, predicted, groups)
    for group in range(4):
        expected = direct(reference[groups != group], predicted[groups != group])
        assert {name: values[group] for name, values in left.items()} == pytest.approx(expected)


def test_intervals_with_the_folds_are_wider_where_folds_differ():
    reference, predicted = volumes(40)
    folds = np.arange(40) % 5
    row = agreement_row(reference, predicted, people(40), CONFIG, folds)
    again = agreement_row(reference, predicted + 2000 * (folds - 2), people(40), CONFIG, folds)
    assert tuple(row) == AGREEMENT_COLUMNS and row["folds"] == 5 and row["undefined"] == ""
    wide, narrow = (again[f"bias{kind}_ci_high"] - again[f"bias{kind}_ci_low"] for kind in ("_fold", ""))
    assert wide > 2 * narrow
    # of folds of one size: Student's t of the means of the folds
    means = [(predicted - reference)[folds == fold].mean() for fold in range(5)]
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (row["bias_fold_ci_low"], row["bias_fold_ci_high"]) == pytest.approx(tuple(expected))
    for name in FOLD_INTERVALS:
        assert again[f"{name}_fold_ci_low"] < again[name] < again[f"{name}_fold_ci_high"]


def test_without_folds_the_reason_stands_beside_the_empty_interval():
    row = agreement_row(*volumes(12), people(12), CONFIG)
    assert row["folds"] == 0 and math.isnan(row["bias_fold_ci_low"])
    assert undefined_reasons(row["undefined"])["ccc_fold_ci"] == "no cross-validation"
    one = agreement_row(*volumes(12), people(12), CONFIG, [3] * 12)
    assert one["folds"] == 1 and undefined_reasons(one["undefined"])["ccc_fold_ci"] == "fewer than two folds"


def test_scans_of_a_person_are_resampled_together():
    # each person's two scans have the same error: an interval by scans would be 1.41 times too narrow
    reference, predicted = volumes(60)
    twice = [np.repeat(values, 2) for values in (reference, predicted)]
    once = summarize_agreement(reference, predicted, people(60), CONFIG)
    both = summarize_agreement(*twice, np.repeat(people(60), 2), CONFIG)
    assert (both.n, both.scans) == (60, 120)
    assert both.mae_ci_low == pytest.approx(once.mae_ci_low)
    assert both.mae_ci_high == pytest.approx(once.mae_ci_high)


def test_with_a_second_scan_of_a_person_p_values_and_the_icc_interval_are_undefined():
    reference, predicted = volumes(200)
    once = asdict(summarize_agreement(reference, predicted, people(200), CONFIG))
    again = asdict(summarize_agreement(reference, predicted, [*people(199), "p0"], CONFIG))
    assert (again["n"], again["scans"]) == (199, 200)
    assert set(undefined_reasons(again.pop("undefined")).values()) == {"several scans of a person"}
    assert (once.pop("limits_to_use"), again.pop("limits_to_use")) == ("mm3", "")
    missing = {name for name, value in again.items() if math.isnan(value)}
    assert missing == {"pearson_p_value", "growing_spread_p_value", "icc_ci_low", "icc_ci_high"}
    names = ("bias", "loa_low", "loa_high", "slope", "intercept", "proportional_bias")
    for name in (*names, "loa_low_percent"):
        widths = [found[f"{name}_ci_high"] - found[f"{name}_ci_low"] for found in (once, again)]
        # by the jackknife and by theory: nearly the same
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
        assert widths[1] != widths[0]
        assert again[f"{name}_ci_low"] < again[name] < again[f"{name}_ci_high"]


@pytest.mark.parametrize("numbers", [[1.0, 2.0, 0.5], [3.0], []])
def test_every_empty_number_has_a_reason(numbers):
    for reference, predicted in ((numbers, numbers[::-1]), ([5.0] * len(numbers), numbers)):
        for folds in (None, range(len(numbers))):
            row = agreement_row(reference, predicted, people(len(numbers)), CONFIG, folds)
            reasons = undefined_reasons(row.pop("undefined"))
            row.pop("limits_to_use", None)
            empty = {name for name, value in row.items() if math.isnan(value)}
            assert {re.sub("_ci_(low|high)$", "_ci", name) for name in empty} == set(reasons)


def test_variance_components_add_up():
    # between people 4, within 1, balanced: mean squares are 2 * 4 + 1 and 1 by construction
    means, spread = np.array([-2.0, 2.0]) * math.sqrt(9 / 16), math.sqrt(0.5)
    differences = np.array([means[0] - spread, means[0] + spread, means[1] - spread, means[1] + spread])
    between, within = 2 * means.var(ddof=1), 1.0
    expected = math.sqrt((between - within) / 2 + within)
    assert sd_of_differences(differences, np.array([0, 0, 1, 1])) == pytest.approx(expected)
    alone = np.array([1.0, 4.0, 7.0])
    assert sd_of_differences(alone, np.arange(3)) == pytest.approx(alone.std(ddof=1))


def test_nobody_and_one_person_give_no_statistics():
    empty = asdict(summarize_agreement([], [], [], CONFIG))
    assert (empty.pop("n"), empty.pop("scans")) == (0, 0)
    assert empty.pop("undefined").endswith(": nobody has both volumes")
    assert empty.pop("limits_to_use") == ""
    assert all(math.isnan(value) for value in empty.values())
    one = summarize_agreement([100.0], [103.0], ["a"], CONFIG)
    assert (one.n, one.mae, one.bias, one.re_max_percent) == (1, 3, 3, 3)
    for name in ("reference_sd", "r2", "pearson_r", "slope", "loa_low", "ccc", "bias_ci_low"):
        assert math.isnan(getattr(one, name))


def test_two_people_give_no_line_and_no_correlation():
    two = summarize_agreement([100.0, 200.0], [103.0, 199.0], people(2), CONFIG)
    assert two.r2 == pytest.approx(1 - 10 / 5000)
    three = summarize_agreement([100.0, 200.0, 300.0], [103.0, 199.0, 301.0], people(3), CONFIG)
    for name in ("pearson_r", "pearson_p_value", "slope", "proportional_bias"):
        assert math.isnan(getattr(two, name))
        assert math.isfinite(getattr(three, name))


def test_a_constant_reference_has_no_r2():
    result = summarize_agreement([100.0] * 4, [99.0, 100.0, 101.0, 102.0], people(4), CONFIG)
    for name in ("r2", "pearson_r", "slope", "ccc", "icc"):
        assert math.isnan(getattr(result, name))
        assert undefined_reasons(result.undefined)[name] == "the reference does not vary"
    assert result.mae == 1


def test_an_icc_beyond_its_range_is_not_defined():
    # mean squares of two targets and two raters: targets 0.02, raters 0, residual 50
    result = summarize_agreement([0.0, 10.0], [10.1, 0.1], people(2), CONFIG)
    assert math.isnan(result.icc) and undefined_reasons(result.undefined)["icc"].startswith(
        "people differ less"
    )
    assert intraclass_correlation(np.array([[0.0, 10.1], [10.0, 0.1]]), 0.95)[0] < -1


def test_what_is_undefined_has_no_interval_either():
    for subjects in (people(24), people(23) + ["p0"]):
        result = asdict(summarize_agreement([100.0] * 24, np.arange(88.0, 112), subjects, CONFIG))
        for name in ("r2", "pearson_r", "slope", "intercept", "ccc"):
            assert all(math.isnan(result[f"{name}{end}"]) for end in ("", "_ci_low", "_ci_high"))
        assert result["mae_ci_low"] < result["mae"] < result["mae_ci_high"]


def test_unknown_volumes_are_left_out():
    result = summarize_agreement([100.0, math.nan, 300.0], [101.0, 5.0, math.nan], people(3), CONFIG)
    assert (result.n, result.mae) == (1, 1)


def test_an_empty_reference_has_no_relative_error():
    result = summarize_agreement([0.0, 100.0], [5.0, 103.0], people(2), CONFIG)
    assert (result.re_min_percent, result.re_max_percent, result.mae) == (3, 3, 4)


def test_what_is_left_undefined_has_no_interval():
    # without the third person the reference does not vary
    result = summarize_agreement([1.0, 1.0, 4.0], [1.5, 2.0, 4.5], people(3), CONFIG)
    assert math.isnan(result.r2_ci_low) and math.isnan(result.r2_ci_high)
    assert undefined_reasons(result.undefined)["r2_ci"] == "too few people, or nothing varies"
    assert result.mae_ci_low < result.mae < result.mae_ci_high


def test_proportional_bias_is_the_trend_of_the_difference():
    reference = np.linspace(50_000, 120_000, 30)
    result = summarize_agreement(reference, 1.02 * reference, people(30), CONFIG)
    assert result.proportional_bias == pytest.approx(0.02 / 1.01)  # d = 0.02 x on the mean 1.01 x


def test_a_line_through_exact_points():
    line = fit_line(np.arange(5.0), 3 * np.arange(5.0) - 2, 0.95)
    assert (line.slope, line.intercept) == pytest.approx((3, -2))


def test_paired_comparison_uses_absolute_errors_of_the_same_people():
    first, second = np.tile([-3.0, 3.0], 15), np.tile([5.0, -5.0], 15)
    result = compare_paired(first, second, CONFIG)
    assert (result.n, result.first_mae_mm3, result.second_mae_mm3) == (30, 3, 5)
    assert result.difference_mm3 == result.difference_mm3_ci_low == result.difference_mm3_ci_high == -2
    assert result.wilcoxon_p_value < 0.001
    # of 2^6 signs of six differences two are this extreme
    assert compare_paired(range(1, 7), [0.0] * 6, CONFIG).wilcoxon_p_value == pytest.approx(2 / 64)
    assert math.isfinite(compare_paired(range(0, 7), [0.0] * 7, CONFIG).wilcoxon_p_value)
    assert math.isnan(compare_paired(range(1, 6), [0.0] * 5, CONFIG).wilcoxon_p_value)
    assert math.isnan(compare_paired([5.0] * 6, [5.0] * 6, CONFIG).wilcoxon_p_value)
    generator = np.random.default_rng(1)
    first, second, folds = *generator.normal(0, 1, (2, 8)), np.arange(8) % 4
    result = compare_paired(first, second, CONFIG, folds)
    expected = stats.ttest_rel(np.abs(first), np.abs(second)).confidence_interval(0.95)
    assert (result.difference_mm3_ci_low, result.difference_mm3_ci_high) == pytest.approx(tuple(expected))
    means = [np.mean((np.abs(first) - np.abs(second))[folds == fold]) for fold in range(4)]
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    found = result.difference_mm3_fold_ci_low, result.difference_mm3_fold_ci_high
    assert (result.folds, *found) == pytest.approx((4, *expected))
    few = compare_paired([1.0], [2.0], CONFIG)
    assert undefined_reasons(few.undefined) == {
        "difference_mm3_ci": "one person",
        "difference_mm3_fold_ci": "no cross-validation",
        "wilcoxon_p_value": "fewer than six people",
    }
    assert few.difference_mm3 == -1
    assert math.isnan(few.difference_mm3_ci_low)
    assert math.isnan(few.wilcoxon_p_value)


@pytest.mark.parametrize(("setting", "value"), [("confidence", 1.0), ("confidence", 0.2)])
def test_bad_settings_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=f"report.{setting}"):
        AgreementConfig(**{setting: value})


def test_lengths_must_match():
    with pytest.raises(ValueError, match="lengths differ"):
        summarize_agreement([1.0, 2.0], [1.0], ["a", "b"], CONFIG)
