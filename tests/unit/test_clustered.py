"""Agreement of pairs clustered in people: estimates against libraries, coverage of the intervals."""

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from lib.stats.clustered import (
    ESTIMATES,
    Bootstrap,
    bca_interval,
    clustered_estimates,
    estimates_with_intervals,
    numbered,
    person_sums,
    reasons_of_estimates,
    resampled_totals,
    rmse_difference,
)
from lib.stats.concordance import concordance
from lib.stats.density_plan import FEWEST_FOR_BOOTSTRAP
from lib.stats.estimates import point_estimates
from lib.stats.limits_of_agreement import LIMIT, sd_of_differences
from lib.stats.lines import fit_line
from lib.stats.variance import variance_components

HOW = Bootstrap(samples=2000, seed=3, confidence=0.95)


def pairs(people=12, each=4, seed=0):
    """Pairs of people who differ, each with several vertebrae and an error of their own."""
    generator = np.random.default_rng(seed)
    own = np.repeat(generator.normal(120, 30, people), each)
    x = own + generator.normal(0, 6, people * each)
    y = 5 + 0.95 * x + np.repeat(generator.normal(0, 3, people), each) + generator.normal(0, 2, people * each)
    return x, y, np.repeat(np.arange(people), each)


def estimate(x, y, people):
    of = person_sums(x, y, people)
    return {name: value[0] for name, value in clustered_estimates(of, of.sums.sum(axis=0)[None]).items()}


@pytest.mark.parametrize("each", [1, 4])
def test_estimates_are_those_of_the_project(each):
    x, y, people = pairs(each=each)
    found, line, known = estimate(x, y, people), fit_line(x, y, 0.95), point_estimates(x, y)
    assert set(found) == set(ESTIMATES)
    for name in ("pearson_r", "r2", "ccc", "rmse", "mae"):
        assert found[name] == pytest.approx(known[name], rel=1e-9), name
    assert found["slope"] == pytest.approx(line.slope) and found["intercept"] == pytest.approx(line.intercept)
    sd = sd_of_differences(y - x, people)
    assert found["bias"] == pytest.approx((y - x).mean()) and found["sd"] == pytest.approx(sd)
    assert found["loa_high"] - found["bias"] == pytest.approx(LIMIT * sd)
    assert found["calibration_in_the_large"] == pytest.approx(x.mean() - y.mean())


def test_concordance_and_correlation_are_those_of_pingouin_and_of_lins_formula():
    x, y, people = pairs(each=1)
    found = estimate(x, y, people)
    lin = 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert found["ccc"] == pytest.approx(lin) == concordance(x, y)
    assert found["pearson_r"] == pytest.approx(pingouin.corr(x, y)["r"].iloc[0])


def test_within_person_correlation_is_that_of_repeated_measures():
    x, y, people = pairs()
    table = pd.DataFrame({"x": x, "y": y, "person": people})
    known = pingouin.rm_corr(data=table, x="x", y="y", subject="person")["r"].iloc[0]
    found = estimate(x, y, people)
    assert found["within_person_r"] == pytest.approx(known, abs=1e-6)
    assert found["within_person_r"] < found["pearson_r"]  # which the spread between people raises
    assert np.isnan(estimate(*pairs(each=1))["within_person_r"])


def test_components_are_those_of_the_analysis_of_variance():
    x, y, people = pairs()
    found, components = estimate(x, y, people), variance_components(y - x, people)
    assert found["sd_between_people"] ** 2 == pytest.approx(components.between)
    assert found["sd_within_people"] ** 2 == pytest.approx(components.within)


def test_bias_and_slope_of_a_simulation_are_recovered():
    generator = np.random.default_rng(1)
    x = generator.normal(120, 30, 4000)
    found = estimate(x, 7 + 0.9 * x + generator.normal(0, 3, 4000), np.arange(4000))
    assert found["slope"] == pytest.approx(0.9, abs=0.005)
    assert found["bias"] == pytest.approx(7 - 0.1 * 120, abs=0.3)
    assert found["intercept"] == pytest.approx(7, abs=0.7)


def test_a_person_with_more_scans_counts_as_one_person():
    x, y, people = pairs()
    fewer = people < 11
    left = clustered_estimates(
        person_sums(x, y, people), resampled_totals(person_sums(x, y, people).sums, 1, 0).left_out
    )
    known = estimate(x[fewer], y[fewer], people[fewer])
    for name in ESTIMATES:
        assert left[name][11] == pytest.approx(known[name], rel=1e-7), name


