"""The description of the people of each partition, against numbers counted by hand."""

import numpy as np
import pandas as pd
import pytest

from lib.stats.partitions import PARTITION_COLUMNS, partition_table
from lib.stats.tables import read_table, write_table
from tests.unit.study_tables import no_metrics

FOLDS = pd.DataFrame(
    [
        ("P1", "P1", "M", "40", "train", 0),
        ("P2", "P2", "F", "60", "train", 0),
        ("P3", "P3", "F", "90+", "train", 1),
        ("P4-left", "P4", "", "", "train", 1),
        ("P4-right", "P4", "", "", "train", 1),
        ("T1", "T1", "M", "71", "test", -1),
        ("A1", "A1", "F", "55", "apply", -1),
        ("L1", "L1", "F", "50", "later", -1),
    ],
    columns=["scan", "subject", "sex", "age", "set", "fold"],
)
SCANNERS = {"T1": ("GE", "Revolution"), "A1": ("", "")}
ACQUISITION = pd.DataFrame(
    [(scan, "ok", *SCANNERS.get(scan, ("SIEMENS", "Sensation 64"))) for scan in FOLDS["scan"]],
    columns=["scan", "verdict", "manufacturer", "model"],
)
METRICS = pd.DataFrame(
    [
        *(("P1", 100.0, ""), ("P1", 100.0, ""), ("P2", 80.0, ""), ("P3", 90.0, "")),
        *(("P4-left", 70.0, ""), ("P4-right", 1000.0, "P4-left"), ("T1", 120.0, "")),
    ],
    columns=["scan", "reference_mm3", "repeat_of"],
).assign(structure="femur")


UNSCORED = pd.DataFrame(
    [("P2", "not predicted"), ("P2", "not predicted"), ("P3", "not compared with its reference")],
    columns=["scan", "without_reason"],
).assign(structure="femur")
TABLES = {"acquisition": ACQUISITION, "metrics": METRICS, "unscored": UNSCORED}


@pytest.fixture
def table():
    return partition_table(FOLDS, TABLES, ["femur"]).set_index("partition")


def test_each_set_and_each_fold_has_its_people(table):
    assert table.index.tolist() == ["train", "fold-0", "fold-1", "test", "later", "apply"]
    assert table["n"].tolist() == [4, 2, 2, 1, 1, 1]
    assert table["scans"].tolist() == [5, 2, 3, 1, 1, 1]
    assert table.loc["train", ["women", "men", "sex_unknown"]].tolist() == [2, 1, 1]


def test_ages_are_those_of_people_and_unknown_ones_are_counted_out(table):
    row = table.loc["train"]
    assert (row["age_n"], row["age_mean"]) == (3, pytest.approx((40 + 60 + 90) / 3))
    assert row["age_sd"] == pytest.approx(np.std([40, 60, 90], ddof=1))
    assert table.loc["test", "age_mean"] == 71 and np.isnan(table.loc["test", "age_sd"])


def test_volumes_count_each_scan_once_and_no_repetition(table):
    row = table.loc["train"]
    assert (row["reference_scans"], row["reference_mean_mm3"]) == (4, pytest.approx(85))
    assert row["reference_sd_mm3"] == pytest.approx(np.std([100, 80, 90, 70], ddof=1))
    assert table.loc["apply", "reference_scans"] == 0 and np.isnan(table.loc["apply", "reference_mean_mm3"])


def test_scanners_stand_with_their_numbers_of_scans(table):
    assert table.loc["train", "scanners"] == "SIEMENS Sensation 64: 5"
    assert table.loc["test", "scanners"] == "GE Revolution: 1"
    assert table.loc["apply", "scanners"] == "not stated: 1"


def test_the_table_reads_back_and_nobody_makes_no_rows(tmp_path):
    write_table(partition_table(FOLDS, TABLES, ["femur"]), tmp_path / "partitions.csv")
    again = read_table(tmp_path / "partitions.csv")
    assert tuple(again.columns) == PARTITION_COLUMNS
    assert again["scanners"].iloc[0] == "SIEMENS Sensation 64: 5"
    assert partition_table(FOLDS[:0], TABLES | {"metrics": no_metrics()}, ["femur"]).empty


def test_scans_that_were_to_be_scored_and_were_not_are_counted_once_with_the_reason(table):
    assert table["not_scored"].to_dict() == {
        "train": 2, "fold-0": 1, "fold-1": 1, "test": 0, "later": 0, "apply": 0
    }  # fmt: skip
    assert table.loc["train", "not_scored_reason"] == "not predicted (1); not compared with its reference (1)"
    assert table.loc["fold-0", "not_scored_reason"] == "not predicted"
    assert table.loc["test", "not_scored_reason"] == ""


def test_a_scan_that_was_rejected_after_the_draw_counts_nowhere():
    rejected = ACQUISITION.assign(
        verdict=ACQUISITION["verdict"].where(ACQUISITION["scan"] != "P1", "rejected")
    )
    table = partition_table(FOLDS, TABLES | {"acquisition": rejected}, ["femur"]).set_index("partition")
    assert table.loc[["train", "fold-0"], "n"].tolist() == [3, 1]
    assert table.loc["fold-0", "reference_mean_mm3"] == 80
