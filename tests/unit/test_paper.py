"""The paper's Table 2 with this study's row, and the consistency of its Table 1."""

import numpy as np
import pandas as pd
import pytest

from lib.publications.zhao_2020 import PRINTED_TABLE1
from lib.report_settings import AgreementConfig
from lib.stats.agreement_tables import agreement_table
from lib.stats.paper import TABLE2_COLUMNS, table1, table2, tabulated_protocols
from lib.stats.tables import read_table, write_table
from tests.unit.study_tables import measurements, no_metrics, none_unscored, tables, unscored

NONE = none_unscored()
RUN = {
    "group": "all",
    "network": "vnet",
    "modality": "CT",
    "configured": {"architecture": {"dimensions": 3}},
    "preprocessing": {"resample": {"thickness_mm": 3.0}},
}


@pytest.fixture(scope="module")
def metrics():
    return tables()[0]


def test_our_row_is_last_and_of_the_test_people(metrics):
    table = table2(metrics, NONE, [RUN], published=True)
    assert tuple(table.columns) == TABLE2_COLUMNS
    assert len(table) == 7
    ours = table.iloc[-1]
    test = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "test")]
    assert ours["authors"] == "This study"
    assert (ours["method"], ours["data"], ours["sex"], ours["slice_thickness"]) == (
        *("3D CNN (vnet)", "60 CT", "M&F", "3 mm"),
    )
    assert ours["dsc"] == f"{test['dsc'].mean():.4f}±{np.std(test['dsc'], ddof=1):.4f}"
    assert ours["footnote"].startswith("8 test people")


def test_the_papers_rows_are_as_printed(metrics):
    table = table2(metrics, NONE, [RUN], published=True).iloc[:-1]
    assert table["dsc"].str[:6].tolist() == ["0.9400", "0.9760", "0.9688", "0.9490", "0.9500", "0.9815"]
    zhao = table.iloc[-1]
    assert (zhao["sensitivity"], zhao["specificity"], zhao["data"]) == ("0.9852", "0.9992", "397 QCT")
    deniz = table[table["data"] == "36 3T MR"].iloc[0]
    assert "86 people" in deniz["footnote"]


def test_a_synthetic_cohort_gets_no_row(metrics, tmp_path):
    table = table2(metrics, NONE, [RUN], published=False)
    write_table(table, tmp_path / "table2.csv")
    assert (tmp_path / "table2.csv").read_text() == ",".join(TABLE2_COLUMNS) + "\n"


def test_a_study_of_men_has_men_in_its_row(metrics):
    men = metrics[metrics["group"] == "male"]
    ours = table2(men, NONE, [], published=True).iloc[-1]
    assert (ours["sex"], ours["method"], ours["data"]) == ("M", "vnet", "30 people")
    # one scan has no interval, and a score that nobody has is empty
    alone = table2(men[men["scan"] == "P000"].assign(sensitivity=np.nan), NONE, [], published=True).iloc[-1]
    assert (alone["dsc"], alone["sensitivity"]) == (f"{men.set_index('scan')['dsc']['P000'].iloc[0]:.4f}", "")


def test_a_study_of_either_sex_alone_has_a_row_for_each(metrics):
    apart = metrics[metrics["group"] != "all"]
    assert table2(apart, NONE, [], published=True).iloc[6:]["sex"].tolist() == ["M", "F"]


def test_external_people_are_no_data_of_this_study(metrics):
    guests = metrics[metrics["protocol"] == "test"].assign(
        protocol="external", subject=lambda table: "X" + table["subject"]
    )
    ours = table2(pd.concat([metrics, guests], ignore_index=True), NONE, [RUN], published=True).iloc[-1]
    assert ours["data"] == "60 CT"
    assert ours["footnote"].startswith("8 test people")


def test_without_test_people_our_row_is_of_the_cross_validated_people(metrics):
    cv = metrics[metrics["protocol"] == "cv"]
    table = table2(cv, NONE, [RUN], published=True)
    assert len(table) == 7
    assert (table.iloc[-1]["data"], table.iloc[-1]["sex"]) == ("52 CT", "M&F")
    everybody = cv[cv["group"] == "all"]["dsc"]
    assert table.iloc[-1]["dsc"] == f"{everybody.mean():.4f}±{everybody.std(ddof=1):.4f}"
    assert table.iloc[-1]["footnote"].startswith(
        "52 cross-validated people, each predicted by the fold model that was not trained on them; mean±SD"
    )


def test_cross_validation_does_not_stand_in_for_test_people_that_failed(metrics):
    cv = metrics[metrics["protocol"] == "cv"]
    lost = unscored(metrics[metrics["protocol"] == "test"])
    assert tabulated_protocols(cv, NONE) == ("cv",)
    assert tabulated_protocols(cv, lost) == ("test", "test-single")
    assert len(table2(cv, lost, [RUN], published=True)) == 6
    assert table1(agreement_table(measurements(cv), AgreementConfig()), cv, lost, published=True).empty


def test_nobody_scored_no_row_of_ours():
    assert len(table2(no_metrics(), NONE, [], published=True)) == 6


def test_empty_cells_stay_empty_in_a_file(metrics, tmp_path):
    write_table(table2(metrics, NONE, [RUN], published=True), tmp_path / "table2.csv")
    again = read_table(tmp_path / "table2.csv")
    assert again.loc[0, ["sex", "footnote"]].tolist() == ["", ""]


@pytest.mark.parametrize(("group", "follows"), [("male", 0.9977), ("female", 0.9896), ("all", 0.9963)])
def test_the_papers_r2_follows_from_its_rmse_and_population_sd(group, follows):
    _, sd, _, rmse, r2, _, _ = PRINTED_TABLE1[group]
    assert round(1 - rmse**2 / sd**2, 4) == follows
    assert PRINTED_TABLE1[group][5] < 0 < PRINTED_TABLE1[group][6]  # relative errors, smallest and largest
    # men and women as printed; for all people the paper's value does not follow from its own RMSE and SD
    assert (follows == r2) == (group != "all")


def test_test_scans_without_a_score_are_counted_in_our_remark():
    metrics = tables()[0]
    lost = unscored(
        metrics[(metrics["group"] == "all") & metrics["protocol"].isin(["test", "cv"])].iloc[[0, -1]]
    )
    missing = metrics[~((metrics["protocol"] == "test") & metrics["scan"].isin(lost["scan"]))]
    assert set(lost["protocol"]) == {"cv", "test"}
    ours = table2(missing, lost, [RUN], published=True).iloc[-1]
    assert ours["footnote"].startswith(
        "7 test people (1 of 8 scans without a score: not predicted), predicted"
    )
