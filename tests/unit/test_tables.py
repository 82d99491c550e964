"""Tables: columns of the contract, separate protocols, people counted once, ages that do not identify."""

import math

import numpy as np
import pandas as pd
import pytest

from lib.ages import printed_age
from lib.catalog.measures import ABOVE_CUT
from lib.errors import TableError
from lib.report_settings import AgreementConfig
from lib.stats.agreement_tables import agreement_table, fold_table
from lib.stats.fold_variance import level_table, spread_table
from lib.stats.grouping import age_band, first_scans, without_repeats
from lib.stats.paired import paired_table
from lib.stats.paper import table1, table2
from lib.stats.scores import score_table
from lib.stats.scores_by_age import age_table
from lib.stats.tables import (
    METRIC_COLUMNS,
    UNSCORED_COLUMNS,
    VOLUME_COLUMNS,
    metrics_table,
    read_table,
    structure_key,
    unscored_table,
    volumes_table,
    with_corrected,
    with_flag,
    write_table,
)
from lib.stats.unscored import find_gaps, with_gaps
from tests.unit.study_tables import (
    measurements,
    no_metrics,
    none_unscored,
    people,
    predictions,
    tables,
    unscored,
    volume_agreement,
)

CONFIG = AgreementConfig()


@pytest.fixture(scope="module")
def metrics():
    return tables()[0]


def test_metrics_have_the_columns_of_the_contract(metrics):
    contract = (
        "group,network,members,protocol,weights,scan,structure,subject,sex,age,site,fold,dsc,dsc_native,sensitivity,specificity,"
        "precision,hd95_mm,assd_mm,nsd,reference_mm3,reference_native_mm3,predicted_mm3,re_percent,otsu_threshold,flags"
    )
    further = ",member_dice,mean_entropy_bits,repeat_of,undefined"
    further += ",reference_cut_mm3,predicted_cut_mm3,reference_lesser_trochanter_mm,lesser_trochanter_mm"
    further += (
        ",hd_mm,hd_reference_to_predicted_mm,hd_predicted_to_reference_mm,hd95_reference_to_predicted_mm"
    )
    further += ",hd95_predicted_to_reference_mm,volume_error_mm3,specificity_voxels"
    further += ",dsc_head,dsc_neck,dsc_trochanter,dsc_shaft"
    further += ",true_positive_voxels,false_positive_voxels,false_negative_voxels,true_negative_voxels"
    further += ",side,spacing_x_mm,spacing_y_mm,spacing_z_mm,nsd_tolerance_mm"
    further += ",member_range_percent,interval_low_mm3,interval_high_mm3,interval_percent"
    further += ",auc_pr,auc_roc,dsc_half,dsc_raw,precision_raw,recall_raw,hd95_raw_mm"
    assert ",".join(metrics.columns) == contract + further == ",".join(METRIC_COLUMNS)


def test_volumes_have_the_columns_of_the_contract():
    contract = (
        "group,network,members,protocol,weights,scan,structure,subject,sex,age,site,fold,predicted_mm3,predicted_full_mm3,"
        "predicted_at_half_mm3,otsu_threshold,mean_value,sd_value,truncated_distally,length_mm,density_phantom_in_view,flags"
    )
    further = ",member_dice,mean_entropy_bits,undefined"
    further += (
        ",lesser_trochanter_mm,shaft_below_trochanter_mm,predicted_cut_mm3,corrected_mm3,repeat_of,final_mm3"
    )
    further += ",member_range_percent,interval_low_mm3,interval_high_mm3,interval_percent"
    assert ",".join(tables()[1].columns) == contract + further == ",".join(VOLUME_COLUMNS)


def test_agreement_has_the_columns_of_the_contract(metrics):
    contract = (
        "group,network,protocol,stratum,structure,region,compartment,measure,unit,n,reference_mean,reference_sd,mae,"
        "rmse,r2,pearson_r,pearson_p_value,slope,intercept,re_min_percent,re_max_percent,bias,loa_low,loa_high,ccc"
    )
    table = agreement_table(measurements(metrics), CONFIG)
    found = [name for name in table.columns if "_ci_" not in name]
    assert ",".join(found) == contract + (
        ",proportional_bias,scans,difference_sd,icc,re_mean_percent,re_sd_percent,mape_percent"
        ",loa_low_percent,loa_high_percent,growing_spread_p_value,limits_to_use,folds,undefined"
    )


