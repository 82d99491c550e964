"""The signed-rank test and its estimate: against scipy, by hand, and in simulations in which the truth is known."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lib.stats.signed_rank import (
    EXACT,
    EXACT_PEOPLE,
    NORMAL,
    fewest_for_interval,
    holm,
    signed_rank,
    walsh_averages,
)


def against_zero(difference, confidence=0.95):
    return signed_rank(difference, np.zeros(len(difference)), confidence)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 13, 25, 62])
def test_p_is_that_of_scipy_where_sizes_differ(n):
    difference = np.random.default_rng(n).normal(0.3, 1, n)
    assert against_zero(difference).p_value == pytest.approx(
        stats.wilcoxon(difference, method="exact").pvalue
    )
    assert against_zero(difference).method == EXACT


@pytest.mark.parametrize(
    "difference",
    [
        [0, 0, 1, 1, -1, 2, 3, -2, 4, 5],
        [0, 0, 0, 1],
        [1, 1, 1, 1, -1, -1],
        [0, -1, -2, 3, -4, -4, -4, 0, -6],
    ],
)
def test_p_is_exact_with_ties_and_zeros(difference):
    # every assignment of signs to the ranks that Pratt keeps, counted one by one
    ranks = stats.rankdata(np.abs(difference))[np.array(difference) != 0]
    found = sum(rank for rank, d in zip(ranks, [d for d in difference if d], strict=True) if d > 0)
    sums = [
        sum(rank for rank, plus in zip(ranks, signs, strict=True) if plus)
        for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    tails = [np.mean([s <= found for s in sums]), np.mean([s >= found for s in sums])]
    assert against_zero(difference).p_value == pytest.approx(min(1, 2 * min(tails)))
    permuted = stats.wilcoxon(difference, zero_method="pratt", method=stats.PermutationMethod())
    assert against_zero(difference).p_value == pytest.approx(permuted.pvalue)


def test_above_the_limit_the_normal_approximation_is_used_and_is_close():
    difference = np.random.default_rng(3).normal(0.15, 1, EXACT_PEOPLE + 1)
    exact, normal = against_zero(difference[:-1]), against_zero(difference)
    assert (exact.method, normal.method) == (EXACT, NORMAL)
    assert normal.p_value == pytest.approx(stats.wilcoxon(difference, method="asymptotic").pvalue)
    # the normal approximation of the exact one's own data
    assert exact.p_value == pytest.approx(
        stats.wilcoxon(difference[:-1], method="asymptotic").pvalue, rel=0.05
    )
    assert normal.interval == pytest.approx(exact.interval, abs=0.03)


def test_estimate_and_interval_by_hand():
    # six differences: 21 Walsh averages; at 95 % all six signs must agree, so the interval is the whole range
    result = against_zero([1, 2, 3, 4, 5, 7])
    averages = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement([1, 2, 3, 4, 5, 7], 2))
    assert walsh_averages(np.array([1, 2, 3, 4, 5, 7])).tolist() == averages
    assert result.median == averages[10] == 3.5
    assert result.interval == (1, 7)
    assert result.p_value == 2 / 2**6
    # P(W <= 1) = 2/64 and P(W <= 2) = 3/64: at 93 % the second averages from the ends, at 90 % the third
    assert against_zero([1, 2, 3, 4, 5, 7], 0.93).interval == (averages[1], averages[-2])
    assert against_zero([1, 2, 3, 4, 5, 7], 0.90).interval == (averages[2], averages[-3])
    assert (result.n, result.positive, result.zero, result.negative) == (6, 6, 0, 0)


@pytest.mark.parametrize(("confidence", "fewest"), [(0.95, 6), (0.9, 5), (0.99, 8), (0.5, 2)])
def test_an_interval_needs_people_enough_for_its_level(confidence, fewest):
    assert fewest_for_interval(confidence) == fewest
    for n in (fewest - 1, fewest):
        low, _ = against_zero(np.arange(1.0, n + 1), confidence).interval
        assert math.isfinite(low) == (n == fewest)


def test_the_interval_leaves_out_zero_exactly_if_the_test_rejects():
    generator = np.random.default_rng(8)
    results = [against_zero(generator.normal(0.5, 1, 17)) for _ in range(200)]
    rejected = [result.p_value <= 0.05 for result in results]
    assert rejected == [not result.interval[0] <= 0 <= result.interval[1] for result in results]
    assert 0 < sum(rejected) < 200


def test_nothing_differs_and_nobody():
    same = against_zero([0.0, 0.0, 0.0])
    assert (same.p_value, same.median, same.zero) == (1.0, 0.0, 3)
    nobody = against_zero([])
    assert nobody.n == 0 and math.isnan(nobody.p_value) and math.isnan(nobody.median)


def test_rounding_errors_make_no_difference():
    # 0.93 - 0.92 and 0.94 - 0.93 differ in the last bit
    result = signed_rank([0.93, 0.93, 0.1 + 0.2], [0.92, 0.94, 0.3], 0.95)
    assert (result.positive, result.zero, result.negative) == (1, 1, 1)
    assert (result.median, result.p_value) == (0.0, 1.0)


def test_holm_by_hand():
    # sorted 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1, each no smaller than the one before
    assert holm([0.03, 0.01, math.nan, 0.5, 0.02]) == pytest.approx(
        [0.06, 0.04, math.nan, 0.5, 0.06], nan_ok=True
    )
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_is_that_of_statsmodels():
    p_values = np.random.default_rng(0).uniform(0, 0.2, 9)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


@pytest.mark.parametrize("n", [12, 30])
def test_a_true_null_is_rejected_as_often_as_stated_and_the_interval_holds_the_truth(n):
    generator = np.random.default_rng(n)
    # symmetric, with heavy tails
    results = [against_zero(0.2 + generator.standard_t(3, n)) for _ in range(400)]
    held = np.mean([result.interval[0] <= 0.2 <= result.interval[1] for result in results])
    assert 0.92 <= held <= 0.98
    nulls = [against_zero(generator.standard_t(3, n)).p_value < 0.05 for _ in range(400)]
    assert 0.02 <= np.mean(nulls) <= 0.08


def test_a_true_null_of_coarse_values_is_not_rejected_too_often():
    generator = np.random.default_rng(2)
    drawn = [generator.integers(-3, 4, 15) for _ in range(400)]
    results = [against_zero(values) for values in drawn]
    assert 0.02 <= np.mean([result.p_value < 0.05 for result in results]) <= 0.08
    assert np.mean([result.interval[0] <= 0 <= result.interval[1] for result in results]) >= 0.95
