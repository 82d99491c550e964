"""The results in one line: which scores of which people are told, and what of a run that did not get so far."""

import os

import pandas as pd
import pytest

from lib.catalog.protocols import CARD_PROTOCOLS
from lib.stats.run_summary import (
    densities_in_words,
    scans_in_words,
    scores_in_words,
    summarize_results,
)
from lib.stats.scan_counts import count_scans

FLOW = pd.DataFrame(
    [
        {"scan": "P1", "verdict": "ok", "stage": "scored", "reason": ""},
        {"scan": "P2", "verdict": "ok", "stage": "predicted", "reason": "no_reference"},
        {"scan": "P3", "verdict": "rejected", "stage": "screened", "reason": "missing_slices too_short"},
        {"scan": "P4", "verdict": "rejected", "stage": "screened", "reason": "missing_slices"},
        {"scan": "P5", "verdict": "excluded", "stage": "listed", "reason": "excluded"},
        {"scan": "P6", "verdict": "ok", "stage": "converted", "reason": "not_cropped"},
        {"scan": "P7", "verdict": "rejected", "stage": "screened", "reason": "not_in_view"},
    ]
)


def scores(*rows):
    names = ("group", "network", "protocol", "structure", "n", "mean")
    made = [dict(zip(names, row, strict=True)) | {"stratum": "all", "measure": "dsc"} for row in rows]
    other = [row | {"stratum": "sex=M", "mean": 0.5} for row in made]
    precision = [row | {"measure": "precision", "mean": 0.4} for row in made]
    return pd.DataFrame([*other, *precision, *made], columns=[*names, "stratum", "measure"])


def agreement(*rows):
    names = ("group", "network", "protocol", "structure", "mae")
    whole = {"region": "whole", "compartment": "integral", "measure": "volume", "unit": "mm3"}
    made = [dict(zip(names, row, strict=True)) | whole | {"stratum": "all", "undefined": ""} for row in rows]
    others = [row | {"region": "head", "mae": 1e6} for row in made]
    men = [row | {"stratum": "sex=M", "mae": 1e6} for row in made]
    return pd.DataFrame([*men, *others, *made])


def test_scans_that_are_not_used_are_told_with_their_reasons():
    assert scans_in_words(count_scans(FLOW)) == (
        "7 scans: 2 used, 3 refused (2 missing_slices, 1 not_in_view), 1 excluded, 1 unfinished (not_cropped)."
    )
    assert scans_in_words(count_scans(FLOW.head(1))) == "1 scan: 1 used."


def test_test_people_come_first():
    told = scores_in_words(
        scores(("all", "vnet", "cv", "femur", 19, 0.981), ("all", "vnet", "test", "femur", 6, 0.98612)),
        agreement(("all", "vnet", "cv", "femur", 2377.0), ("all", "vnet", "test", "femur", 1349.9)),
        ["vnet"],
    )
    assert told == "Test (6 people): Dice 0.986, mean volume error 1.3 cm³."


def test_the_terminal_tells_the_people_of_the_reports_first_sentence():
    for place, protocol in enumerate(CARD_PROTOCOLS):
        rows = [("all", "vnet", other, "femur", 3, 0.9) for other in reversed(CARD_PROTOCOLS[place:])]
        told = scores_in_words(scores(*rows), None, ["vnet"])
        only = scores_in_words(scores(("all", "vnet", protocol, "femur", 3, 0.9)), None, ["vnet"])
        assert told == only


def test_few_people_do_not_stand_for_the_study():
    rows = scores(("all", "vnet", "external", "femur", 1, 0.5), ("all", "vnet", "cv", "femur", 12, 0.9))
    assert scores_in_words(rows, None, ["vnet"]) == "Cross-validation (12 people): Dice 0.900."


@pytest.mark.parametrize(
    ("protocol", "title"),
    [
        ("cv", "Cross-validation"),
        ("later", "Later people"),
        ("external", "People of other institutions"),
        ("test-single", "Test, single model"),
    ],
)
def test_without_test_people_those_are_told_that_there_are(protocol, title):
    told = scores_in_words(scores(("all", "vnet", protocol, "femur", 1, 0.9)), None, ["vnet"])
    assert told == f"{title} (1 person): Dice 0.900."


