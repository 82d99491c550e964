"""Tables of densities of a simulated cohort with known truth: rows, means, agreement, vendors, structures found."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

from lib.calibrated import Calibration
from lib.catalog.scales import OF_SYNTHETIC_PEOPLE
from lib.stats.density_people import without_repeated
from lib.stats.density_plan import METHODS, PHANTOM
from lib.stats.density_rows import ABSENT, BMD_COLUMNS, NO_ESTIMATE, NOT_FOUND, bmd_table
from lib.stats.density_scale import (
    scale_of,
    scaled_columns,
    with_scale,
    without_scale,
)
from lib.stats.density_tables import density_tables
from lib.stats.formats import undefined_reasons
from lib.stats.levels_found import LEVELS_FOUND_COLUMNS, levels_found_table
from lib.stats.tables import read_table, write_table
from tests.unit.density_cohort import (
    REGRESSOR,
    SEGMENTATION,
    STRUCTURES,
    plan,
    simulate,
)

BIAS = {"philips": -9.0}


def made(cohort, **changes):
    """The table of vertebrae and the tables made of it, without the scale in their names."""
    settings = plan(**changes)
    bmd = bmd_table(cohort.planned, cohort.inputs, settings)
    tables = density_tables(bmd, settings)
    return {name: without_scale(table) for name, table in {"bmd": bmd, **tables}.items()}


@pytest.fixture(scope="module")
def study():
    return made(simulate(train=12, test=20, bias=BIAS))


def pick(table, **keys):
    for name, value in keys.items():
        table = table[table[name] == value]
    return table


def one(table, **keys):
    (row,) = pick(table, **keys).to_dict("records")
    return row


def person(study, **keys):
    return one(study["bmd_agreement"], **{"kind": "person", "mean_of": "paper", "method": "network"} | keys)


def all_classes(study):
    keys = {"protocol": "test", "vendor": "ge", "method": "network", "mean_of": "paper", "class": "all"}
    return one(study["classes"], **keys)


def test_columns_carry_the_scale_and_lose_it_again():
    names = scaled_columns(("bias", "bias_ci_low", "pearson_r"), ("bias",), "caha")
    assert names == ["bias_caha_mg_cm3", "bias_caha_mg_cm3_ci_low", "pearson_r"]
    assert with_scale({"bias_ci": "why"}, ("bias",), "k2hpo4") == {"bias_k2hpo4_mg_cm3_ci": "why"}
    table = pd.DataFrame(
        {name: [1.0] for name in names} | {"undefined": ["bias_caha_mg_cm3_ci, n: few people"]}
    )
    assert scale_of(table) == "caha" and scale_of(without_scale(table)) == ""
    assert list(without_scale(table)) == ["bias", "bias_ci_low", "pearson_r", "undefined"]
    assert without_scale(table)["undefined"].tolist() == ["bias_ci, n: few people"]


def test_every_vertebra_has_a_row_of_each_method(study):
    bmd = study["bmd"]
    assert list(bmd) == list(BMD_COLUMNS)
    methods = set(METHODS) - {PHANTOM}  # no scan is calibrated
    assert len(bmd) == (2 * 12 + 3 * 20) * len(STRUCTURES) * len(methods)
    assert set(bmd["method"]) == methods and not set(bmd["members"]) & {"single"}
    assert list(dict.fromkeys(bmd["protocol"])) == ["cv", "test"]
    assert not bmd[["reference", "hu_mean"]].isna().any(axis=None)


def test_a_calibration_of_the_scan_stands_beside_the_network():
    cohort = simulate(train=6, test=6)
    exact, refused, other, *_ = cohort.scans("test", "ge")
    line = {"method": "phantom", "slope_hu_per_mg_cm3": 1.385, "intercept_hu": -0.6}
    calibrations = {
        exact: Calibration(**line, scale="k2hpo4"),
        refused: Calibration(method="phantom", scale="k2hpo4", verdict="refused", reason="too_few_rods"),
        other: Calibration(**line, scale="caha"),
    }
    bmd = without_scale(bmd_table(cohort.planned, replace(cohort.inputs, calibrations=calibrations), plan()))
    rows = pick(bmd, method=PHANTOM, structure="L1").set_index("scan")
    assert set(rows.index) == {row["scan"] for row in cohort.planned}
    hu = cohort.level(exact, "L1")["hu_mean"]
    assert rows.loc[exact, "predicted"] == pytest.approx((hu + 0.6) / 1.385)
    assert rows["predicted"].notna().sum() == 1
    for scan, words in (
        (refused, "too_few_rods"),
        (other, "calibrated in caha"),
        (cohort.scans("train")[0], "has no"),
    ):
        assert words in rows.loc[scan, "undefined"]


def test_empty_numbers_have_reasons(study):
    numbers = [name for name in BMD_COLUMNS if name not in ("fold",)]
    for row in study["bmd"].to_dict("records"):
        empty = {name for name in numbers if isinstance(row[name], float) and np.isnan(row[name])}
        assert empty <= set(undefined_reasons(row["undefined"])), row
    for name in ("bmd_agreement", "vendors", "classes"):
        for row in study[name].to_dict("records"):
            empty = {key for key, value in row.items() if isinstance(value, float) and np.isnan(value)}
            named = {key.replace("_ci_low", "_ci").replace("_ci_high", "_ci") for key in empty}
            assert named == set(undefined_reasons(row["undefined"])), (name, row)
            assert all(undefined_reasons(row["undefined"]).values())


def test_the_bias_of_the_new_vendor_is_found_with_its_interval(study):
    new, old = person(study, protocol="test", vendor="philips"), person(study, protocol="test", vendor="ge")
    assert new["bias"] == pytest.approx(-9, abs=1.5) and new["bias_ci_low"] < -9 < new["bias_ci_high"]
    assert abs(old["bias"]) < 1.5 and old["n_people"] == 20 and old["n_vertebrae"] == 80
    assert (new["vendor_trained"], old["vendor_trained"]) == ("no", "yes")
    assert new["calibration_in_the_large"] == -new["bias"]
    assert min(new["pearson_r"], old["pearson_r"]) > 0.98  # r alone does not see the bias
    assert old["slope"] == pytest.approx(1, abs=0.05)


def test_the_line_of_hu_shows_the_gain_of_each_vendor(study):
    """The common line is one of siemens and ge together; philips shows 0.965 HU - 6, so it reads too little."""
    line = person(study, protocol="test", vendor="philips", method="hu_linear")
    assert -14 < line["bias"] < -4
    own = person(study, protocol="test", vendor="ge", method="hu_linear_vendor")
    assert (
        abs(own["bias"]) < 1
        and own["rmse"] < person(study, protocol="test", vendor="ge", method="hu_linear")["rmse"]
    )
    lost = person(study, protocol="test", vendor="philips", method="hu_linear_vendor")
    assert lost["n_people"] == 0 and lost["left_out"] == 20 and np.isnan(lost["bias"])
    assert (
        lost["left_out_reason"] == "no training vertebra with a reference and a mean HU of the vendor philips"
    )
    assert person(study, protocol="test", vendor="ge", method="age_sex")["rmse"] > 10


def test_the_difference_of_rmse_is_that_of_both_methods(study):
    for vendor in ("ge", "siemens", "philips"):
        own, line = (
            person(study, protocol="test", vendor=vendor, method=m) for m in ("network", "hu_linear")
        )
        assert own["rmse_difference"] == pytest.approx(own["rmse"] - line["rmse"])
        assert own["rmse_difference_ci_low"] < own["rmse_difference"] < own["rmse_difference_ci_high"]
        assert np.isnan(line["rmse_difference"])


def test_cross_validation_is_never_pooled_with_tests(study):
    rows = study["bmd_agreement"]
    assert set(rows["protocol"]) == {"cv", "test"}
    everybody = person(study, protocol="test", vendor="all")
    assert everybody["n_people"] == 60 and everybody["vendor_trained"] == ""
    assert person(study, protocol="cv", vendor="all")["n_people"] == 24
    assert set(pick(rows, protocol="cv")["vendor"]) == {"all", "ge", "siemens"}
    for table in (study["classes"], study["confusion"], study["vendors"]):
        assert set(table["protocol"]) <= {"cv", "test"}


def test_vertebrae_have_within_person_correlation_and_components(study):
    of_ge = {"protocol": "test", "vendor": "ge", "method": "network"}
    row = one(study["bmd_agreement"], kind="vertebra", structure="all", **of_ge)
    subset = pick(study["bmd"], **of_ge)
    known = pingouin.rm_corr(data=subset, x="reference", y="predicted", subject="subject")["r"].iloc[0]
    assert (
        row["within_person_r"] == pytest.approx(known, abs=1e-6) and row["within_person_r"] < row["pearson_r"]
    )
    assert row["sd_between_people"] < row["sd_within_people"] == pytest.approx(np.sqrt(9 + 4), rel=0.25)
    single = one(study["bmd_agreement"], kind="vertebra", structure="L2", **of_ge)
    assert single["n_people"] == single["n_vertebrae"] == 20 and np.isnan(single["within_person_r"])


def test_means_are_over_usable_structures_with_both_values():
    cohort = simulate(train=6, test=3)
    first, second, third = cohort.scans("test", "ge")
    cohort.flag(first, "L2", "fracture_suspected")
    for name in STRUCTURES[1:]:
        cohort.flag(second, name, "level_missing")
    del cohort.references[third]["L4"]
    cohort = replace(cohort, absent={third: ("L1",)})
    study = made(cohort)
    means = pick(study["bmd_people"], method="network", mean_of="paper").set_index("scan")
    assert means.loc[first, "levels_used"] == "L1 L3 L4" and means.loc[first, "levels_left_out"] == "L2"
    own = pick(study["bmd"], scan=first, method="network").set_index("structure")
    assert means.loc[first, "reference"] == pytest.approx(own.loc[["L1", "L3", "L4"], "reference"].mean())
    assert means.loc[first, "predicted"] == pytest.approx(own.loc[["L1", "L3", "L4"], "predicted"].mean())
    assert np.isfinite(own.loc["L2", "predicted"])  # given, though it does not count
    assert means.loc[second, "levels_used"] == "L1" and np.isnan(means.loc[second, "predicted"])
    assert means.loc[second, "class_withheld"] == "fewer than 2 usable structures"
    lost = pick(study["bmd"], scan=second, method="network").set_index("structure")
    assert undefined_reasons(lost.loc["L2", "undefined"])["predicted"] == "level_missing"
    assert means.loc[third, "levels_used"] == "L2 L3"
    absent = one(study["bmd"], scan=third, structure="L1", method="network")
    assert undefined_reasons(absent["undefined"])["reference"] == ABSENT and absent["usable"] == "no"
    row = person(study, protocol="test", vendor="ge")
    assert (row["n_people"], row["left_out"]) == (2, 1)
    assert row["left_out_reason"] == "fewer than 2 usable structures"
    vertebrae = one(
        study["bmd_agreement"],
        protocol="test",
        vendor="ge",
        method="network",
        kind="vertebra",
        structure="all",
    )
    assert (vertebrae["n_vertebrae"], vertebrae["left_out"]) == (3 + 1 + 2, 4)
    assert vertebrae["left_out_reason"] == "level missing (3); fracture suspected (1)"


def test_nobody_with_all_four_structures_still_gives_means():
    cohort = simulate(train=6, test=8)
    for number, scan in enumerate(cohort.scans("test")):
        cohort.flag(scan, STRUCTURES[number % 4], "fracture_suspected")
    study = made(cohort)
    means = pick(study["bmd_people"], protocol="test", mean_of="paper", method="network")
    assert set(means["levels_used"].str.split().str.len()) == {3} and means["reference"].notna().all()
    iscd = pick(study["bmd_people"], protocol="test", mean_of="iscd", method="network")
    assert (iscd["class_withheld"] != "").sum() == 12 and iscd["predicted"].isna().sum() == 12


def test_missing_predictions_are_told_and_not_filled_in():
    cohort = simulate(train=6, test=4)
    first, second, *_ = cohort.scans("test", "ge")
    for name in STRUCTURES:
        del cohort.estimates[cohort.key(REGRESSOR, first, name)]
        del cohort.levels[cohort.key(SEGMENTATION, second, name)]
    del cohort.levels[cohort.key(SEGMENTATION, second, "scan")]
    study = made(cohort)
    rows = pick(study["bmd"], scan=first, method="network")
    assert {undefined_reasons(text)["predicted"] for text in rows["undefined"]} == {NO_ESTIMATE}
    assert pick(study["bmd"], scan=first, method="hu_linear")["predicted"].notna().all()
    rows = pick(study["bmd"], scan=second)
    assert rows["predicted"].isna().all() and set(rows["usable"]) == {"no"}
    assert {undefined_reasons(text)["predicted"] for text in rows["undefined"]} == {NOT_FOUND}
    row = person(study, protocol="test", vendor="ge")
    assert (row["n_people"], row["left_out"]) == (2, 2)
    # the pair of methods is compared on the people of both
    assert np.isfinite(row["rmse_difference"])
    assert all_classes(study)["withheld"] == 2


def test_a_vendor_with_two_people_has_numbers_and_no_interval():
    study = made(simulate(train=6, test=2))
    row = person(study, protocol="test", vendor="philips")
    assert row["n_people"] == 2 and np.isfinite([row["bias"], row["rmse"], row["sd"]]).all()
    assert np.isnan(row["bias_ci_low"])
    assert undefined_reasons(row["undefined"])["bias_ci"] == "fewer than 6 people"
    pairs = pick(study["vendors"], protocol="test", method="network", mean_of="paper", measure="bias")
    assert len(pairs) == 4 and np.isfinite(pairs["p_value"]).all()
    slopes = pick(study["vendors"], protocol="test", method="network", mean_of="paper", measure="slope")
    assert slopes["p_value"].isna().all() and all("too few people" in text for text in slopes["undefined"])


def test_one_person_has_a_bias_and_nothing_else():
    row = person(made(simulate(train=6, test=1)), protocol="test", vendor="philips")
    assert row["n_people"] == 1 and np.isfinite(row["bias"]) and row["rmse"] == abs(row["bias"])
    assert np.isnan([row["sd"], row["pearson_r"], row["bias_ci_low"]]).all()


def test_scans_with_contrast_medium_have_rows_of_their_own_and_no_class():
    cohort = simulate(train=6, test=8)
    scans = cohort.scans("test", "ge")[:3]
    for scan in scans:
        cohort.flag(scan, "scan", "contrast")
    study = made(cohort)
    rows = pick(study["bmd_agreement"], protocol="test", method="network", kind="person", mean_of="paper")
    assert one(rows, vendor="ge", contrast="no")["n_people"] == 5
    assert one(rows, vendor="ge", contrast="yes")["n_people"] == 3
    classes = all_classes(study)
    assert (classes["n"], classes["withheld"]) == (5, 3)
    assert classes["withheld_reason"] == "contrast medium raises the density"
    bias = pick(study["vendors"], protocol="test", measure="bias", method="network", mean_of="paper")
    assert one(bias, vendor_a="ge", vendor_b="siemens")["n_a"] == 5


def test_flags_of_the_scan_that_forbid_a_density_take_all_of_its_structures():
    cohort = simulate(train=6, test=2)
    scan = cohort.scans("test")[0]
    cohort.flag(scan, "scan", "levels_out_of_order", withheld="levels_out_of_order")
    rows = pick(made(cohort)["bmd"], scan=scan)
    assert rows["predicted"].isna().all() and set(rows["usable"]) == {"no"}


def test_vendors_are_compared_as_in_libraries(study):
    means = pick(study["bmd_people"], protocol="test", method="network", mean_of="paper")
    means = means.assign(difference=means["predicted"] - means["reference"])
    rows = pick(study["vendors"], protocol="test", method="network", mean_of="paper", measure="bias")
    together = one(rows, vendor_a="all")
    known = pingouin.welch_anova(data=means, dv="difference", between="vendor").iloc[0]
    p_name = next(name for name in known.index if name.lower().startswith("p"))
    assert together["p_value"] == pytest.approx(known[p_name], rel=1e-6)
    assert together["statistic"] == pytest.approx(known["F"])
    pairs = rows[rows["vendor_a"] != "all"]
    for pair in pairs.to_dict("records"):
        first, second = (means.loc[means["vendor"] == pair[f"vendor_{end}"], "difference"] for end in "ab")
        tested = stats.ttest_ind(first, second, equal_var=False)
        assert pair["p_value"] == pytest.approx(tested.pvalue) and pair["n_a"] == 20
        low, high = tested.confidence_interval(0.95)
        assert (pair["difference_ci_low"], pair["difference_ci_high"]) == pytest.approx((low, high))
    assert pairs["holm_p_value"].to_numpy() == pytest.approx(
        multipletests(pairs["p_value"], method="holm")[1]
    )
    assert set(pairs["family"]) == {3}
    new = one(pairs, vendor_a="ge", vendor_b="philips")
    assert new["difference"] == pytest.approx(9, abs=2) and new["holm_p_value"] < 1e-6
    assert new["unit"] == "k2hpo4_mg_cm3"
    assert one(pairs, vendor_a="ge", vendor_b="siemens")["holm_p_value"] > 0.01


def test_slopes_of_vendors_are_compared_by_an_interaction(study):
    means = pick(study["bmd_people"], protocol="test", method="network", mean_of="paper")
    rows = pick(study["vendors"], protocol="test", method="network", mean_of="paper", measure="slope")
    fit = ols("predicted ~ reference * C(vendor)", means).fit()
    known = fit.f_test("reference:C(vendor)[T.philips] = 0, reference:C(vendor)[T.siemens] = 0")
    together = one(rows, vendor_a="all")
    assert together["p_value"] == pytest.approx(float(known.pvalue))
    assert together["statistic"] == pytest.approx(float(np.squeeze(known.fvalue)))
    pair = one(rows, vendor_a="ge", vendor_b="philips")
    assert pair["difference"] == pytest.approx(-fit.params["reference:C(vendor)[T.philips]"])
    assert pair["p_value"] == pytest.approx(fit.pvalues["reference:C(vendor)[T.philips]"])
    low, high = fit.conf_int().loc["reference:C(vendor)[T.philips]"]
    assert (pair["difference_ci_low"], pair["difference_ci_high"]) == pytest.approx((-high, -low))


def test_dice_of_vendors_is_compared_once_a_mean(study):
    rows = pick(study["vendors"], measure="dsc", protocol="test")
    assert set(rows["method"]) == {""} and len(rows) == 2 * 4
    dice = pick(study["bmd"], protocol="test", method="network").groupby("vendor")["mask_dsc"].mean()
    pair = one(rows, mean_of="paper", vendor_a="ge", vendor_b="siemens")
    assert pair["value_a"] == pytest.approx(dice["ge"]) and pair["value_b"] == pytest.approx(dice["siemens"])


def test_one_vendor_is_compared_with_nobody():
    study = made(simulate(train=6, test=8, vendors=("ge",)))
    assert study["vendors"].empty and set(study["bmd_agreement"]["vendor"]) == {"ge"}


def test_finished_models_have_no_lines_and_an_unknown_training():
    cohort = simulate(train=0, test=8)
    study = made(cohort)
    row = person(study, protocol="test", vendor="ge")
    assert row["vendor_trained"] == "" and row["n_people"] == 8
    assert (
        np.isnan(row["rmse_difference"])
        and "hu_linear" in undefined_reasons(row["undefined"])["rmse_difference"]
    )
    line = pick(study["bmd"], method="hu_linear")
    assert line["predicted"].isna().all()


def test_a_repeated_scan_counts_only_without_its_first():
    table = pd.DataFrame(
        {"scan": ["A", "B", "D"], "repeat_of": ["", "A", "C"], "method": "network", "structure": "L1"}
        | {"group": "all", "network": "n", "members": "ensemble", "protocol": "test"}
    )
    assert without_repeated(table)["scan"].tolist() == ["A", "D"]


def test_an_untrained_network_shows_no_correlation_within_or_between_people():
    """A constant reading has no correlation at all, a reading of noise about 0: neither flatters."""
    cohort = simulate(train=6, test=30, vendors=("ge",))
    generator = np.random.default_rng(0)
    for key, record in cohort.estimates.items():
        cohort.estimates[key] = record | {"value": 120 + generator.normal(0, 1)}
    row = person(made(cohort), protocol="test", vendor="ge")
    assert row["pearson_r_ci_low"] < 0 < row["pearson_r_ci_high"] and row["r2"] < 0.1


def test_tables_are_read_as_they_were_written(study, tmp_path):
    cohort = simulate(train=6, test=3)
    bmd = bmd_table(cohort.planned, cohort.inputs, plan())
    write_table(bmd, tmp_path / "bmd.csv")
    again = density_tables(read_table(tmp_path / "bmd.csv"), plan())
    for name, table in density_tables(bmd, plan()).items():
        numbers = table.select_dtypes("number").columns
        assert np.allclose(
            again[name][numbers].astype(float),
            table[numbers].astype(float),
            rtol=1e-5,
            atol=1e-6,
            equal_nan=True,
        ), name
        write_table(table, tmp_path / f"{name}.csv")
        assert list(read_table(tmp_path / f"{name}.csv")) == list(table)


def test_structures_found_are_listed_with_shape_and_flags():
    cohort = simulate(train=4, test=2)
    scan = cohort.scans("test")[0]
    cohort.flag(scan, "L3", "level_cut_by_scan")
    cohort.levels[cohort.key(SEGMENTATION, scan, "L4")] = {
        "found": False, "voxels_mm3": 0.0, "components": 0, "centroid_mm_xyz": None, "height_mm": None,
        "hu_mean": None, "hu_sd": None, "eroded_mm3": None, "flags": ["level_missing"], "usable": False,
        "undefined": {"hu_mean": "no voxel"},
    }  # fmt: skip
    table = levels_found_table(cohort.planned, STRUCTURES, (cohort.levels, cohort.overlaps), cohort.vendors)
    assert list(table) == list(LEVELS_FOUND_COLUMNS) and set(table["network"]) == {SEGMENTATION}
    assert len(table) == (2 * 4 + 3 * 2) * len(STRUCTURES)  # the single model measures nothing here
    lost = one(table, scan=scan, structure="L4")
    assert (lost["found"], lost["usable"], lost["flags"]) == ("no", "no", "level_missing")
    why = undefined_reasons(lost["undefined"])
    assert why["hu_mean"] == "no voxel" and why["centroid_x_mm"] == why["height_middle_mm"] == "not found"
    fine = one(table, scan=scan, structure="L2")
    assert fine["centroid_z_mm"] == -35.0 and fine["height_posterior_mm"] == 27.5 and fine["undefined"] == ""


def test_models_of_synthetic_people_give_no_density_of_real_ones():
    study = made(simulate(train=0, test=8), refused=OF_SYNTHETIC_PEOPLE)
    rows = pick(study["bmd"], method="network")
    assert rows["predicted"].isna().all() and rows["predicted_sd"].isna().all()
    assert {undefined_reasons(text)["predicted"] for text in rows["undefined"]} == {OF_SYNTHETIC_PEOPLE}
    assert rows["hu_mean"].notna().all()
