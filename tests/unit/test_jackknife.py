"""Jackknife against Student's t, scipy, statsmodels and leaving out by hand; coverage."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from lib.stats.jackknife import (
    SCALES,
    jackknife_interval,
    limit_intervals,
    mean_interval,
    means_without,
    median_interval,
    sds_without,
    standard_error,
)
from lib.stats.limits_of_agreement import sd_of_differences

Z = float(stats.norm.ppf(0.975))


@pytest.fixture
def values():
    return np.random.default_rng(4).gamma(2, 1, 12)


def test_of_a_mean_it_is_students_t(values):
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, np.arange(12), 0.9) == pytest.approx(tuple(expected))
    far = mean_interval(values + 1e9, np.arange(12), 0.9)
    assert np.subtract(far, 1e9) == pytest.approx(tuple(expected), rel=1e-5)


def test_of_groups_of_one_size_it_is_the_cluster_robust_interval_of_statsmodels(values):
    groups = np.arange(12) % 4
    fit = sm.OLS(values, np.ones(12)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    assert mean_interval(values, groups, 0.95) == pytest.approx(tuple(fit.conf_int(0.05)[0]))
    named = np.array(["d", "a", "c", "b"])[groups]
    assert mean_interval(values, named, 0.95) == pytest.approx(mean_interval(values, groups, 0.95))


def test_means_without_a_group_by_hand(values):
    groups = np.array([0, 1, 1, 2, 2, 2, 0, 0, 1, 2, 2, 2])
    expected = [values[groups != group].mean() for group in range(3)]
    assert means_without(values, groups) == pytest.approx(expected)


def test_gaps_and_single_groups(values):
    with_gaps = np.append(values, math.nan)
    expected = mean_interval(values, np.arange(12), 0.95)
    assert mean_interval(with_gaps, np.arange(13), 0.95) == pytest.approx(expected)
    for some, groups in ((values, np.zeros(12)), (values[:1], [0]), (values[:0], []), ([math.nan], [0])):
        assert all(math.isnan(end) for end in mean_interval(np.array(some), groups, 0.95))


def test_scales_keep_an_interval_where_the_value_can_lie(values):
    shares = 1 - values / 40
    low, high = mean_interval(shares, np.arange(12), 0.95, "complement")
    assert low < shares.mean() < high < 1
    assert mean_interval(values, np.arange(12), 0.999, "log")[0] > 0
    for there, back in SCALES.values():
        assert back(there(np.array([0.3, 0.9]))) == pytest.approx([0.3, 0.9])
    # values that are all 1, or all 0, are outside the scale
    assert all(math.isnan(end) for end in mean_interval(np.ones(9), np.arange(9), 0.95, "complement"))
    assert all(math.isnan(end) for end in jackknife_interval(0.5, np.array([0.4, 0.5, 1.0]), 0.95, "z"))
    # an infinite upper end is not given
    left = np.array([[0.2, 1, 1], [0.9, 1, 1]])
    wide, narrow = (jackknife_interval(1.0, some, 0.95, "inverse root") for some in left)
    assert math.isnan(wide[0]) and math.isnan(wide[1]) and narrow[0] < 1 < narrow[1]
    # with two groups Student's t is 12.7: on a log scale the interval is useless
    two = [jackknife_interval(3.0, np.array([2.0, 4.0]), 0.95, scale) for scale in ("log", "plain")]
    assert math.isnan(two[0][0]) and two[1] == pytest.approx((3 - 12.7062, 3 + 12.7062), rel=1e-5)


def test_the_delta_method_gives_the_same_error_of_many_people():
    sample = np.random.default_rng(5).gamma(2, 1, 4000)
    left = np.log(means_without(sample, np.arange(4000)))
    assert standard_error(left) == pytest.approx(sample.std() / sample.mean() / math.sqrt(4000), rel=1e-3)


@pytest.mark.parametrize("scans", [1, 2, 3])
def test_the_sd_without_a_group_is_that_of_the_others(scans):
    people = np.repeat(np.arange(15), scans)
    people[-scans:] = 13  # the 14th person has twice as many scans as the others
    values = np.random.default_rng(6).normal(1e5, 1, len(people)) + people / 7
    groups = people % 5
    rest = [np.flatnonzero(groups != group) for group in range(5)]
    expected = [
        sd_of_differences(values[some], np.unique(people[some], return_inverse=True)[1]) for some in rest
    ]
    assert sds_without(values, people, groups) == pytest.approx(expected)


def test_limits_of_people_with_one_scan_come_near_the_exact_ones():
    values = np.random.default_rng(7).normal(300, 1000, 3000)
    sd = values.std(ddof=1)
    low, high = np.arange(3000), np.arange(3000)
    mean, lower, upper = limit_intervals(values, low, high, (sd, Z), 0.95)
    assert mean == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)))
    half = Z * sd * math.sqrt(1 / 3000 + Z**2 / (2 * 2999))
    for interval, limit in ((lower, values.mean() - Z * sd), (upper, values.mean() + Z * sd)):
        assert interval == pytest.approx((limit - half, limit + half), abs=0.08 * half)


def test_limits_with_folds_hold_those_of_models_trained_this_way():
    # models with an SD of 0.7 beside people with one of 1: the limit is 1.96 times the root of 1.49
    generator, folds = np.random.default_rng(8), np.arange(30) % 5
    held = []
    for _ in range(600):
        values = generator.normal(0, 1, 30) + generator.normal(0, 0.7, 5)[folds]
        spread = (values.std(ddof=1), Z)
        _, lower, upper = limit_intervals(values, np.arange(30), folds, spread, 0.95)
        limit = Z * math.sqrt(1.49)
        held += [lower[0] <= -limit <= lower[1], upper[0] <= limit <= upper[1]]
    assert 0.92 <= np.mean(held) <= 0.98


def test_no_spread_has_no_limits():
    same = np.full(6, 3.0)
    found = limit_intervals(same, np.arange(6), np.arange(6), (0.0, Z), 0.95)
    assert np.isnan(np.array(found)).all()


def test_the_interval_of_a_median_lies_between_two_values():
    # of ten values the second and the ninth: the binomial gives 97.9 % (any table)
    values = np.arange(10.0, 20)
    assert median_interval(np.append(values, math.nan), 0.95) == (11, 18)
    assert all(math.isnan(end) for end in median_interval(values[:5], 0.95))
    assert median_interval(values[:6], 0.95) == (10, 15)