def test_protocols_and_cohorts_are_never_pooled(metrics):
    agreement = agreement_table(measurements(metrics), CONFIG)
    everybody = agreement[agreement["stratum"] == "all"].set_index(["group", "protocol"])
    assert list(everybody.index[:3]) == [("all", "cv"), ("all", "test"), ("all", "test-single")]
    assert everybody.loc[("all", "cv"), "n"] == 52
    assert everybody.loc[("all", "test"), "n"] == 8
    assert everybody.loc[("male", "cv"), "n"] + everybody.loc[("female", "cv"), "n"] == 52
    men = agreement[
        (agreement["group"] == "all") & (agreement["protocol"] == "cv") & (agreement["stratum"] == "sex=M")
    ]
    assert men["n"].item() == 26


def test_folds_and_weights_say_who_predicted(metrics):
    cv = metrics[metrics["protocol"] == "cv"]
    assert (cv["members"] == "fold-" + cv["fold"].astype(str)).all()
    assert set(cv["weights"]) == {"last"}
    rest = metrics[metrics["protocol"] != "cv"]
    assert rest["fold"].isna().all()
    assert set(rest["weights"]) == {"best"}


def test_fold_table_has_a_row_for_each_model(metrics):
    folds = fold_table(metrics, CONFIG)
    assert len(folds) == 3 * 5
    assert folds.loc[folds["group"] == "all", "n"].sum() == 52
    men = metrics[(metrics["group"] == "male") & (metrics["fold"] == 3)]
    row = folds[(folds["group"] == "male") & (folds["fold"] == 3)].iloc[0]
    errors = men["predicted_mm3"] - men["reference_mm3"]
    assert row[["dsc_mean", "bias_mm3", "mae_mm3"]].tolist() == pytest.approx(
        [men["dsc"].mean(), errors.mean(), errors.abs().mean()]
    )


def test_table1_shows_test_people_and_the_paper_only_beside_people(metrics):
    agreement = agreement_table(measurements(metrics), CONFIG)
    real = table1(agreement, metrics, none_unscored(), published=True)
    assert set(real["protocol"]) == {"test", "test-single"}
    assert list(real["group"].unique()) == ["all", "male", "female"]
    assert real.loc[real["group"] == "male", "paper_r2"].unique() == [0.9977]
    assert real["weights"].unique() == ["best"]
    synthetic = table1(agreement, metrics, none_unscored(), published=False)
    assert not [name for name in synthetic if name.startswith("paper")]
    assert len(synthetic) == len(real)
    women = metrics[(metrics["group"] == "female") & (metrics["protocol"] == "test")]
    row = synthetic.set_index(["group", "protocol"]).loc[("female", "test")]
    errors = (women["predicted_mm3"] - women["reference_mm3"]).abs()
    assert (row["n"], row["mae_mm3"]) == pytest.approx((4, errors.mean()))
    everybody = synthetic.set_index(["group", "protocol"]).loc[("all", "test"), "n"]
    assert everybody == 8  # and not a row of one sex within the group of all


def test_a_repeated_scan_is_no_further_person():
    placements = people(4, 0)
    placements.append(placements[0] | {"scan": "P900"})
    planned = [row for row in predictions(placements) if row["group"] == "all"]
    overlap = {"dsc": 0.9, "reference_mm3": 100.0, "predicted_mm3": 101.0, "re_percent": 1.0}
    overlaps = {structure_key(row): overlap for row in planned}
    table = metrics_table(planned, overlaps, {}, {"P900": "P000"})
    assert len(table) == 5
    assert set(table["scan"]) - set(without_repeats(table)["scan"]) == {"P900"}
    alone = table[table["scan"] != "P000"]
    assert len(without_repeats(alone)) == 4  # its first scan is not scored: the repeated one counts
    agreement = agreement_table(measurements(table), CONFIG)
    assert agreement[["n", "scans"]].iloc[0].tolist() == [4, 4]


