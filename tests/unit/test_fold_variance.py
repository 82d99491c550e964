"""Spread: levels of the femur; variance of folds and of people, by hand, by simulation and against statsmodels."""

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from lib.report_settings import AgreementConfig
from lib.stats.fold_variance import LEVEL_COLUMNS, SPREAD_COLUMNS, fold_spread, level_table, spread_table
from lib.stats.tables import read_table, write_table
from lib.stats.variance import variance_components
from tests.unit.study_tables import no_metrics, tables

CONFIG = AgreementConfig()


@pytest.fixture(scope="module")
def metrics():
    return tables()[0]


def test_two_folds_by_hand():
    # means 2 and 6, within each fold -1, 0, 1: within variance 1, mean square between 3 * 8 = 24
    spread = fold_spread(np.array([1.0, 2, 3, 5, 6, 7]), np.array([0, 0, 0, 1, 1, 1]))
    assert (spread["people"], spread["folds"], spread["mean"]) == (6, 2, 4)
    assert (spread["fold_mean_low"], spread["fold_mean_high"]) == (2, 6)
    assert spread["sd_of_fold_means"] == pytest.approx(math.sqrt(8))
    assert spread["sd_between_people"] == pytest.approx(1)
    assert spread["sd_expected_by_people"] == pytest.approx(math.sqrt(1 / 3))
    assert spread["sd_between_folds"] == pytest.approx(math.sqrt((24 - 1) / 3))


def test_folds_of_unequal_size_expect_unequal_errors_of_their_means():
    values = np.array([0.0, 2, 5, 7, 3, 9, 11, 9, 12])
    folds = np.repeat([0, 1, 2], [2, 3, 4])
    spread = fold_spread(values, folds)
    within = sum(np.sum((values[folds == k] - values[folds == k].mean()) ** 2) for k in range(3)) / 6
    assert spread["sd_expected_by_people"] == pytest.approx(math.sqrt(within * (1 / 2 + 1 / 3 + 1 / 4) / 3))


def test_components_agree_with_the_analysis_of_variance_of_statsmodels():
    groups = np.repeat(np.arange(6), [3, 5, 2, 7, 4, 4])
    values = np.random.default_rng(3).normal(groups / 3, 1)
    frame = pd.DataFrame({"value": values, "fold": groups.astype(str)})
    mean_square = anova_lm(ols("value ~ fold", frame).fit())["mean_sq"]
    components = variance_components(values, groups)
    assert components.within == pytest.approx(mean_square["Residual"])
    typical = (25 - sum(n * n for n in (3, 5, 2, 7, 4, 4)) / 25) / 5
    assert components.between == pytest.approx((mean_square["fold"] - mean_square["Residual"]) / typical)


def test_equally_good_folds_spread_as_people_make_them():
    generator, folds = np.random.default_rng(8), np.repeat(np.arange(10), 40)
    spreads = [fold_spread(generator.normal(0.98, 0.01, 400), folds) for _ in range(300)]
    seen = np.sqrt(np.mean([spread["sd_of_fold_means"] ** 2 for spread in spreads]))
    expected = np.sqrt(np.mean([spread["sd_expected_by_people"] ** 2 for spread in spreads]))
    assert seen == pytest.approx(expected, rel=0.05)
    worse = generator.normal(0.98, 0.01, 400) - 0.02 * (folds == 3)
    assert fold_spread(worse, folds)["sd_of_fold_means"] > 2 * expected


def test_folds_that_differ_less_than_people_have_no_variance_of_their_own():
    assert fold_spread(np.array([0.0, 10, 0, 10]), np.array([0, 0, 1, 1]))["sd_between_folds"] == 0


def test_one_fold_or_one_person_a_fold_leaves_some_sds_undefined():
    alone = fold_spread(np.array([1.0, 2.0]), np.array([0, 0]))
    assert math.isnan(alone["sd_of_fold_means"])
    assert math.isnan(alone["sd_between_folds"])
    assert alone["sd_between_people"] == pytest.approx(math.sqrt(0.5))
    single = fold_spread(np.array([1.0, 2.0]), np.array([0, 1]))
    assert math.isnan(single["sd_between_people"])
    assert single["sd_of_fold_means"] == pytest.approx(math.sqrt(0.5))


def test_spread_of_a_study(metrics):
    spread = spread_table(metrics, CONFIG)
    assert tuple(spread.columns) == SPREAD_COLUMNS
    assert spread[["group", "measure"]].to_numpy().tolist() == [
        [group, measure] for group in ("all", "male", "female") for measure in ("dsc", "re_percent")
    ]
    cv = metrics[(metrics["protocol"] == "cv") & (metrics["group"] == "male")]
    row = spread[(spread["group"] == "male") & (spread["measure"] == "re_percent")].iloc[0]
    means = cv.groupby("fold")["re_percent"].mean()
    assert (row["people"], row["folds"]) == (26, 5)
    assert row["sd_of_fold_means"] == pytest.approx(means.std(ddof=1))
    assert (row["fold_mean_low"], row["fold_mean_high"]) == pytest.approx((means.min(), means.max()))


def test_numbers_stay_numbers_in_a_file(metrics, tmp_path):
    write_table(spread_table(metrics, CONFIG), tmp_path / "spread.csv")
    again = read_table(tmp_path / "spread.csv")
    assert again["people"].tolist() == spread_table(metrics, CONFIG)["people"].tolist()


def test_a_person_with_several_scans_counts_once(metrics):
    cv = metrics[(metrics["protocol"] == "cv") & (metrics["group"] == "all")]
    # further scans of nine people keep the mean of their Dice, but change the median
    further = [
        cv.head(9).assign(scan=lambda table, name=name: table["scan"] + name, dsc=cv["dsc"].head(9) + change)
        for name, change in (("b", 0.004), ("c", -0.001), ("d", -0.003))
    ]
    spread = spread_table(pd.concat([cv, *further], ignore_index=True), CONFIG)
    pd.testing.assert_frame_equal(spread, spread_table(cv, CONFIG))


def test_levels_that_a_scan_does_not_show_take_no_part(metrics):
    levels = level_table(metrics.assign(dsc_shaft=np.nan), CONFIG)
    assert tuple(levels.columns) == LEVEL_COLUMNS
    test = levels[(levels["group"] == "all") & (levels["protocol"] == "test")]
    assert test["level"].tolist() == ["head", "neck", "trochanter"]
    scores = metrics[(metrics["group"] == "all") & (metrics["protocol"] == "test")]["dsc_neck"]
    neck = test[test["level"] == "neck"].iloc[0]
    assert neck["n"] == 8
    assert neck[["dsc_mean", "dsc_sd", "dsc_min"]].tolist() == pytest.approx(
        [scores.mean(), np.std(scores, ddof=1), scores.min()]
    )


def test_no_references_no_rows():
    assert spread_table(no_metrics(), CONFIG).empty
    assert level_table(no_metrics(), CONFIG).empty
