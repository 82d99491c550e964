"""Agreement statistics against hand-computed values, statsmodels, pingouin and the paper's own table."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from lib.errors import ConfigError
from lib.stats.agreement import (
    AgreementConfig,
    bootstrap_intervals,
    compare_paired,
    fit_line,
    limit_interval,
    r_squared,
    sd_of_differences,
    summarize_agreement,
)
from lib.stats.concordance import concordance

CONFIG = AgreementConfig(bootstrap=400, seed=7)


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
    assert result.reference_mean_mm3 == 300
    assert result.reference_sd_mm3 == pytest.approx(math.sqrt(20_000))  # ddof 0
    assert result.mae_mm3 == pytest.approx(12)
    assert result.rmse_mm3 == pytest.approx(math.sqrt(160))
    assert result.r2 == pytest.approx(1 - 800 / 100_000)
    assert result.bias_mm3 == pytest.approx(4)
    assert (result.re_min_percent, result.re_max_percent) == pytest.approx((-5.0, 10.0))
    sd = math.sqrt((36 + 196 + 36 + 196 + 256) / 4)  # ddof 1
    assert result.loa_high_mm3 == pytest.approx(4 + 1.959963984540054 * sd)
    assert result.loa_low_mm3 == pytest.approx(4 - 1.959963984540054 * sd)
    assert result.slope == pytest.approx(1.02)
    assert result.intercept_mm3 == pytest.approx(-2)


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
    assert result.intercept_mm3 == pytest.approx(line["coef"][0])
    assert (result.slope_ci_low, result.slope_ci_high) == pytest.approx(tuple(line.iloc[1, -2:]), rel=1e-6)
    bias = stats.ttest_rel(predicted, reference).confidence_interval(0.95)
    assert (result.bias_mm3_ci_low, result.bias_mm3_ci_high) == pytest.approx((bias.low, bias.high))


# Bland & Altman, Lancet 1986;1:307: first measurement of peak flow (l/min) by two meters
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI_WRIGHT = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_peak_flow_as_bland_and_altman_published_it():
    result = summarize_agreement(MINI_WRIGHT, WRIGHT, people(17), CONFIG)
    assert round(result.bias_mm3, 1) == -2.1
    assert round(result.difference_sd_mm3, 1) == 38.8
    assert round(result.pearson_r, 2) == 0.94
    # -22.0 to 17.8 is printed, from a rounded SD and t
    assert (result.bias_mm3_ci_low, result.bias_mm3_ci_high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # the paper takes 2 SD: -79.7 and 75.5
    limits = np.array([-79.7, 75.5]) + 2.1
    assert (np.array([result.loa_low_mm3, result.loa_high_mm3]) + 2.1) * 2 / 1.96 == pytest.approx(
        limits, abs=0.15
    )


def test_the_exact_interval_of_a_limit_is_wider_outside_than_inside():
    # the approximate interval of Bland & Altman is symmetrical about the limit
    result = summarize_agreement(MINI_WRIGHT, WRIGHT, people(17), CONFIG)
    difference = np.subtract(WRIGHT, MINI_WRIGHT)
    expected = difference.mean() + 1.959964 * difference.std(ddof=1) * np.array([-1, 1])
    assert (result.loa_low_mm3, result.loa_high_mm3) == pytest.approx(tuple(expected))
    half = stats.t.ppf(0.975, 16) * math.sqrt(3) * result.difference_sd_mm3 / math.sqrt(17)
    assert result.loa_high_mm3_ci_high - result.loa_high_mm3 > half
    assert result.loa_high_mm3 - result.loa_high_mm3_ci_low < half


def test_an_interval_of_limits_is_a_tolerance_factor():
    # by definition, with chance 0.95 the upper end lies above the 97.5 % quantile; mean and SD are independent
    n, generator = 17, np.random.default_rng(6)
    mean = generator.normal(0, 1 / math.sqrt(n), 400_000)
    sd = np.sqrt(generator.chisquare(n - 1, 400_000) / (n - 1))
    factors = (stats.norm.ppf(0.975) - mean) / sd
    assert limit_interval(1.0, n, 0.9) == pytest.approx(np.percentile(factors, [5, 95]), rel=0.003)


def test_icc_stands_beside_the_concordance():
    reference, predicted = volumes(40)
    result = summarize_agreement(reference, predicted, people(40), CONFIG)
    # both measure absolute agreement: they differ by the order of 1 / n
    assert result.icc == pytest.approx(result.ccc, abs=1e-3)
    assert result.icc_ci_low < result.icc < result.icc_ci_high <= 1
    repeated = summarize_agreement(reference, predicted, people(20) * 2, CONFIG)
    assert repeated.icc == pytest.approx(result.icc)
    assert math.isnan(repeated.icc_ci_low)


def test_exact_limits_cover_at_their_level():
    # 20,000 studies of 8 people: the interval holds the true limit 1.96 in 95 % of them
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
    assert result.loa_high_mm3_ci_low - result.bias_mm3 == pytest.approx(
        result.bias_mm3 - result.loa_low_mm3_ci_high
    )
    assert result.loa_low_mm3_ci_low < result.loa_low_mm3 < result.loa_low_mm3_ci_high < result.bias_mm3


def test_bootstrap_needs_twenty_people_and_is_repeatable():
    few = summarize_agreement(*volumes(19), people(19), CONFIG)
    assert math.isnan(few.r2_ci_low)
    assert math.isnan(few.mae_mm3_ci_high)
    assert not math.isnan(few.loa_high_mm3_ci_low)
    enough = summarize_agreement(*volumes(20), people(20), CONFIG)
    assert enough.r2_ci_low < enough.r2 < enough.r2_ci_high <= 1
    assert enough == summarize_agreement(*volumes(20), people(20), CONFIG)
    other = summarize_agreement(*volumes(20), people(20), AgreementConfig(bootstrap=400, seed=8))
    assert other.r2_ci_low != enough.r2_ci_low


def test_bootstrap_of_a_mean_approaches_its_standard_error():
    reference, predicted = volumes(400)
    config = AgreementConfig(bootstrap=4000, seed=1)
    low, high = bootstrap_intervals(reference, predicted, np.arange(400), config)["bias_mm3"]
    error = (predicted - reference).std(ddof=1) / 20
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_weighted_resampling_equals_resampling_by_index():
    reference, predicted = volumes(25)
    config = AgreementConfig(bootstrap=1, confidence=0.5, seed=5)
    intervals = bootstrap_intervals(reference, predicted, np.arange(25), config)
    times = np.random.default_rng(5).multinomial(25, np.full(25, 1 / 25), size=1)[0]
    x, y = np.repeat(reference, times), np.repeat(predicted, times)
    assert intervals["r2"][0] == pytest.approx(r_squared(x, y))
    assert intervals["ccc"][0] == pytest.approx(concordance(x, y))
    assert intervals["mae_mm3"][0] == pytest.approx(np.abs(y - x).mean())
    assert intervals["rmse_mm3"][0] == pytest.approx(math.sqrt(np.mean((y - x) ** 2)))
    assert intervals["bias_mm3"][0] == pytest.approx(np.mean(y - x))
    assert intervals["pearson_r"][0] == pytest.approx(np.corrcoef(x, y)[0, 1])
    line, trend = fit_line(x, y, 0.5), fit_line((x + y) / 2, y - x, 0.5)
    assert intervals["slope"][0] == pytest.approx(line.slope)
    assert intervals["intercept_mm3"][0] == pytest.approx(line.intercept)
    assert intervals["proportional_bias"][0] == pytest.approx(trend.slope)


@pytest.mark.parametrize("scans", [1, 2, 3])
def test_limits_of_a_resample_use_the_variance_components_of_the_people_drawn(scans):
    reference, predicted = volumes(25 * scans)
    subjects = np.repeat(np.arange(25), scans)
    subjects[-scans:] = 23  # the 24th person has twice as many scans as the others
    intervals = bootstrap_intervals(
        reference, predicted, subjects, AgreementConfig(bootstrap=1, confidence=0.5, seed=5)
    )
    times = np.random.default_rng(5).multinomial(24, np.full(24, 1 / 24), size=1)[0]
    drawn = [np.flatnonzero(subjects == person) for person in np.repeat(np.arange(24), times)]
    difference = (predicted - reference)[np.concatenate(drawn)]
    sd = sd_of_differences(difference, np.repeat(np.arange(24), [len(rows) for rows in drawn]))
    assert intervals["loa_low_mm3"][0] == pytest.approx(difference.mean() - 1.959964 * sd)
    assert intervals["loa_high_mm3"][1] == pytest.approx(difference.mean() + 1.959964 * sd)


def test_scans_of_a_person_are_resampled_together():
    # each person's two scans err alike: by scans the interval would be 1.41 times too narrow
    reference, predicted = volumes(60)
    twice = [np.repeat(values, 2) for values in (reference, predicted)]
    once = summarize_agreement(reference, predicted, people(60), CONFIG)
    both = summarize_agreement(*twice, np.repeat(people(60), 2), CONFIG)
    assert (both.n, both.scans) == (60, 120)
    assert both.mae_mm3_ci_low == pytest.approx(once.mae_mm3_ci_low)
    assert both.mae_mm3_ci_high == pytest.approx(once.mae_mm3_ci_high)


def test_repeated_scans_get_no_interval_that_assumes_independence():
    reference, predicted = volumes(30)
    result = summarize_agreement(reference, predicted, people(15) * 2, CONFIG)
    for name in ("slope_ci_low", "loa_high_mm3_ci_low", "proportional_bias_ci_low", "pearson_p_value"):
        assert math.isnan(getattr(result, name))
    assert math.isfinite(result.loa_high_mm3)


def test_a_second_scan_of_one_person_costs_no_interval_but_that_of_the_icc():
    reference, predicted = volumes(200)
    config = AgreementConfig(bootstrap=4000, seed=2)
    once = asdict(summarize_agreement(reference, predicted, people(200), config))
    again = asdict(summarize_agreement(reference, predicted, [*people(199), "p0"], config))
    assert (again["n"], again["scans"]) == (199, 200)
    missing = {name for name, value in again.items() if math.isnan(value)}
    assert missing == {"pearson_p_value", "icc_ci_low", "icc_ci_high"}
    for name in ("bias_mm3", "loa_low_mm3", "loa_high_mm3", "slope", "intercept_mm3", "proportional_bias"):
        widths = [found[f"{name}_ci_high"] - found[f"{name}_ci_low"] for found in (once, again)]
        # from the bootstrap and from theory: nearly, but not quite the same
        assert widths[1] == pytest.approx(widths[0], rel=0.2)
        assert widths[1] != widths[0]
        assert again[f"{name}_ci_low"] < again[name] < again[f"{name}_ci_high"]


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
    assert all(math.isnan(value) for value in empty.values())
    one = summarize_agreement([100.0], [103.0], ["a"], CONFIG)
    assert (one.n, one.mae_mm3, one.bias_mm3, one.re_max_percent) == (1, 3, 3, 3)
    for name in ("reference_sd_mm3", "r2", "pearson_r", "slope", "loa_low_mm3", "ccc", "bias_mm3_ci_low"):
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
    for name in ("r2", "pearson_r", "slope", "ccc"):
        assert math.isnan(getattr(result, name))
    assert result.mae_mm3 == 1


def test_what_is_undefined_has_no_interval_either():
    for subjects in (people(24), people(23) + ["p0"]):
        result = asdict(summarize_agreement([100.0] * 24, np.arange(88.0, 112), subjects, CONFIG))
        for name in ("r2", "pearson_r", "slope", "intercept_mm3", "ccc"):
            assert all(math.isnan(result[f"{name}{end}"]) for end in ("", "_ci_low", "_ci_high"))
        assert result["mae_mm3_ci_low"] < result["mae_mm3"] < result["mae_mm3_ci_high"]


def test_unknown_volumes_are_left_out():
    result = summarize_agreement([100.0, math.nan, 300.0], [101.0, 5.0, math.nan], people(3), CONFIG)
    assert (result.n, result.mae_mm3) == (1, 1)


def test_an_empty_reference_has_no_relative_error():
    result = summarize_agreement([0.0, 100.0], [5.0, 103.0], people(2), CONFIG)
    assert (result.re_min_percent, result.re_max_percent, result.mae_mm3) == (3, 3, 4)


def test_what_many_resamples_leave_undefined_has_no_interval():
    # one resample of three people in nine holds one person alone, whose reference does not vary
    config = AgreementConfig(min_people=3, bootstrap=200)
    result = summarize_agreement([1.0, 2.0, 4.0], [1.5, 2.0, 4.5], people(3), config)
    assert math.isnan(result.r2_ci_low) and math.isnan(result.r2_ci_high)
    assert result.mae_mm3_ci_low < result.mae_mm3 < result.mae_mm3_ci_high


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
    for count in (19, 20):
        enough = compare_paired(first[:count], second[:count], CONFIG)
        assert math.isfinite(enough.difference_mm3_ci_low) == (count >= CONFIG.min_people)
    # of 2^6 signs of six differences two are this extreme
    assert compare_paired(range(1, 7), [0.0] * 6, CONFIG).wilcoxon_p_value == pytest.approx(2 / 64)
    assert math.isfinite(compare_paired(range(0, 7), [0.0] * 7, CONFIG).wilcoxon_p_value)
    assert math.isnan(compare_paired(range(1, 6), [0.0] * 5, CONFIG).wilcoxon_p_value)
    assert math.isnan(compare_paired([5.0] * 6, [5.0] * 6, CONFIG).wilcoxon_p_value)
    few = compare_paired([1.0], [2.0], CONFIG)
    assert few.difference_mm3 == -1
    assert math.isnan(few.difference_mm3_ci_low)
    assert math.isnan(few.wilcoxon_p_value)


@pytest.mark.parametrize(
    ("setting", "value"), [("confidence", 1.0), ("confidence", 0.2), ("bootstrap", 0), ("min_people", 1)]
)
def test_bad_settings_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=f"report.{setting}"):
        AgreementConfig(**{setting: value})


def test_lengths_must_match():
    with pytest.raises(ValueError, match="lengths differ"):
        summarize_agreement([1.0, 2.0], [1.0], ["a", "b"], CONFIG)
