"""Subgroups: against scipy and pingouin, people counted once, folds left out by hand, reasons for empty values."""

import math

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats

from lib.report_settings import AgreementConfig
from lib.stats.formats import undefined_reasons
from lib.stats.subgroups import EVERYBODY_ELSE, SUBGROUP_COLUMNS, subgroup_table, welch_interval
from lib.stats.tables import read_table, write_table
from tests.unit.study_tables import no_metrics, tables

CONFIG = AgreementConfig()
KEYS = ["group", "protocol", "kind", "subgroup", "measure"]


@pytest.fixture(scope="module")
def metrics():
    return tables()[0]


def acquisition(metrics, models=("Force", "Force", "Sensation 64")):
    scans = metrics["scan"].unique()
    names = [models[number % len(models)] for number in range(len(scans))]
    return pd.DataFrame({"scan": scans, "manufacturer": "Siemens", "model": names})


@pytest.fixture(scope="module")
def table(metrics):
    return subgroup_table(metrics, acquisition(metrics), CONFIG)


def test_women_are_compared_with_men(metrics, table):
    assert tuple(table.columns) == SUBGROUP_COLUMNS
    row = table.set_index(KEYS).loc[("all", "test", "sex", "F", "re_percent")]
    group = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "test")]
    women, men = (group.loc[group["sex"] == sex, "re_percent"] for sex in "FM")
    assert (row["others"], row["n"], row["n_others"]) == ("M", len(women), len(men))
    assert row["difference"] == pytest.approx(women.mean() - men.mean())
    welch = pingouin.ttest(women, men, correction=True)
    ends = welch[next(name for name in welch.columns if name.startswith("CI"))].iloc[0]
    found = row["difference_ci_low"], row["difference_ci_high"]
    assert found == pytest.approx(tuple(ends), abs=0.006)  # given to two decimals
    assert undefined_reasons(row["undefined"]) == {"difference_fold_ci": "no cross-validation"}
    assert not (table["kind"] == "sex")[table["group"] != "all"].any()


def test_with_folds_both_sides_of_a_fold_are_left_out_together(metrics, table):
    row = table.set_index(KEYS).loc[("all", "cv", "sex", "F", "dsc")]
    group = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "cv")]
    left = []
    for fold in range(5):
        rest = group[group["fold"] != fold]
        left.append(rest.loc[rest["sex"] == "F", "dsc"].mean() - rest.loc[rest["sex"] == "M", "dsc"].mean())
    half = stats.t.ppf(0.975, 4) * math.sqrt(0.8 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert row["folds"] == 5
    assert (row["difference_fold_ci_low"], row["difference_fold_ci_high"]) == pytest.approx(
        (row["difference"] - half, row["difference"] + half)
    )


def test_a_side_with_people_in_one_fold_has_no_interval_with_folds(metrics):
    cv = metrics[(metrics["protocol"] == "cv") & (metrics["group"] == "all")]
    cv = cv[(cv["sex"] == "M") | (cv["fold"] == 2)]
    row = subgroup_table(cv, acquisition(cv), CONFIG).set_index(KEYS).loc[("all", "cv", "sex", "F", "dsc")]
    assert math.isfinite(row["difference_ci_low"]) and math.isnan(row["difference_fold_ci_low"])
    why = "a side has people in fewer than two folds"
    assert undefined_reasons(row["undefined"])["difference_fold_ci"] == why


def test_of_several_scanners_each_stands_against_all_others(metrics):
    three = acquisition(metrics, ("Force", "Flash", "Sensation 64"))
    table = subgroup_table(metrics, three, CONFIG)
    rows = table[(table["kind"] == "scanner") & (table["group"] == "all") & (table["measure"] == "dsc")]
    assert rows.loc[rows["protocol"] == "test", "subgroup"].tolist() == [
        *("Siemens Flash", "Siemens Force", "Siemens Sensation 64"),
    ]
    assert set(rows["others"]) == {EVERYBODY_ELSE}
    assert set(rows["n"] + rows["n_others"]) == {52, 8}
    assert subgroup_table(metrics, three.head(0), CONFIG)["kind"].unique().tolist() == ["sex", "site"]


def test_a_person_counts_once_on_a_side(metrics):
    test = metrics[(metrics["protocol"] == "test") & (metrics["group"] == "all")]
    changes = {"b": 0.01, "c": -0.01}
    again = [test.assign(scan=test["scan"] + name, dsc=test["dsc"] + changes[name]) for name in changes]
    once = subgroup_table(test, acquisition(test), CONFIG)
    both = pd.concat([test, *again], ignore_index=True)
    of_sex = once["kind"] == "sex"
    found = subgroup_table(both, acquisition(both), CONFIG)
    pd.testing.assert_frame_equal(once[of_sex], found[found["kind"] == "sex"])


def test_one_person_is_no_subgroup(metrics):
    alone = acquisition(metrics, tuple(f"Scanner {number}" for number in range(200)))
    table = subgroup_table(metrics, alone, CONFIG)
    assert set(table["kind"]) == {"sex", "site"}


def test_welch_by_scipy_and_too_few():
    first, second = np.array([1.0, 2, 4]), np.array([3.0, 9])
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    assert welch_interval(first, second, 0.9) == pytest.approx(tuple(expected))
    for few in (first[:1], first[:0]):
        assert all(math.isnan(end) for end in welch_interval(few, second, 0.9))


def test_no_scores_no_rows_and_a_file_keeps_them(metrics, table, tmp_path):
    assert subgroup_table(no_metrics(), acquisition(metrics), CONFIG).empty
    write_table(table, tmp_path / "subgroups.csv")
    assert read_table(tmp_path / "subgroups.csv")["subgroup"].tolist() == table["subgroup"].tolist()
