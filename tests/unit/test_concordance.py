"""Concordance and intraclass correlation against published tables, pingouin and hand-computed values."""

import math

import numpy as np
import pandas as pd
import pingouin
import pytest

from lib.stats.concordance import concordance, intraclass_correlation

# Shrout & Fleiss, Psychol Bull 1979;86:420, table 2: six targets, four judges
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)


def long(ratings):
    n, k = ratings.shape
    return pd.DataFrame(
        {"target": np.repeat(np.arange(n), k), "rater": np.tile(np.arange(k), n), "rating": ratings.ravel()}
    )


def test_icc_of_shrout_and_fleiss():
    icc, (low, high) = intraclass_correlation(SHROUT_FLEISS, 0.95)
    assert round(icc, 2) == 0.29  # table 4, ICC(2,1)
    # as R's psych::ICC prints it for this table
    assert (low, high) == pytest.approx((0.019, 0.761), abs=6e-4)


@pytest.mark.parametrize("ratings", [SHROUT_FLEISS, SHROUT_FLEISS[:, :2], SHROUT_FLEISS[:3, 1:]])
def test_icc_and_its_interval_agree_with_pingouin(ratings):
    table = pingouin.intraclass_corr(long(ratings), targets="target", raters="rater", ratings="rating")
    expected = table.iloc[1]  # two-way random, absolute agreement, single rating
    icc, interval = intraclass_correlation(ratings, 0.95)
    assert icc == pytest.approx(expected["ICC"])
    column = next(name for name in table.columns if name.startswith("CI"))
    assert interval == pytest.approx(tuple(expected[column]), abs=0.006)  # given to two decimals


def test_icc_of_two_raters_by_hand():
    # centred: targets +-5 and 0, raters -+1, no residual: R = 50, C = 6, E = 0, so 50 / (50 + 2 * 6 / 3)
    icc, _ = intraclass_correlation(np.array([[4.0, 6.0], [9.0, 11.0], [14.0, 16.0]]), 0.95)
    assert icc == pytest.approx(50 / 54)


@pytest.mark.parametrize("unit", [1000, 0.001])
def test_icc_does_not_move_with_unit_or_origin(unit):
    volumes = unit * (90 + SHROUT_FLEISS)
    assert intraclass_correlation(volumes, 0.9)[1] == pytest.approx(
        intraclass_correlation(SHROUT_FLEISS, 0.9)[1]
    )


def test_two_targets_are_enough():
    # centred: targets +-2, raters -+1: R = 16, C = 4, E = 0; moments 4, 4, 4 and a shift of 2
    ratings = np.array([[1.0, 3.0], [5.0, 7.0]])
    assert intraclass_correlation(ratings, 0.95)[0] == pytest.approx(16 / (16 + 4))
    assert concordance(*ratings.T) == pytest.approx(2 * 4 / (4 + 4 + 4))


def test_icc_covers_at_its_level():
    # people with SD 2, two raters with SD 0.5, error SD 1: the true ICC(2,1) is 4 / 5.25
    generator = np.random.default_rng(4)
    held = []
    for _ in range(600):
        parts = (generator.normal(0, sd, size) for sd, size in ((2, (25, 1)), (0.5, (1, 2)), (1, (25, 2))))
        low, high = intraclass_correlation(sum(parts), 0.95)[1]
        held.append(low <= 4 / 5.25 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("ratings", "icc"),
    [
        (np.empty((0, 2)), math.nan),
        (np.array([[1.0, 2.0]]), math.nan),
        (np.ones((4, 2)), math.nan),
        (np.full((3, 2), 0.1), math.nan),  # the mean is not exactly 0.1
        (np.array([[1.0, 2.0], [2.0, 1.0]]), math.nan),  # neither targets nor raters differ
        (np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), 1.0),
        (np.array([[1.0, 4.0], [1.0, 4.0], [1.0, 4.0]]), 0.0),
    ],
)
def test_ratings_that_define_no_interval(ratings, icc):
    found, interval = intraclass_correlation(ratings, 0.95)
    assert found == pytest.approx(icc, nan_ok=True)
    assert all(math.isnan(end) for end in interval)


def test_concordance_penalises_a_shift_that_correlation_does_not_see():
    reference = np.array([1.0, 2.0, 3.0, 4.0])
    # by Lin's formula: 2 * 1.25 / (1.25 + 1.25 + 1)
    assert concordance(reference, reference + 1) == pytest.approx(2.5 / 3.5)
    assert concordance(reference, reference) == pytest.approx(1)
    assert concordance(reference, 5 - reference) == pytest.approx(-1)


def test_a_negative_coefficient_has_no_interval_beside_it():
    """With few people the approximate degrees of freedom vanish, and the limits would not enclose the coefficient."""
    icc, interval = intraclass_correlation(np.array([[-1.0, 1.4], [-1.7, 1.5], [-2.8, 3.0]]), 0.95)
    assert icc < 0 and np.isnan(interval).all()
    rng = np.random.default_rng(0)
    for _ in range(300):
        icc, (low, high) = intraclass_correlation(rng.normal(0, 1, (3, 2)) + rng.normal(0, 1, 2), 0.95)
        assert low <= icc <= high or np.isnan([low, high]).all()
