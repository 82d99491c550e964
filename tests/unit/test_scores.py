"""Overlap summarized: against scipy's bootstrap, within sex, with gaps, with people who have several scans."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.stats.agreement import AgreementConfig, bootstrap_means
from lib.stats.formats import records
from lib.stats.scores import SCORE_COLUMNS, SCORES, score_table, scores_by_group
from lib.stats.tables import read_table, write_table
from tests.unit.study_tables import no_metrics, tables

CONFIG = AgreementConfig(bootstrap=4000, seed=3)


@pytest.fixture(scope="module")
def metrics():
    return tables()[0]


@pytest.fixture(scope="module")
def scores(metrics):
    return score_table(metrics, CONFIG).set_index(["cohort", "protocol", "sex", "measure"])


def test_a_row_states_mean_sd_median_and_the_worst_scan(metrics, scores):
    group = metrics[(metrics["cohort"] == "male") & (metrics["protocol"] == "test")]
    row = scores.loc[("male", "test", "all", "dsc")]
    assert row["n"] == row["scans"] == len(group) == 4
    assert row["mean"] == pytest.approx(group["dsc"].mean())
    assert row["sd"] == pytest.approx(np.std(group["dsc"], ddof=1))
    assert row["median"] == pytest.approx(np.median(group["dsc"]))
    assert row["worst"] == group["dsc"].min()
    assert scores.loc[("male", "test", "all", "hd95_mm"), "worst"] == group["hd95_mm"].max()


def test_everybody_and_each_sex_have_a_row_for_each_measure(metrics, scores):
    assert set(scores.index.get_level_values("measure")) == set(SCORES) <= set(metrics)
    men = metrics[(metrics["cohort"] == "all") & (metrics["protocol"] == "cv") & (metrics["sex"] == "M")]
    assert scores.loc[("all", "cv", "M", "nsd"), "mean"] == pytest.approx(men["nsd"].mean())
    assert ("male", "cv", "F", "nsd") not in scores.index


def test_the_interval_is_that_of_scipy_and_needs_enough_people(metrics, scores):
    group = metrics[(metrics["cohort"] == "all") & (metrics["protocol"] == "cv")]
    row = scores.loc[("all", "cv", "all", "dsc")]
    theirs = stats.bootstrap(
        (group["dsc"].to_numpy(),), np.mean, n_resamples=20_000, method="percentile", rng=1
    )
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert row["mean_ci_low"] == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert row["mean_ci_high"] == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)
    assert np.isnan(scores.loc[("all", "test", "all", "dsc"), "mean_ci_low"])  # eight people


def test_scans_of_a_person_are_drawn_together():
    # twenty people, each scanned five times with the same result: no more certain than twenty scans
    once = np.random.default_rng(0).normal(0.98, 0.01, (20, 1))
    people = [f"P{number}" for number in range(20)]
    one = bootstrap_means(once, people, CONFIG)
    five = bootstrap_means(np.repeat(once, 5, axis=0), np.repeat(people, 5).tolist(), CONFIG)
    assert five == pytest.approx(one)


def test_gaps_count_neither_in_the_mean_nor_as_people():
    values = np.random.default_rng(1).normal(2, 0.3, (24, 2))
    values[:4, 0], values[:5, 1] = np.nan, np.nan
    people = [str(number) for number in range(24)]
    (low, high), too_few = bootstrap_means(values, people, CONFIG)
    mean, half = values[4:, 0].mean(), 1.96 * values[4:, 0].std() / np.sqrt(20)
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)
    assert np.isnan(too_few).all()


def test_a_repeated_scan_is_left_out_and_an_undefined_measure_has_an_empty_row(metrics):
    group = metrics[(metrics["cohort"] == "male") & (metrics["protocol"] == "test")]
    again = group.iloc[:1].assign(scan="P900", repeat_of=group["scan"].iloc[0], dsc=0.1)
    table = score_table(pd.concat([group, again], ignore_index=True).assign(nsd=np.nan), CONFIG).set_index(
        ["sex", "measure"]
    )
    assert table.loc[("all", "dsc"), "scans"] == 4 and table.loc[("all", "dsc"), "worst"] > 0.9
    assert table.loc[("all", "nsd"), "n"] == 0 and np.isnan(table.loc[("all", "nsd"), "mean"])


def test_the_table_is_read_back_as_groups(metrics, tmp_path):
    table = score_table(metrics, CONFIG)
    assert tuple(table.columns) == SCORE_COLUMNS
    write_table(table, tmp_path / "scores.csv")
    groups = scores_by_group(records(read_table(tmp_path / "scores.csv")))
    first = groups[0]
    assert (first["cohort"], first["sex"], first["weights"]) == ("all", "all", "last")
    assert first["dsc"]["mean"] == pytest.approx(table["mean"].iloc[0])
    assert len(groups) * len(SCORES) == len(table)


def test_no_scores_no_rows():
    assert score_table(no_metrics(), CONFIG).empty