def test_intervals_are_those_of_scipy_but_for_students_quantile():
    generator = np.random.default_rng(2)
    d = generator.exponential(3, 40)
    x = generator.normal(100, 20, 40)
    _, intervals = estimates_with_intervals(person_sums(x, x + d, np.arange(40)), HOW)
    # the level whose normal quantile is the widened one
    reach = np.sqrt(40 / 39) * stats.t.ppf(0.975, 39)
    known = stats.bootstrap(
        (d,), np.mean, n_resamples=20000, confidence_level=2 * stats.norm.cdf(reach) - 1, rng=5
    ).confidence_interval
    assert intervals["bias"] == pytest.approx((known.low, known.high), abs=0.12)


def test_the_same_seed_gives_the_same_interval_whatever_is_held_at_once(monkeypatch):
    x, y, people = pairs()
    of = person_sums(x, y, people)
    first = estimates_with_intervals(of, HOW)
    assert estimates_with_intervals(of, HOW) == first
    monkeypatch.setattr("lib.stats.clustered._MOST_WEIGHTS", 12 * 7)
    again = estimates_with_intervals(of, HOW)
    assert again[1]["bias"] == pytest.approx(first[1]["bias"])


@pytest.mark.parametrize(("people", "each"), [(12, 1), (12, 4), (40, 4)])
def test_intervals_cover_the_truth(people, each):
    """300 simulated studies: the interval of bias and of RMSE holds the truth in about 95 of 100."""
    bias, between, within = 4.0, 3.0, 2.0
    rmse = np.sqrt(bias**2 + between**2 + within**2)
    generator, hits = np.random.default_rng(7), {"bias": 0, "rmse": 0, "slope": 0}
    truth = {"bias": bias, "rmse": rmse, "slope": 1.0}
    for number in range(300):
        x = generator.normal(120, 30, people * each)
        own = np.repeat(generator.normal(0, between, people), each)
        y = x + bias + own + generator.normal(0, within, people * each)
        how = Bootstrap(samples=600, seed=number, confidence=0.95)
        _, found = estimates_with_intervals(person_sums(x, y, np.repeat(np.arange(people), each)), how)
        for name in hits:
            hits[name] += found[name][0] <= truth[name] <= found[name][1]
    assert 0.92 <= hits["bias"] / 300 <= 0.99
    assert 0.89 <= hits["slope"] / 300 <= 0.995
    assert 0.87 <= hits["rmse"] / 300 <= 0.99


def test_the_difference_of_two_methods_is_paired():
    generator = np.random.default_rng(4)
    x = generator.normal(120, 30, 30)
    shared, people = generator.normal(0, 5, 30), np.arange(30)
    worse = x + shared + 1.0
    sums = [person_sums(x, y, people) for y in (worse, x + shared)]
    difference, interval = rmse_difference(*sums, HOW)
    known = np.sqrt(np.mean((worse - x) ** 2)) - np.sqrt(np.mean(shared**2))
    assert difference == pytest.approx(known)
    alone = estimates_with_intervals(sums[0], HOW)[1]["rmse"]
    assert interval[0] < difference < interval[1] and interval[1] - interval[0] < alone[1] - alone[0]
    assert rmse_difference(sums[0], sums[0], HOW) == (0.0, pytest.approx((np.nan, np.nan), nan_ok=True))


def test_few_people_and_constant_values_have_no_interval_but_a_reason():
    few = FEWEST_FOR_BOOTSTRAP - 1
    x = np.linspace(80, 140, few)
    estimates, intervals = estimates_with_intervals(person_sums(x, x + [1, 2, 1, 3, 1], np.arange(few)), HOW)
    assert np.isfinite(estimates["bias"]) and np.isnan(intervals["bias"]).all()
    why = reasons_of_estimates(estimates, few, few)
    assert why["bias_ci"] == "fewer than 6 people" and why["within_person_r"] == "one value a person"
    constant = estimate(np.full(8, 100.0), np.linspace(90, 100, 8), np.arange(8))
    assert (
        np.isnan(constant["pearson_r"])
        and np.isnan(constant["slope"])
        and constant["bias"] == pytest.approx(-5)
    )
    assert reasons_of_estimates(constant, 8, 8)["slope"] == "values are all the same"
    assert np.isnan(bca_interval(1.0, np.ones(100), np.ones(9), 0.95)).all()


def test_people_are_numbered_without_a_gap():
    assert numbered(["b", "a", "b", "007"]).tolist() == [2, 1, 2, 0]
