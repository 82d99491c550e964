"""Tables that compare networks: small studies whose numbers can be derived, and networks that are equally good."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from lib.network_comparison_settings import AFTER, BEFORE, NetworkComparisonConfig
from lib.stats.formats import undefined_reasons
from lib.stats.jackknife import mean_interval
from lib.stats.network_costs import prediction_seconds, training_costs
from lib.stats.network_pairs import (
    DIMENSION_PAIR_COLUMNS,
    NETWORK_PAIR_COLUMNS,
    dimension_pair_table,
    network_pairs_table,
)
from lib.stats.network_plan import NetworkPlan
from lib.stats.networks import NETWORK_COLUMNS, networks_table, tables_of_networks
from lib.stats.selection import (
    DIFFERENCE,
    SELECTION_COLUMNS,
    THREE,
    TWO,
    choose_best,
    resample_people,
    selection_table,
)
from lib.stats.signed_rank import holm, signed_rank
from lib.stats.tables import read_table, write_table
from tests.unit import study_tables

NETWORKS = {
    "flat": {"unet": {"initial_maps": 8, "levels": 3, "dimensions": 2, "bottleneck_dilation": 2}},
    "deep": {"unet": {"initial_maps": 4, "levels": 4}},
    "vnet": {"channels": [8, 16], "dimensions": 3},
}
ASKED = NetworkComparisonConfig(pair=["deep", "flat"], control="deep", bootstrap=500)
PLAN = NetworkPlan(networks=NETWORKS, asked=ASKED, seed=1)
RUNS = [
    {"group": "all", "network": "flat", "parameters": 99, "updates": updates, "seconds": seconds}
    | {"peak_memory_mb": memory}
    for updates, seconds, memory in ((200, 50.0, 700.0), (300, 70.0, 900.0))
]


def scored(dice, **columns):
    """Rows of metrics.csv of `dice`, a mapping of network to scores (scans,); one scan a person unless told."""
    tables = []
    for network, scores in dice.items():
        scans = [f"S{number}" for number in range(len(scores))]
        rows = pd.DataFrame({"scan": scans, "subject": scans, "dsc": scores})
        rows = rows.assign(fold=np.arange(len(rows)) % 2, group="all", protocol="cv", structure="femur")
        rows = rows.assign(repeat_of="", undefined="", network=network)
        tables.append(rows.assign(members=[f"fold-{fold}" for fold in rows["fold"]], **columns))
    return pd.concat(tables, ignore_index=True)


def drawn(people=40, seed=3):
    """Dice of three networks, the first of them worse."""
    generator = np.random.default_rng(seed)
    person = 0.95 + 0.02 * generator.standard_normal(people)
    shifts = {"flat": -0.01, "deep": 0.0, "vnet": 0.0}
    return {
        name: person + shift + 0.005 * generator.standard_normal(people) for name, shift in shifts.items()
    }


def test_means_spread_and_interval_are_those_of_people():
    metrics = scored({"flat": [0.90, 0.92, 0.94, 0.98]}, hd95_mm=[1.0, 2.0, 9.0, np.nan], precision=0.9)
    metrics = metrics.assign(subject=["A", "B", "A", "C"], fold=[0, 1, 0, 1])
    row = networks_table(metrics, RUNS, PLAN, {}, {}).iloc[0]
    people = np.array([0.92, 0.92, 0.98])  # A is the mean of two scans
    assert (row["n"], row["folds"], row["hd95_n"]) == (3, 2, 2)
    assert row["dsc_mean"] == pytest.approx(people.mean())
    assert row["dsc_sd_people"] == pytest.approx(people.std(ddof=1))
    assert row["dsc_sd_folds"] == pytest.approx(np.std([0.92, 0.95], ddof=1))
    assert (row["hd95_mean_mm"], row["hd95_median_mm"]) == (3.5, 3.5)
    assert (row["precision_mean"], row["precision_sd_people"]) == pytest.approx((0.9, 0))
    interval = row["dsc_mean_ci_low"], row["dsc_mean_ci_high"]
    assert interval == pytest.approx(mean_interval(people, [0, 1, 2], 0.95, "complement"))


def test_shape_and_cost_stand_beside_the_scores_and_what_is_missing_has_a_reason():
    metrics = scored(drawn(), dsc_raw=0.9)
    seconds = {("all", "flat", "fold-0"): 2.0, ("all", "flat", "fold-1"): 4.0, ("all", "deep", "fold-0"): 2.0}
    areas = {("all", "flat", "cv", "femur"): {"auc_pr": 0.97, "auc_roc": 0.999}}
    table = networks_table(metrics, RUNS, PLAN, seconds, areas)
    assert tuple(table.columns) == NETWORK_COLUMNS
    assert list(table["network"]) == ["flat", "deep", "vnet"]  # as in the configuration
    flat, deep, vnet = table.to_dict("records")
    shape = ("dimensions", "initial_maps", "levels", "bottleneck_dilation")
    assert [flat[name] for name in shape] == [2, 8, 3, 2]
    assert [deep[name] for name in shape] == [3, 4, 4, 1]
    assert [flat[name] for name in ("parameters", "updates", "train_seconds", "peak_memory_mb")] == [
        99,
        250,
        60,
        900,
    ]
    assert flat["predict_seconds_per_scan"] == 3.0
    assert flat["component_gain"] == pytest.approx(flat["dsc_mean"] - 0.9)
    assert (flat["auc_pr_pooled"], flat["auc_roc_pooled"]) == (0.97, 0.999)
    assert vnet["dimensions"] == 3
    why = undefined_reasons(vnet["undefined"])
    assert {why[name] for name in shape[1:]} == {"not given as a U-Net by its short form"}
    assert why["updates"] == why["predict_seconds_per_scan"] == "not recorded"
    assert why["auc_pr_mean"] == why["hd95_mean_mm"] == "not measured"
    # half of its scans have no known time: the mean of the others would be another one's
    assert undefined_reasons(deep["undefined"])["predict_seconds_per_scan"] == "not recorded"


def test_every_empty_number_of_every_table_has_a_reason():
    metrics = scored(drawn(1) | {"other": [0.5]}, hd95_mm=np.nan, assd_mm=1.0)
    metrics = pd.concat([metrics, metrics.assign(protocol="test", members="ensemble", fold=np.nan)])
    for name, table in tables_of_networks(metrics, [], PLAN, {}, {}).items():
        assert len(table), name
        for row in table.to_dict("records"):
            empty = {
                key.removesuffix("_low")
                for key, value in row.items()
                if isinstance(value, float) and math.isnan(value) and not key.endswith("_ci_high")
            }
            assert set(undefined_reasons(row["undefined"])) == empty, name


def test_protocols_and_groups_are_apart_and_a_test_has_no_folds():
    cv, test = (
        scored(drawn(20)),
        scored(drawn(8, seed=4), protocol="test").assign(fold=np.nan, members="ensemble"),
    )
    metrics = pd.concat([cv, cv.assign(group="male"), test])
    table = networks_table(metrics, [], PLAN, {}, {})
    keys = table[["group", "protocol", "n", "folds"]].drop_duplicates().to_numpy().tolist()
    assert keys == [["all", "cv", 20, 2], ["all", "test", 8, 0], ["male", "cv", 20, 2]]
    row = table[table["protocol"] == "test"].iloc[0]
    assert undefined_reasons(row["undefined"])["dsc_sd_folds"] == "no cross-validation"
    assert len(network_pairs_table(metrics, PLAN)) == 3 * 2
    assert len(dimension_pair_table(metrics.assign(hd95_mm=1.0, assd_mm=1.0), PLAN)) == 3 * 3


def test_each_network_is_tested_against_the_control_and_holm_corrects_one_family():
    dice = drawn()
    table = network_pairs_table(scored(dice), PLAN)
    assert tuple(table.columns) == NETWORK_PAIR_COLUMNS
    assert list(table["network"]) == ["flat", "vnet"] and set(table["control"]) == {"deep"}
    expected = [signed_rank(dice[name], dice["deep"], 0.95) for name in ("flat", "vnet")]
    assert list(table["wilcoxon_p_value"]) == [found.p_value for found in expected]
    assert list(table["holm_p_value"]) == holm([found.p_value for found in expected])
    flat = table.iloc[0]
    assert flat["median_difference"] == expected[0].median < 0
    assert (flat["median_difference_ci_low"], flat["median_difference_ci_high"]) == expected[0].interval
    better = int(np.sum(dice["flat"] > dice["deep"]))
    assert (flat["wins"], flat["ties"], flat["losses"], flat["family"]) == (better, 0, 40 - better, 2)


def test_only_people_of_both_networks_are_compared():
    metrics = scored({"flat": [0.8, 0.8, 0.8], "deep": [0.9, 0.9]})
    (row,) = network_pairs_table(metrics, PLAN).to_dict("records")
    assert (row["n"], row["losses"], row["wilcoxon_p_value"]) == (2, 2, 0.5)
    assert undefined_reasons(row["undefined"]) == {"median_difference_ci": "fewer than 6 people"}
    assert network_pairs_table(scored({"flat": [0.8], "vnet": [0.9]}), PLAN).empty  # no control


def test_without_a_stated_control_it_is_the_first_of_the_pair_or_the_first_network():
    for pair, control in (([], "flat"), (["deep", "flat"], "deep")):
        plan = NetworkPlan(networks=NETWORKS, asked=NetworkComparisonConfig(pair=pair))
        assert set(network_pairs_table(scored(drawn()), plan)["control"]) == {control}


def test_the_pair_is_compared_by_overlap_and_distances_with_the_better_one_named():
    dice = {"flat": np.linspace(0.90, 0.95, 8), "deep": np.linspace(0.91, 0.96, 8)}
    metrics = scored(dice, hd95_mm=1.0, assd_mm=2.0)
    metrics.loc[metrics["network"] == "deep", "hd95_mm"] = 1.5
    stated = {"pair": AFTER, "control": BEFORE}
    table = dimension_pair_table(metrics, NetworkPlan(networks=NETWORKS, asked=ASKED, stated=stated))
    assert tuple(table.columns) == DIMENSION_PAIR_COLUMNS
    assert list(table["measure"]) == ["dsc", "hd95_mm", "assd_mm"]
    assert list(table["better"]) == ["deep", "flat", "neither"]
    assert list(table["median_difference"]) == pytest.approx([0.01, 0.5, 0])
    assert list(table["wins"]) == [8, 0, 0] and list(table["losses"]) == [0, 8, 0]
    assert list(table["wilcoxon_p_value"]) == pytest.approx([2 / 2**8, 2 / 2**8, 1])
    assert set(table["stated"]) == {AFTER}
    nothing = NetworkPlan(networks=NETWORKS, asked=NetworkComparisonConfig())
    assert dimension_pair_table(metrics, nothing).empty


def test_people_in_a_sample_and_people_left_out_are_different_people():
    # everybody has the score 1 for one network only: means tell which people are in
    resamples = resample_people(np.eye(7), 300, np.random.default_rng(1))
    inside, outside = resamples.inside > 0, resamples.outside > 0
    assert (inside ^ outside).all()
    assert resamples.inside.sum(axis=1) == pytest.approx(1) and resamples.outside.sum(
        axis=1
    ) == pytest.approx(1)
    assert inside.mean() == pytest.approx(1 - (6 / 7) ** 7, abs=0.02)


def test_a_sample_chooses_by_its_own_people_and_is_scored_on_the_others():
    scores = np.random.default_rng(5).random((9, 4))
    resamples = resample_people(scores, 50, np.random.default_rng(6))
    choice = choose_best(scores, resamples, [1, 3])
    for sample in range(50):
        chosen = max((1, 3), key=lambda place: resamples.inside[sample, place])
        assert choice.inside[sample] == resamples.inside[sample, chosen]
        assert choice.outside[sample] == resamples.outside[sample, chosen]
        assert choice.agrees[sample] == (chosen == choice.best)
    assert choice.apparent == scores[:, [1, 3]].mean(axis=0).max()


def test_the_best_of_each_kind_and_their_difference():
    dice = drawn() | {"worse": drawn()["flat"] - 0.1}
    networks = NETWORKS | {"worse": {"unet": {"initial_maps": 1, "levels": 2, "dimensions": 2}}}
    plan = NetworkPlan(networks=networks, asked=ASKED, seed=1)
    metrics = scored(dice)
    table = selection_table(metrics, plan)
    assert tuple(table.columns) == SELECTION_COLUMNS
    flat, deep, difference = table.to_dict("records")
    best = max(("deep", "vnet"), key=lambda name: dice[name].mean())
    assert [flat["best_of"], deep["best_of"], difference["best_of"]] == [TWO, THREE, DIFFERENCE]
    assert (flat["chosen"], deep["chosen"]) == ("flat", best)
    assert difference["chosen"] == f"{best} against flat"
    assert (flat["candidates"], deep["candidates"], difference["candidates"]) == (2, 2, 4)
    assert flat["chosen_share"] == 1 and deep["chosen_share"] == difference["chosen_share"] < 1
    assert difference["dsc"] == pytest.approx(deep["dsc"] - flat["dsc"])
    assert difference["dsc_corrected"] == pytest.approx(deep["dsc_corrected"] - flat["dsc_corrected"])
    assert difference["optimism"] == pytest.approx(deep["optimism"] - flat["optimism"])
    assert difference["dsc_corrected_ci_low"] > 0  # the 3-D networks are better by 0.01
    # there is no choice among networks that are far apart
    assert abs(flat["optimism"]) < deep["optimism"]
    pd.testing.assert_frame_equal(table, selection_table(metrics, plan))  # the same draws


def test_few_people_have_no_bootstrap_interval_while_that_of_the_estimate_stays():
    metrics = scored(drawn(8))
    rows = selection_table(metrics, PLAN).to_dict("records")
    assert all(
        undefined_reasons(row["undefined"]) == {"dsc_corrected_ci": "fewer than 10 people"} for row in rows
    )
    assert all(math.isfinite(row["optimism"]) for row in rows)
    assert network_pairs_table(metrics, PLAN)["median_difference_ci_low"].notna().all()
    assert selection_table(scored(drawn(10)), PLAN)["dsc_corrected_ci_low"].notna().all()
    assert selection_table(scored({"flat": [0.9, 0.8]}), PLAN).empty  # nothing to choose


def test_the_nested_comparison_of_equal_networks_is_centred_and_the_naive_one_is_not():
    generator = np.random.default_rng(1)
    naive, nested, optimism = [], [], []
    for _ in range(400):
        scores = 0.95 + 0.01 * generator.standard_normal((30, 8))
        resamples = resample_people(scores, 200, generator)
        two, three = (choose_best(scores, resamples, places) for places in (range(2), range(2, 8)))
        naive.append(three.apparent - two.apparent)
        nested.append(np.mean(three.outside - two.outside))
        optimism.append(np.mean(three.inside - two.inside) - nested[-1])
    in_errors = {
        name: np.mean(found) / (np.std(found, ddof=1) / math.sqrt(400))
        for name, found in {"naive": naive, "nested": nested}.items()
    }
    assert abs(in_errors["nested"]) < 1 and in_errors["naive"] > 5
    # the expected largest of 6 and of 2 standard normal values is 1.267 and 0.564
    assert np.mean(naive) == pytest.approx(0.01 / math.sqrt(30) * (1.267 - 0.564), rel=0.15)
    assert np.mean(optimism) > np.mean(naive)


def test_costs_are_means_of_folds_and_the_largest_memory():
    runs = [*RUNS, {"group": "all", "network": "old", "updates": 10}]
    costs = training_costs(runs)
    assert costs["all", "flat"] == {
        "parameters": 99,
        "updates": 250,
        "train_seconds": 60,
        "peak_memory_mb": 900,
    }
    assert costs["all", "old"]["updates"] == 10 and math.isnan(costs["all", "old"]["peak_memory_mb"])


def test_seconds_of_a_prediction_are_the_mean_over_the_scans_of_all_batches(tmp_path):
    batches = {
        "all/flat/fold-0/batch-0": {"A": 1.0, "B": 2.0, "C": 3.0},
        "all/flat/fold-0/batch-1": {"D": 10.0},
        "all/deep/ensemble/batch-0": None,
    }
    for batch, seconds in batches.items():
        (tmp_path / batch).mkdir(parents=True)
        if seconds:
            (tmp_path / batch / "timing.json").write_text(json.dumps({"predict_seconds": seconds}))
    folders = [tmp_path / batch for batch in batches]
    assert prediction_seconds(folders) == {("all", "flat", "fold-0"): 4.0}


def test_the_tables_of_a_study_are_read_back_as_they_were(tmp_path):
    metrics = study_tables.tables()[0].replace({"network": {"vnet": "flat"}})
    metrics = pd.concat([metrics, metrics.assign(network="deep", dsc=metrics["dsc"].astype(float) - 0.001)])
    for name, table in tables_of_networks(metrics, RUNS, PLAN, {}, {}).items():
        assert len(table), name
        write_table(table, tmp_path / f"{name}.csv")
        again = read_table(tmp_path / f"{name}.csv")
        pd.testing.assert_frame_equal(again, table.reset_index(drop=True), check_dtype=False)


def test_no_scores_no_rows():
    for table in tables_of_networks(study_tables.no_metrics(), [], PLAN, {}, {}).values():
        assert table.empty and len(table.columns)