@pytest.mark.parametrize(
    "make",
    [
        lambda table: agreement_table(measurements(table), CONFIG),
        lambda table: table1(
            agreement_table(measurements(table), CONFIG), table, none_unscored(), published=True
        ),
        lambda table: table2(table, none_unscored(), [], published=True),
        lambda table: score_table(table, CONFIG),
        lambda table: fold_table(table, CONFIG),
        lambda table: paired_table(table, CONFIG),
        lambda table: age_table(table, CONFIG),
        lambda table: level_table(table, CONFIG),
        lambda table: spread_table(table, CONFIG),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_repeated_scans_change_no_table_of_people(metrics, make, first):
    worse = {"predicted_mm3": 1.1 * metrics["predicted_mm3"], "re_percent": 9.0, "dsc": 0.5, "dsc_neck": 0.5}
    again = metrics.assign(repeat_of=metrics["scan"], scan=metrics["scan"] + "b", **worse)
    both = pd.concat([again, metrics] if first else [metrics, again], ignore_index=True)
    pd.testing.assert_frame_equal(make(both), make(metrics))


def test_of_repetitions_whose_first_scan_is_missing_one_stays():
    placements = people(2, 0)
    again = [placements[0] | {"scan": scan} for scan in ("P901", "P902")]
    planned = [row for row in predictions([*placements[1:], *again]) if row["group"] == "all"]
    overlaps = {structure_key(row): {"dsc": 0.9} for row in planned}
    table = metrics_table(planned, overlaps, {}, {"P901": "P000", "P902": "P000"})
    assert without_repeats(table)["scan"].tolist() == ["P001", "P901"]


def test_chains_of_repetitions_lead_to_one_first_scan():
    assert first_scans({"a": "", "b": "a", "c": "b", "d": ""}) == {"b": "a", "c": "a"}
    with pytest.raises(TableError, match="a, b repeat one another"):
        first_scans({"a": "b", "b": "a"})


def test_volumes_at_the_distal_cut_have_a_table_of_their_own(metrics):
    assert volume_agreement(metrics, CONFIG, ABOVE_CUT).empty  # no cut is set in this study
    known = metrics["subject"] < "P030"
    cut = metrics.assign(
        reference_cut_mm3=metrics["reference_mm3"].where(known),
        predicted_cut_mm3=metrics["reference_mm3"] - 7,
    )
    table = volume_agreement(cut, CONFIG, ABOVE_CUT).set_index(["group", "protocol", "stratum"])
    row = table.loc[("all", "cv", "all")]
    assert (row["n"], row["bias_mm3"], row["mae_mm3"]) == pytest.approx((22, -7, 7))
    assert table.loc[("all", "test", "all"), "n"] == 8


def test_a_repetition_with_a_cut_stands_for_a_first_scan_without_one(metrics):
    first = metrics[(metrics["group"] == "all") & (metrics["scan"] == "P020")]
    first = first.assign(reference_cut_mm3=math.nan, predicted_cut_mm3=90.0)
    again = first.assign(scan="P020b", repeat_of="P020", reference_cut_mm3=80.0)
    table = volume_agreement(pd.concat([first, again], ignore_index=True), CONFIG, ABOVE_CUT)
    assert table[["n", "scans", "bias_mm3"]].iloc[0].tolist() == [1, 1, 10]


def test_paired_models_say_how_long_each_was_trained(metrics):
    runs = [{"group": "all", "network": "vnet", "updates": updates} for updates in (900, 1000)]
    runs.append({"group": "male", "network": "vnet", "updates": 500})
    paired = paired_table(metrics, CONFIG, runs).set_index(["protocol", "group"])
    assert paired.loc[("cv", "male"), ["first_updates", "second_updates"]].tolist() == [500, 950]
    assert math.isnan(paired.loc[("cv", "female"), "first_updates"])


def test_sex_specific_models_are_compared_on_the_same_people(metrics):
    paired = paired_table(metrics, CONFIG).set_index(["protocol", "group"])
    assert paired.loc[("cv", "male"), "n"] == 26
    both = metrics[metrics["protocol"] == "cv"].assign(
        error=lambda t: (t["predicted_mm3"] - t["reference_mm3"]).abs()
    )
    own = both[both["group"] == "male"].set_index("scan")["error"]
    common = both[both["group"] == "all"].set_index("scan")["error"].loc[own.index]
    assert paired.loc[("cv", "male"), "difference_mm3"] == pytest.approx((own - common).mean())


def test_scans_that_only_one_of_two_models_predicted_are_not_compared(metrics):
    # the other hip of a man, which the men's model missed: it must not be paired with his first one
    other = metrics[(metrics["group"] == "all") & (metrics["scan"] == "P010")]
    other = other.assign(scan="P010b", predicted_mm3=0.0)
    paired = paired_table(pd.concat([metrics, other], ignore_index=True), CONFIG)
    pd.testing.assert_frame_equal(paired, paired_table(metrics, CONFIG))


def test_several_scans_of_a_person_count_with_their_mean_error(metrics):
    # the errors of two further scans are 0 and 5 times that of the first: twice as large on average
    error = metrics["predicted_mm3"] - metrics["reference_mm3"]
    further = [
        metrics.assign(scan=metrics["scan"] + name, predicted_mm3=metrics["reference_mm3"] + times * error)
        for name, times in (("b", 0), ("c", 5))
    ]
    several = paired_table(pd.concat([metrics, *further], ignore_index=True), CONFIG)
    once = paired_table(metrics, CONFIG)
    assert several["n"].tolist() == once["n"].tolist()
    assert several["difference_mm3"].tolist() == pytest.approx((2 * once["difference_mm3"]).tolist())


def test_without_a_model_of_everybody_nothing_is_paired(metrics):
    assert paired_table(metrics[metrics["group"] != "all"], CONFIG).empty
    men = paired_table(metrics[metrics["group"] != "female"], CONFIG)
    assert set(men["group"]) == {"male"}


def test_age_bands_cover_everybody(metrics):
    bands = age_table(metrics, CONFIG)
    counted = bands[(bands["group"] == "all") & (bands["protocol"] == "cv")]
    assert counted["n"].sum() == 52
    for _, site in counted.groupby("site"):
        assert site["age_band"].tolist() == ["below 50", "50-59", "60-69", "70-79", "80 and over"]
    seventies = metrics[metrics["age"].isin([str(age) for age in range(70, 80)])]
    group = seventies[
        (seventies["group"] == "all") & (seventies["protocol"] == "cv") & (seventies["site"] == "north")
    ]
    row = counted[(counted["site"] == "north") & (counted["age_band"] == "70-79")].iloc[0]
    expected = {
        "scans": len(group),
        "dsc_mean": group["dsc"].mean(),
        "hd95_mm_median": group["hd95_mm"].median(),
        "mae_mm3": (group["predicted_mm3"] - group["reference_mm3"]).abs().mean(),
        "re_mean_percent": group["re_percent"].mean(),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("age", "printed", "band"),
    [
        (89.9, "89", "80 and over"),
        (90, "90+", "80 and over"),
        ("104", "90+", "80 and over"),
        ("90+", "90+", "80 and over"),
    ]
    + [
        (27.5, "27", "below 50"),
        (50, "50", "50-59"),
        ("", "", "unknown"),
        (None, "", "unknown"),
        (math.nan, "", "unknown"),
    ],
)
def test_ages_of_ninety_and_more_are_not_told(age, printed, band):
    assert printed_age(age) == printed
    assert age_band(age) == band


def test_predictions_without_a_file_have_no_row():
    planned = [row for row in predictions(people(3, 0)) if row["group"] == "all"]
    volumes = volumes_table(planned, {"all/vnet/fold-1/P001/femur": {"predicted_mm3": 5.0}})
    assert volumes[["scan", "predicted_mm3"]].to_numpy().tolist() == [["P001", 5.0]]
    assert metrics_table(planned, {}, {}, {}).empty


def test_undefined_scores_stay_empty_and_say_why(tmp_path):
    planned = [row for row in predictions(people(1, 0)) if row["group"] == "all"]
    overlap = {"dsc": 0.0, "hd95_mm": None, "undefined": {"hd95_mm": "the predicted mask is empty"}}
    table = metrics_table(planned, {"all/vnet/fold-0/P000/femur": overlap}, {}, {})
    write_table(table, tmp_path / "metrics.csv")
    again = read_table(tmp_path / "metrics.csv")
    assert again["dsc"].item() == 0
    assert math.isnan(again["hd95_mm"].item())
    assert again["undefined"].item() == "hd95_mm: the predicted mask is empty"


UNCERTAIN = {"member_dice": 0.875, "mean_entropy_bits": 0.25, "undefined": {}}
ALONE = {
    "member_dice": None,
    "mean_entropy_bits": None,
    "undefined": {"member_dice": "one model only", "mean_entropy_bits": "one model only"},
}


@pytest.mark.parametrize("uncertainty", [UNCERTAIN, ALONE])
def test_disagreement_reaches_both_tables_with_its_reason(tmp_path, uncertainty):
    planned = [row for row in predictions(people(1, 1)) if row["group"] == "all"][:1]
    key = "all/vnet/ensemble/P000/femur"
    overlap = {"dsc": 0.0, "hd95_mm": None, "undefined": {"hd95_mm": "the predicted mask is empty"}}
    volumes = {key: {"predicted_mm3": 1.0, "flags": []} | uncertainty}
    reasons = "; ".join(
        f"member_dice, mean_entropy_bits: {why}" for why in set(uncertainty["undefined"].values())
    )
    told = {"metrics": "hd95_mm: the predicted mask is empty" + ("; " + reasons if reasons else "")}
    told["volumes"] = reasons
    made = {"metrics": metrics_table(planned, {key: overlap}, volumes, {})}
    made["volumes"] = volumes_table(planned, volumes)
    for name, table in made.items():
        write_table(table, tmp_path / name)
        row = read_table(tmp_path / name).iloc[0]
        for value in ("member_dice", "mean_entropy_bits"):
            expected = uncertainty[value]
            assert math.isnan(row[value]) if expected is None else row[value] == expected
        assert row["undefined"] == told[name]


def test_cut_volumes_reach_the_tables_that_have_them_and_so_do_the_reasons():
    planned = [row for row in predictions(people(1, 1)) if row["group"] == "all"][:1]
    key = "all/vnet/ensemble/P000/femur"
    cut = {"predicted_cut_mm3": 80.0, "lesser_trochanter_mm": 31.0, "shaft_below_trochanter_mm": 28.0}
    missing = ("reference_lesser_trochanter_mm", "reference_shaft_below_trochanter_mm", "reference_cut_mm3")
    volume = cut | dict.fromkeys(missing) | {"flags": [], "undefined": dict.fromkeys(missing, "none seen")}
    scored = metrics_table(planned, {key: {"dsc": 0.9}}, {key: volume}, {}).iloc[0]
    assert (scored["predicted_cut_mm3"], scored["lesser_trochanter_mm"]) == (80.0, 31.0)
    assert scored["undefined"] == "reference_lesser_trochanter_mm, reference_cut_mm3: none seen"
    measured = volumes_table(planned, {key: volume}).iloc[0]
    assert {name: measured[name] for name in cut} == cut
    assert measured["undefined"] == ""


def test_identifiers_survive_a_file(tmp_path):
    planned = [predictions(people(1, 0))[0] | {"scan": "007", "subject": "NA", "site": "nan"}]
    key = "all/vnet/fold-0/007/femur"
    volume = {
        "predicted_mm3": 1.5,
        "truncated_distally": True,
        "flags": ["otsu_fallback", "otsu_fallback", "metal"],
    }
    write_table(volumes_table(planned, {key: volume}), tmp_path / "volumes.csv")
    row = read_table(tmp_path / "volumes.csv").iloc[0]
    assert (row["scan"], row["subject"], row["site"]) == ("007", "NA", "nan")
    assert row["flags"] == "otsu_fallback metal"


def test_a_study_without_references_has_empty_tables():
    empty = no_metrics()
    agreement = agreement_table(measurements(empty), CONFIG)
    for table in (
        agreement,
        table1(agreement, empty, none_unscored(), published=True),
        age_table(empty, CONFIG),
    ):
        assert table.empty
    assert fold_table(empty, CONFIG).empty
    assert paired_table(empty, CONFIG).empty


def test_a_corrected_volume_is_the_final_one():
    table = pd.DataFrame({"scan": ["a", "b"], "flags": ["padded", ""], "predicted_mm3": [10.0, 20.0]})
    table = table.assign(structure="femur")
    told = with_corrected(table, {"a": {"femur": {"corrected_mm3": 12.5}}})
    assert told["final_mm3"].tolist() == [12.5, 20.0] and told["flags"].tolist() == ["padded corrected", ""]
    assert np.isnan(told["corrected_mm3"][1])
    assert with_corrected(table, {})["final_mm3"].tolist() == [10.0, 20.0]


def test_a_flag_joins_those_of_a_scan():
    table = pd.DataFrame({"scan": ["a", "b", "c"], "flags": ["", "padded", "padded"]})
    assert with_flag(table, "off_protocol", {"a", "b"})["flags"].tolist() == [
        "off_protocol",
        "padded off_protocol",
        "padded",
    ]
    assert with_flag(table.head(0).astype(str), "off_protocol", {"a"}).empty


def test_a_prediction_that_is_not_to_be_scored_has_no_score():
    """Its file may hold one of an earlier run, before its models turned out to be trained on the person."""
    planned = predictions(people(1, 1))
    overlaps = {structure_key(row): {"dsc": 0.9} for row in planned}
    assert len(metrics_table(planned, overlaps, {}, {})) == len(planned)
    assert metrics_table([row | {"protocol": "apply"} for row in planned], overlaps, {}, {}).empty


def test_what_was_to_be_scored_and_was_not_is_listed_with_the_reason():
    planned = predictions(people(4, 1))
    keys = [structure_key(row) for row in planned]
    table = unscored_table(planned, keys[3:], [*keys[:1], *keys[2:]], {planned[1]["scan"]: "P000"})
    assert set(table["scan"]) == {row["scan"] for row in planned[:3]} and len(table) == 3
    reasons = table.set_index(["group", "members", "scan"])["without_reason"]
    place = [(row["group"], row["members"], row["scan"]) for row in planned]
    assert reasons[place[0]] == "not compared with its reference" and reasons[place[1]] == "not predicted"
    assert "P000" in set(table["repeat_of"]) and tuple(table.columns) == UNSCORED_COLUMNS
    assert unscored_table([planned[0] | {"protocol": "apply"}], (), (), {}).empty


def test_agreement_and_table_1_tell_how_many_scans_they_lack(metrics):
    lost = metrics["scan"].isin(["P001", "P002"]) & (metrics["protocol"] == "test")
    kept = metrics[~lost]
    agreement = with_gaps(
        agreement_table(measurements(kept), CONFIG), find_gaps(kept, unscored(metrics[lost])), CONFIG.strata
    )
    rows = agreement.set_index(["group", "protocol", "stratum"])
    assert rows.loc[("all", "test", "all"), ["n", "not_scored"]].tolist() == [6, 2]
    assert rows.loc[("all", "test", "sex=M"), "not_scored"] == 1
    assert rows.loc[("all", "test", "sex=M"), "not_scored_reason"] == "not predicted"
    assert rows.loc[("all", "cv", "all"), "not_scored"] == 0
    first = table1(agreement, kept, none_unscored(), published=False).iloc[0]
    assert (first["n"], first["not_scored"], first["not_scored_reason"]) == (6, 2, "not predicted")


@pytest.mark.parametrize("name", ["manufacturer", "model", "kernel", "network", "stratum", "group"])
def test_texts_read_back_as_texts_also_where_they_are_numbers_or_missing(tmp_path, name):
    write_table(pd.DataFrame({"scan": ["A", "B"], name: ["64", ""]}), tmp_path / "full.csv")
    write_table(pd.DataFrame({"scan": ["A"], name: [""]}), tmp_path / "empty.csv")
    assert read_table(tmp_path / "full.csv")[name].tolist() == ["64", ""]
    assert read_table(tmp_path / "empty.csv")[name].tolist() == [""]


def test_structures_are_never_pooled(metrics):
    other = metrics.assign(
        structure="tibia", dsc=0.5, predicted_mm3=2 * metrics["reference_mm3"], re_percent=100.0
    )
    both = pd.concat([metrics, other], ignore_index=True)
    for make in (
        volume_agreement,
        score_table,
        fold_table,
        paired_table,
        age_table,
        level_table,
        spread_table,
    ):
        table, alone = make(both, CONFIG), make(metrics, CONFIG)
        assert list(table["structure"].unique()) == ["femur", "tibia"] and len(table) == 2 * len(alone)
        femur = table[table["structure"] == "femur"].reset_index(drop=True)
        pd.testing.assert_frame_equal(femur, alone, check_dtype=False)
    assert (volume_agreement(other, CONFIG)["re_mean_percent"] == 100).all()
