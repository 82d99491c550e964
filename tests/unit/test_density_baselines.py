"""Baselines of densities: their lines, that nobody is predicted by a line fitted on their own fold, and reasons."""

import numpy as np
import pandas as pd
import pytest

from lib.stats.density_baselines import BASELINES, NO_HU, predict_baseline
from lib.stats.density_plan import AGE_SEX, HU_LINEAR, HU_LINEAR_VENDOR


def rows(**columns):
    """Vertebrae of twelve people, two each: six of siemens, three of ge that train, three test people of philips."""
    person = np.repeat(np.arange(12), 2)
    generator = np.random.default_rng(0)
    reference = generator.normal(120, 30, 24)
    vendor = np.select([person < 6, person < 9], ["siemens", "ge"], "philips")
    gain = pd.Series(vendor).map({"siemens": 1.0, "ge": 1.1, "philips": 0.9}).to_numpy()
    table = pd.DataFrame(
        {
            "subject": [f"P{number}" for number in person],
            "protocol": np.where(person < 9, "cv", "test"),
            "fold": np.where(person < 9, person % 3, np.nan),
            "trains": person < 9,
            "sex": np.where(person % 2, "F", "M"),
            "age": 40.0 + 3 * person,
            "vendor": vendor,
            "reference": reference,
            "hu_mean": gain * (1.4 * reference - 1) + 2,
            "usable": True,
        }
    )
    return table.assign(**columns)


def test_the_line_of_one_vendor_is_recovered_exactly():
    table = rows(vendor="siemens")
    table["hu_mean"] = 1.4 * table["reference"] - 1
    values, reasons = predict_baseline(table, HU_LINEAR)
    assert values == pytest.approx(table["reference"].to_numpy()) and set(reasons) == {""}


def test_a_line_a_vendor_calibrates_each_and_has_none_for_a_new_one():
    table = rows()
    values, reasons = predict_baseline(table, HU_LINEAR_VENDOR)
    known = (table["vendor"] != "philips").to_numpy()
    assert values[known] == pytest.approx(table["reference"].to_numpy()[known])
    assert np.isnan(values[~known]).all()
    assert set(reasons[~known]) == {
        "no training vertebra with a reference and a mean HU of the vendor philips"
    }
    common, _ = predict_baseline(table, HU_LINEAR)
    assert abs(common - table["reference"])[known].mean() > 1  # one line suits neither


@pytest.mark.parametrize("method", BASELINES)
def test_nobody_is_predicted_by_a_line_that_saw_their_own_fold(method):
    """References of a fold move the lines of the other folds and of test people, never their own."""
    before, _ = predict_baseline(rows(), method)
    moved = rows()
    own = (moved["fold"] == 1).to_numpy()
    moved.loc[own, "reference"] += np.random.default_rng(1).normal(40, 20, own.sum())
    after, _ = predict_baseline(moved, method)
    assert after[own] == pytest.approx(before[own], nan_ok=True)
    others = ~own & np.isfinite(before)
    assert (abs(after[others] - before[others]) > 1e-6).all()


def test_test_people_and_those_who_do_not_count_train_no_line():
    before, _ = predict_baseline(rows(), HU_LINEAR)
    moved = rows()
    moved.loc[~moved["trains"], "reference"] = 900.0
    assert predict_baseline(moved, HU_LINEAR)[0] == pytest.approx(before)
    moved = rows()
    moved.loc[[0, 1], ["reference", "usable"]] = [500.0, False]
    left = rows().assign(trains=lambda table: table["trains"] & (table.index > 1))
    assert predict_baseline(moved, HU_LINEAR)[0] == pytest.approx(predict_baseline(left, HU_LINEAR)[0])


def test_a_row_without_hu_or_vendor_has_a_reason():
    table = rows()
    table.loc[3, "hu_mean"], table.loc[4, "vendor"] = np.nan, ""
    values, reasons = predict_baseline(table, HU_LINEAR)
    assert np.isnan(values[3]) and reasons[3] == NO_HU and np.isfinite(values[4])
    values, reasons = predict_baseline(table, HU_LINEAR_VENDOR)
    assert reasons[4] == "the vendor is not stated" and np.isnan(values[4])


def test_two_training_vertebrae_make_no_line():
    table = rows(trains=[place < 2 for place in range(24)])
    values, reasons = predict_baseline(table, HU_LINEAR)
    assert np.isnan(values).all()
    # the two are of fold 0, so that people of fold 0 have no training vertebra at all
    assert reasons[0] == "no training vertebra with a reference and a mean HU"
    assert reasons[-1] == "fewer than 3 training vertebrae with different mean HU"


def test_age_and_sex_are_a_plane_over_people():
    table = rows()
    table["reference"] = 200 - 1.5 * table["age"] + 12 * (table["sex"] == "M")
    values, reasons = predict_baseline(table, AGE_SEX)
    assert values == pytest.approx(table["reference"].to_numpy()) and set(reasons) == {""}
    table.loc[0, "age"], table.loc[2, "sex"] = np.nan, ""
    values, reasons = predict_baseline(table, AGE_SEX)
    assert reasons[0] == "the age is not stated" and reasons[2].startswith("no training person of this sex")


def test_one_sex_alone_trains_without_a_coefficient_of_sex():
    table = rows(sex="F")
    table["reference"] = 200 - 1.5 * table["age"]
    assert predict_baseline(table, AGE_SEX)[0] == pytest.approx(table["reference"].to_numpy())
    table.loc[23, "sex"] = "M"
    assert np.isnan(predict_baseline(table, AGE_SEX)[0][23])


def test_people_weigh_alike_in_age_and_sex_whatever_their_number_of_vertebrae():
    table = rows()
    twice = pd.concat([table, table[table["subject"] == "P0"]], ignore_index=True)
    first, second = (predict_baseline(one, AGE_SEX)[0][:24] for one in (table, twice))
    assert first == pytest.approx(second)
