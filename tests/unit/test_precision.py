"""Precision of repeated scans: Glüer's formulae by hand, intervals by simulation, which scans count as repeated."""

import math

import numpy as np
import pytest
from scipy import stats

from lib.report_settings import AgreementConfig
from lib.stats.precision import PRECISION_COLUMNS, measure_precision, precision_table
from lib.stats.tables import metrics_table, structure_key, volumes_table

CONFIG = AgreementConfig()


def test_duplicates_by_hand():
    # differences 2, 4 and 6: SD_j = |d| / sqrt(2), so RMS-SD = sqrt((4 + 16 + 36) / (2 * 3))
    values = np.array([99.0, 101, 198, 202, 297, 303])
    precision = measure_precision(values, np.array([0, 0, 1, 1, 2, 2]), 0.95)
    assert (precision.scans, precision.degrees_of_freedom, precision.mean) == (6, 3, 200)
    assert precision.rms_sd == pytest.approx(math.sqrt(56 / 6))
    # CV_j = 2 %, 2 %, 2 % over sqrt(2)
    assert precision.rms_cv_percent == pytest.approx(2 / math.sqrt(2))
    assert precision.lsc == pytest.approx(2.77 * precision.rms_sd)
    assert precision.lsc_percent == pytest.approx(2.77 * math.sqrt(2))


def test_unequal_numbers_of_scans_weigh_by_degrees_of_freedom():
    values, repeated = np.array([10.0, 12, 14, 20, 22, 7]), np.array([0, 0, 0, 1, 1, 2])
    precision = measure_precision(values, repeated, 0.95)
    assert (precision.scans, precision.degrees_of_freedom) == (5, 3)  # the hip with one scan is left out
    assert precision.mean == pytest.approx((12 + 21) / 2)
    assert precision.rms_sd == pytest.approx(math.sqrt((2 * 4 + 1 * 2) / 3))
    assert precision.rms_cv_percent == pytest.approx(100 * math.sqrt((2 * 4 / 144 + 2 / 441) / 3))


def test_interval_is_that_of_chi_square():
    # 14 people scanned three times: 28 degrees of freedom, chi-square quantiles 15.308 and 44.461 (any table)
    values = np.random.default_rng(1).normal(100, 1, 42)
    precision = measure_precision(values, np.repeat(np.arange(14), 3), 0.95)
    assert precision.degrees_of_freedom == 28
    assert precision.rms_sd_ci_low == pytest.approx(precision.rms_sd * math.sqrt(28 / 44.461), rel=1e-4)
    assert precision.rms_sd_ci_high == pytest.approx(precision.rms_sd * math.sqrt(28 / 15.308), rel=1e-4)
    ratio = precision.rms_cv_percent_ci_high / precision.rms_cv_percent
    assert ratio == pytest.approx(math.sqrt(28 / stats.chi2.ppf(0.025, 28)))
    ratio = precision.rms_cv_percent_ci_low / precision.rms_cv_percent
    assert ratio == pytest.approx(math.sqrt(28 / stats.chi2.ppf(0.975, 28)))


def test_interval_covers_at_its_level():
    generator, repeated = np.random.default_rng(2), np.repeat(np.arange(10), 2)
    held = []
    for _ in range(2000):
        precision = measure_precision(generator.normal(500, 3, 20), repeated, 0.9)
        held.append(precision.rms_sd_ci_low <= 3 <= precision.rms_sd_ci_high)
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_nothing_repeated_has_no_precision_and_no_cv_without_a_positive_mean():
    for values in ([], [3.0, 4.0]):
        precision = measure_precision(np.array(values), np.arange(len(values)), 0.95)
        assert (precision.scans, precision.degrees_of_freedom) == (0, 0)
        assert math.isnan(precision.rms_sd)
    marrow = measure_precision(np.array([-60.0, -58.0]), np.array([0, 0]), 0.95)  # HU of yellow marrow
    assert marrow.rms_sd == pytest.approx(math.sqrt(2))
    assert math.isnan(marrow.rms_cv_percent)
    one_of_two = measure_precision(np.array([-60.0, -58, 40, 42]), np.array([0, 0, 1, 1]), 0.95)
    assert math.isnan(one_of_two.rms_cv_percent)
    around_zero = measure_precision(np.array([-1.0, 1]), np.array([0, 0]), 0.95)
    assert math.isnan(around_zero.lsc_percent)


def prediction(scan, members, protocol, subject="P1"):
    person = {"subject": subject, "sex": "F", "age": "70", "site": "", "fold": 0}
    key = {"group": "all", "network": "vnet", "members": members, "protocol": protocol, "weights": "best"}
    return person | key | {"scan": scan, "structure": "femur"}


def made_tables(planned, repeats, volumes_mm3):
    keys = {structure_key(row): row for row in planned}
    volumes = {key: {"predicted_mm3": volumes_mm3[row["scan"]], "flags": []} for key, row in keys.items()}
    overlaps = {
        key: {"dsc": 0.98, "reference_mm3": volumes_mm3[row["scan"]] + 1}
        for key, row in keys.items()
        if row["protocol"] != "apply"
    }
    return metrics_table(planned, overlaps, volumes, repeats), volumes_table(planned, volumes, repeats)


def test_a_repetition_without_a_reference_counts_with_its_first_scan():
    scored = [prediction("a", "ensemble", "test"), prediction("a", "single", "test-single")]
    planned = [*scored, prediction("b", "ensemble", "apply")]
    table = precision_table(*made_tables(planned, {"b": "a"}, {"a": 100.0, "b": 104.0}), CONFIG)
    assert tuple(table.columns) == PRECISION_COLUMNS
    # with only one reference its precision is unknown
    assert table[["protocol", "measure"]].to_numpy().tolist() == [["test", "predicted_mm3"]]
    assert table["rms_sd"].tolist() == pytest.approx([math.sqrt(8)])
    assert table[["people", "scans", "degrees_of_freedom"]].to_numpy().tolist() == [[1, 2, 1]]


def test_people_without_any_reference_have_a_precision_too():
    planned = [prediction(scan, "ensemble", "apply") for scan in "ab"]
    table = precision_table(*made_tables(planned, {"b": "a"}, {"a": 100.0, "b": 104.0}), CONFIG)
    assert table[["protocol", "scans"]].to_numpy().tolist() == [["apply", 2]]


def test_repetitions_by_other_models_are_not_compared():
    planned = [prediction("a", "fold-0", "cv"), prediction("b", "ensemble", "external")]
    assert precision_table(*made_tables(planned, {"b": "a"}, {"a": 1.0, "b": 2.0}), CONFIG).empty


def test_references_and_predictions_have_rows_of_their_own():
    planned = [prediction(scan, "fold-0", "cv") for scan in "abc"]
    repeats = {"b": "a", "c": "a"}
    table = precision_table(*made_tables(planned, repeats, {"a": 1.0, "b": 2.0, "c": 3.0}), CONFIG)
    assert table["measure"].tolist() == ["predicted_mm3", "reference_mm3"]
    assert table["degrees_of_freedom"].tolist() == [2, 2]