def test_of_several_structures_the_lowest_and_the_highest_are_told():
    rows = scores(
        ("all", "unet", "test", "L1", 59, 0.943),
        ("all", "unet", "test", "L2", 60, 0.949),
        ("all", "unet", "test", "sacrum", 60, 0.812),
    )
    errors = agreement(
        ("all", "unet", "test", "L1", 1797.0),
        ("all", "unet", "test", "L2", 613.0),
        ("all", "unet", "test", "sacrum", 9415.0),
    )
    told = scores_in_words(rows, errors, ["unet"])
    assert told == (
        "Test (60 people): Dice 0.812 (sacrum) to 0.949 (L2), mean volume error 0.61 (L2) to 9.4 (sacrum) cm³."
    )
    chosen = scores_in_words(rows, errors, ["unet"], ["L1", "L2"])
    assert chosen == (
        "Test (60 people): Dice 0.943 (L1) to 0.949 (L2), mean volume error 0.61 (L2) to 1.8 (L1) cm³."
    )


def test_of_several_networks_and_groups_the_first_is_told_and_named():
    rows = scores(
        ("female", "f32", "test", "femur", 3, 0.1),
        ("all", "dilated", "test", "femur", 6, 0.2),
        ("all", "f32", "cv", "femur", 9, 0.3),
        ("all", "f32", "test", "femur", 6, 0.95),
    )
    assert scores_in_words(rows, None, ["f32", "dilated"]) == "Test (6 people, f32): Dice 0.950."
    assert "dilated): Dice 0.200" in scores_in_words(rows, None, ["dilated", "f32"])


def test_nothing_scored():
    undefined = scores(("all", "vnet", "test", "femur", 0, float("nan")))
    assert scores_in_words(undefined, None, ["vnet"]) == "Nothing was scored."
    assert scores_in_words(scores(), None, ["vnet"]) == "Nothing was scored."
    assert scores_in_words(None, None, ["vnet"]) == ""


def test_densities_of_a_regression():
    columns = {"group": "all", "network": "densenet", "vendor": "all", "kind": "person", "n_people": 28}
    rows = [
        columns | {"protocol": "cv", "method": "network", "r2": 0.5, "rmse_k2hpo4_mg_cm3": 9.0},
        columns | {"protocol": "test", "method": "age_sex", "r2": 0.1, "rmse_k2hpo4_mg_cm3": 30.0},
        columns | {"protocol": "test", "method": "network", "r2": 0.9744, "rmse_k2hpo4_mg_cm3": 6.04},
        columns | {"protocol": "test", "method": "network", "kind": "vertebra", "r2": 1.0, "n_people": 60},
    ]
    table = pd.DataFrame(rows).assign(undefined="")
    assert densities_in_words(table) == "Density, test (28 people): R² 0.974, RMSE 6.0 mg/cm³."
    assert densities_in_words(table[table["method"] == "age_sex"]) == ""
    assert densities_in_words(None) == ""


@pytest.fixture
def results(tmp_path):
    for folder in ("cohort", "tables", "report"):
        (tmp_path / folder).mkdir()
    FLOW.drop(columns="stage").to_csv(tmp_path / "cohort/scans.csv", index=False)
    FLOW.to_csv(tmp_path / "tables/flow.csv", index=False)
    scores(("all", "vnet", "test", "femur", 6, 0.986)).to_csv(tmp_path / "tables/scores.csv", index=False)
    (tmp_path / "report/index.html").touch()
    return tmp_path


def test_the_line(results):
    told = summarize_results(results, ["vnet"])
    assert told.startswith("7 scans: 2 used") and "Test (6 people): Dice 0.986." in told
    assert told.endswith(f"Report: {results / 'report/index.html'}")
    assert "Partial report: /" in summarize_results(results, ["vnet"], partial=True)


def test_tables_of_an_earlier_run_are_not_told(results):
    """A run to `cropped` with further scans makes new verdicts, and leaves tables and report behind."""
    further = pd.concat([FLOW, FLOW.head(1).assign(scan="P8")]).drop(columns="stage")
    further.to_csv(results / "cohort/scans.csv", index=False)
    assert summarize_results(results, ["vnet"]) == (
        "8 scans: 4 accepted, 3 refused (2 missing_slices, 1 not_in_view), 1 excluded."
    )


def test_tables_are_told_though_the_same_verdicts_were_written_again(results):
    """Snakemake does not remake what depends on a file whose content has stayed the same."""
    os.utime(results / "tables/flow.csv", (1, 1))
    assert "Test (6 people): Dice 0.986." in summarize_results(results, ["vnet"])


def test_before_screening_there_is_nothing_to_tell(tmp_path):
    assert summarize_results(tmp_path, ["vnet"]) == ""
