"""Overlap summarized: against Student's t, within sex, with gaps, with people who have several scans."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.stats.agreement import AgreementConfig
from lib.stats.formats import records
from lib.stats.scores import SCORE_COLUMNS, SCORES, score_table, scores_by_group
from lib.stats.tables import read_table, write_table
from tests.unit.study_tables import no_metrics, tables

CONFIG = AgreementConfig()


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


def test_the_interval_comes_near_students_and_never_passes_one(metrics, scores):
    group = metrics[(metrics["cohort"] == "all") & (metrics["protocol"] == "cv")]
    row = scores.loc[("all", "cv", "all", "dsc")]
    low, high = stats.ttest_1samp(group["dsc"], 0).confidence_interval(0.95)
    assert (row["mean_ci_low"], row["mean_ci_high"]) == pytest.approx((low, high), abs=0.05 * (high - low))
    few = scores.loc[("male", "test", "all", "nsd")]
    assert few["mean_ci_low"] < few["mean"] < few["mean_ci_high"] < 1
    assert scores.loc[("male", "test", "all", "hd95_mm"), "mean_ci_low"] > 0


def test_the_interval_with_the_folds_is_of_their_means(metrics, scores):
    group = metrics[(metrics["cohort"] == "all") & (metrics["protocol"] == "cv")]
    row = scores.loc[("all", "cv", "all", "dsc")]
    low, high = stats.ttest_1samp(group.groupby("fold")["dsc"].mean(), 0).confidence_interval(0.95)
    assert row["folds"] == 5
    assert (row["mean_fold_ci_low"], row["mean_fold_ci_high"]) == pytest.approx(
        (low, high), abs=0.06 * (high - low)
    )
    test = scores.loc[("all", "test", "all", "dsc")]
    assert test["folds"] == 0 and test["undefined"] == "mean_fold_ci: no cross-validation"


def test_scans_of_a_person_count_together(metrics):
    group = metrics[(metrics["cohort"] == "all") & (metrics["protocol"] == "cv")]
    # everybody scanned five times with the same result: no more certain than once
    five = [group.assign(scan=group["scan"] + name) for name in "abcde"]
    made = (score_table(table, CONFIG) for table in (group, pd.concat(five, ignore_index=True)))
    once, often = (table.set_index(["sex", "measure"]) for table in made)
    names = ["mean_ci_low", "mean_ci_high", "mean_fold_ci_low", "mean_fold_ci_high"]
    pd.testing.assert_frame_equal(once[names], often[names])
    assert (often["scans"] == 5 * often["n"]).all()


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
