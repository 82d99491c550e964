"""Summaries of overlap: against Student's t, within each sex, with missing scores, with several scans of a person."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lib.report_settings import AgreementConfig
from lib.stats.formats import records, undefined_reasons
from lib.stats.grouping import scores_by_group
from lib.stats.scores import SCORE_COLUMNS, SCORES, score_table
from lib.stats.tables import read_table, write_table
from lib.stats.unscored import find_gaps
from tests.unit.study_tables import no_metrics, tables, unscored

CONFIG = AgreementConfig()


@pytest.fixture(scope="module")
def metrics():
    return tables()[0]


@pytest.fixture(scope="module")
def scores(metrics):
    return score_table(metrics, CONFIG).set_index(["group", "protocol", "stratum", "measure"])


def test_a_row_states_mean_sd_median_and_the_worst_scan(metrics, scores):
    group = metrics[(metrics["group"] == "male") & (metrics["protocol"] == "test")]
    row = scores.loc[("male", "test", "all", "dsc")]
    assert row["n"] == row["scans"] == len(group) == 4
    assert row["mean"] == pytest.approx(group["dsc"].mean())
    assert row["sd"] == pytest.approx(np.std(group["dsc"], ddof=1))
    assert row["median"] == pytest.approx(np.median(group["dsc"]))
    assert row["worst"] == group["dsc"].min()
    assert scores.loc[("male", "test", "all", "hd95_mm"), "worst"] == group["hd95_mm"].max()


def test_everybody_and_each_sex_have_a_row_for_each_measure(metrics, scores):
    assert set(scores.index.get_level_values("measure")) == set(SCORES) <= set(metrics)
    men = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "cv") & (metrics["sex"] == "M")]
    assert scores.loc[("all", "cv", "sex=M", "nsd"), "mean"] == pytest.approx(men["nsd"].mean())
    assert ("male", "cv", "F", "nsd") not in scores.index


def test_the_interval_comes_near_students_and_never_passes_one(metrics, scores):
    group = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "cv")]
    row = scores.loc[("all", "cv", "all", "dsc")]
    low, high = stats.ttest_1samp(group["dsc"], 0).confidence_interval(0.95)
    assert (row["mean_ci_low"], row["mean_ci_high"]) == pytest.approx((low, high), abs=0.05 * (high - low))
    few = scores.loc[("male", "test", "all", "nsd")]
    assert few["mean_ci_low"] < few["mean"] < few["mean_ci_high"] < 1
    assert scores.loc[("male", "test", "all", "hd95_mm"), "mean_ci_low"] > 0


def test_the_interval_with_the_folds_is_of_their_means(metrics, scores):
    group = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "cv")]
    row = scores.loc[("all", "cv", "all", "dsc")]
    low, high = stats.ttest_1samp(group.groupby("fold")["dsc"].mean(), 0).confidence_interval(0.95)
    assert row["folds"] == 5
    assert (row["mean_fold_ci_low"], row["mean_fold_ci_high"]) == pytest.approx(
        (low, high), abs=0.06 * (high - low)
    )
    test = scores.loc[("all", "test", "all", "dsc")]
    assert test["folds"] == 0
    assert undefined_reasons(test["undefined"])["mean_fold_ci"] == "no cross-validation"


def test_scans_of_a_person_count_together(metrics):
    group = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "cv")]
    # five scans of everybody with the same result are no more certain than one
    five = [group.assign(scan=group["scan"] + name) for name in "abcde"]
    made = (score_table(table, CONFIG) for table in (group, pd.concat(five, ignore_index=True)))
    once, often = (table.set_index(["stratum", "measure"]) for table in made)
    names = ["mean_ci_low", "mean_ci_high", "mean_fold_ci_low", "mean_fold_ci_high"]
    pd.testing.assert_frame_equal(once[names], often[names])
    assert (often["scans"] == 5 * often["n"]).all()


def test_a_repeated_scan_is_left_out_and_an_undefined_measure_has_an_empty_row(metrics):
    group = metrics[(metrics["group"] == "male") & (metrics["protocol"] == "test")]
    again = group.iloc[:1].assign(scan="P900", repeat_of=group["scan"].iloc[0], dsc=0.1)
    table = score_table(pd.concat([group, again], ignore_index=True).assign(nsd=np.nan), CONFIG).set_index(
        ["stratum", "measure"]
    )
    assert table.loc[("all", "dsc"), "scans"] == 4 and table.loc[("all", "dsc"), "worst"] > 0.9
    assert table.loc[("all", "nsd"), "n"] == 0 and np.isnan(table.loc[("all", "nsd"), "mean"])


def test_scans_without_a_value_are_counted_with_the_reason(metrics):
    group = metrics[(metrics["group"] == "male") & (metrics["protocol"] == "test")].reset_index(drop=True)
    group.loc[0, ["hd95_mm", "nsd", "dsc", "undefined"]] = [np.nan, 0.0, 0.0, "hd95_mm, hd_mm: it is empty"]
    group.loc[1, "hd95_mm"] = np.nan
    table = score_table(group, CONFIG).set_index(["stratum", "measure"])
    row = table.loc[("all", "hd95_mm")]
    assert (row["n"], row["scans"], row["scans_without"]) == (2, 2, 2)
    assert row["without_reason"] == "it is empty (1); not measured (1)"
    # the failure counts in the means that are defined for it, and in no other
    assert table.loc[("all", "nsd"), "mean"] == pytest.approx(group["nsd"][1:].sum() / 4)
    assert (table.loc[("all", "nsd"), "scans_without"], table.loc[("all", "nsd"), "worst"]) == (0, 0)
    assert table.loc[("all", "hd_mm"), "scans_without"] == 0


def test_values_within_a_voxel_are_counted_scan_by_scan(metrics):
    group = metrics[(metrics["group"] == "male") & (metrics["protocol"] == "test")].reset_index(drop=True)
    group = group.assign(hd95_mm=[3.0, 3.1, 0.8, np.nan], assd_mm=0.3, hd_mm=9.0, spacing_z_mm=3.0)
    group.loc[2, "spacing_z_mm"] = 0.7
    group["nsd_tolerance_mm"] = [1.0, 1.0, 1.0, 4.0]
    within = score_table(group, CONFIG).set_index(["stratum", "measure"])["scans_within_voxel"].loc["all"]
    # the third scan's voxels are 0.8 mm long, the fourth has no HD95 and a tolerance above its slices
    assert within[["hd95_mm", "assd_mm", "hd_mm", "nsd"]].tolist() == [2, 4, 0, 2]
    assert within[["dsc", "precision"]].isna().all()


def test_the_table_is_read_back_as_groups(metrics, tmp_path):
    table = score_table(metrics, CONFIG)
    assert tuple(table.columns) == SCORE_COLUMNS
    write_table(table, tmp_path / "scores.csv")
    groups = scores_by_group(records(read_table(tmp_path / "scores.csv")))
    first = groups[0]
    assert (first["group"], first["stratum"], first["weights"]) == ("all", "all", "last")
    assert first["dsc"]["mean"] == pytest.approx(table["mean"].iloc[0])
    assert len(groups) * len(SCORES) == len(table)
    assert (first["hd95_mm"]["scans_without"], first["hd95_mm"]["without_reason"]) == (0, "")
    assert first["dsc"]["scans_within_voxel"] is None


def test_no_scores_no_rows():
    assert score_table(no_metrics(), CONFIG).empty


def test_a_prediction_that_failed_is_counted_beside_every_mean(metrics):
    group = metrics[(metrics["group"] == "male") & (metrics["protocol"] == "cv")].reset_index(drop=True)
    lost, kept = group.iloc[[0, 1]], group.iloc[2:]
    gaps = find_gaps(kept, unscored(lost))
    whole, table = (
        score_table(kept, CONFIG, given).set_index(["stratum", "measure"]) for given in (None, gaps)
    )
    told = ["scans_without", "without_reason"]
    assert (whole["scans_without"] == 0).all()
    assert (table["scans_without"] == 2).all() and set(table["without_reason"]) == {"not predicted"}
    # all other numbers are equal
    pd.testing.assert_frame_equal(table.drop(columns=told), whole.drop(columns=told))


def test_a_group_of_which_every_prediction_failed_has_a_row(metrics):
    lost = metrics[metrics["protocol"] == "test"]
    kept = metrics[metrics["protocol"] == "cv"]
    table = score_table(kept, CONFIG, find_gaps(kept, unscored(lost))).set_index(
        ["group", "protocol", "stratum", "measure"]
    )
    row = table.loc[("all", "test", "all", "dsc")]
    assert (row["n"], row["scans_without"]) == (0, 8) and np.isnan(row["mean"])


def test_repetitions_leave_no_gap(metrics):
    first, *others = (metrics[metrics["protocol"] == "test"].iloc[[number]] for number in range(3))
    again = first.assign(scan="P900", repeat_of=first["scan"].iloc[0])
    # one first scan failed and its repetition replaces it; a repetition of another scan failed
    kept = pd.concat([again, others[0]])
    lost = [unscored(first), unscored(others[0].assign(scan="P901", repeat_of=others[0]["scan"].iloc[0]))]
    assert find_gaps(kept, pd.concat(lost, ignore_index=True)).empty
    assert find_gaps(kept, unscored(others[1]))["scan"].tolist() == others[1]["scan"].tolist()
    # where both failed, they count as one missing score
    both = pd.concat([unscored(first), unscored(again)], ignore_index=True)
    assert find_gaps(others[0], both)["scan"].tolist() == first["scan"].tolist()


def test_an_interval_of_a_share_does_not_reach_below_zero(metrics):
    group = metrics[(metrics["group"] == "male") & (metrics["protocol"] == "test")].iloc[:3]
    table = score_table(group.assign(dsc=[0.99, 0.98, 0.5]), CONFIG).set_index(["stratum", "measure"])
    row = table.loc[("all", "dsc")]
    assert row["mean_ci_low"] == 0 and row["mean"] < row["mean_ci_high"] < 1
