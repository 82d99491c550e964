"""Figures and tables of the report that set networks beside each other."""

import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from lib.figures.compared_networks import (
    draw_network_costs,
    draw_network_examples,
    draw_network_pair,
    draw_network_scores,
)
from lib.figures.examples import Example, extreme_scans, pair_title
from lib.figures.gallery import TITLES, StudyResults, draw_figures
from lib.figures.segmentation import LEVEL_COLUMNS
from lib.figures.style import STYLE
from lib.network_comparison_settings import NetworkComparisonConfig
from lib.pages.network_tables import (
    dimension_pair_view,
    network_costs_view,
    network_pairs_view,
    network_scores_view,
    published_scores_view,
    selection_view,
)
from lib.publications.article import score_rows
from lib.publications.deniz_2018 import DENIZ_2018
from lib.stats.formats import records
from lib.stats.network_plan import NetworkPlan
from lib.stats.networks import tables_of_networks
from lib.stats.voxel_levels import LEVELS, count_levels

NETWORKS = {
    "flat": {"unet": {"dimensions": 2, "initial_maps": 8, "levels": 3}},
    "deep": {"unet": {"dimensions": 3, "initial_maps": 4, "levels": 4}},
    "vnet": {"channels": [8, 16]},
}
NO_LEVELS = dict.fromkeys(LEVEL_COLUMNS, np.nan)
ASKED = NetworkComparisonConfig(pair=("deep", "flat"))
RUNS = [
    {
        "group": "all",
        "network": name,
        "parameters": 10**place,
        "updates": 9,
        "seconds": 8.0,
        "peak_memory_mb": 7,
    }
    for place, name in enumerate(NETWORKS, start=3)
]
# Dice of eight people by "flat"; "deep" has 0.01 more, but for the last person
DICE = np.array([0.90, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.80])


@pytest.fixture(scope="module")
def metrics() -> pd.DataFrame:
    gains = {"flat": 0 * DICE, "deep": np.where(DICE > 0.85, 0.01, -0.02), "vnet": 0 * DICE + 0.005}
    rows = [
        {"network": name, "scan": f"P{place}", "subject": f"P{place}", "sex": "MF"[place % 2], "dsc": dice}
        | {"members": f"fold-{place % 2}", "fold": place % 2, "hd95_mm": 2.0 - gain[place], "assd_mm": 0.5}
        for name, gain in gains.items()
        for place, dice in enumerate(DICE + gain)
    ]
    return pd.DataFrame(rows).assign(group="all", protocol="cv", structure="femur", repeat_of="")


@pytest.fixture(scope="module")
def tables(metrics) -> dict[str, pd.DataFrame]:
    plan = NetworkPlan(networks=NETWORKS, asked=ASKED)
    areas = {("all", "flat", "cv", "femur"): {"auc_pr": 0.97, "auc_roc": 0.999}}
    return tables_of_networks(metrics, RUNS, plan, {("all", "flat", f"fold-{k}"): 0.5 for k in (0, 1)}, areas)


def bare(text: str) -> str:
    """Return the text of a cell without the spans of names and of reasons."""
    return re.sub(r'<span class="(?:name|why)">([^<]*)</span>', r"\1", str(text))


def cells(view) -> dict[tuple[str, str], str]:
    """Return the text of each cell by the row's first cell and the column's heading."""
    heads = [column.head for column in view.columns]
    return {
        (bare(line[0][0]), head): f"{bare(cell[0])} {bare(cell[1])}".strip()
        for line in view.lines
        if not isinstance(line, str)
        for head, cell in zip(heads, line, strict=True)
    }


def test_the_page_shows_scores_and_costs_of_each_network(tables):
    shown = cells(network_scores_view(records(tables["networks"])))
    assert shown["flat", "DSC"].startswith(f"{DICE.mean():.4f} ± {DICE.std(ddof=1):.4f}")
    assert shown["flat", "AUC-PR"].endswith("0.9700") and "not measured" in shown["flat", "AUC-PR"]
    costs = cells(network_costs_view(records(tables["networks"])))
    assert costs["deep", "Parameters"] == "10,000" and costs["deep", "Sees"] == "volumes (3-D)"
    assert costs["flat", "Prediction, s"] == "0.50" and "not recorded" in costs["deep", "Prediction, s"]


def test_the_page_shows_tests_with_their_family_and_when_they_were_stated(tables):
    pair = cells(dimension_pair_view(records(tables["dimension_pair"])))
    assert pair["DSC", "Wins, ties, losses"] == "7, 0, 1" and pair["DSC", "Better"] == "deep"
    assert pair["DSC", "Wilcoxon p"].endswith("stated before results")
    # a distance has the two digits of millimetres, a Dice four
    assert pair["HD95, mm", "Difference"].startswith("−0.01 ") and pair["DSC", "Difference"].startswith(
        "0.0100"
    )
    control = cells(network_pairs_view(records(tables["network_pairs"])))
    assert control["flat", "Control"] == "deep" and control["flat", "Holm p"].endswith("of 2 tests")
    chosen = cells(selection_view(records(tables["selection"])))
    assert (
        chosen["2-D (1)", "Chosen"] == "flat"
        and "fewer than 10 people" in chosen["2-D (1)", "DSC, corrected"]
    )


def test_empty_predictions_are_told_beside_each_mean_of_distances(metrics):
    lost = (metrics["network"] == "flat") & metrics["scan"].isin(["P2", "P5"])
    emptied = metrics.assign(undefined=np.where(lost, "hd95_mm, assd_mm: the predicted mask is empty", ""))
    emptied.loc[lost, ["hd95_mm", "assd_mm"]] = np.nan
    tables = tables_of_networks(emptied, RUNS, NetworkPlan(networks=NETWORKS, asked=ASKED), {}, {})
    shown = cells(network_scores_view(records(tables["networks"])))
    told = "2 of 8 scans without: the predicted mask is empty"
    for heading in ("HD95, mm", "ASSD, mm"):
        assert told in shown["flat", heading] and "without" not in shown["deep", heading]
    pair = cells(dimension_pair_view(records(tables["dimension_pair"])))
    assert pair["DSC", "n"] == "8"
    assert pair["HD95, mm", "n"] == pair["ASSD, mm", "n"] == "6 2 of 8 people without: an empty prediction"


def test_examples_show_the_slices_that_networks_see():
    image = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    example = Example("P1", "P1", image, image > 0, image > 1, (3.0, 2.0, 1.0), (0, 1))
    assert np.array_equal(example.along_slices().image_zyx, image)
    coronal = replace(example, slice_axis="y").along_slices()
    assert coronal.spacing_mm_zyx == (2.0, 3.0, 1.0)
    # the first slice is the foremost; its first row the one towards the head
    assert np.array_equal(coronal.image_zyx[0], image[::-1, 0, :])
    sagittal = replace(example, slice_axis="x").along_slices()
    assert sagittal.spacing_mm_zyx == (1.0, 3.0, 2.0)
    assert np.array_equal(sagittal.reference_zyx[3], image[::-1, :, 3] > 0)


def test_printed_numbers_keep_their_version_and_their_spread():
    view = published_scores_view(score_rows(DENIZ_2018))
    assert view.caption == "Printed by Deniz et al. 2018" and len(view.lines) == 7
    assert [line[5] for line in view.lines[:2]] == [("0.95", ""), ("0.94", "± 0.05")]


def test_figures_draw_every_person_and_every_network(metrics, tables):
    with mpl.rc_context(STYLE):
        scores = draw_network_scores(metrics, tables["networks"])
        costs = draw_network_costs(tables["networks"], 8)
        pair = draw_network_pair(metrics, tables["dimension_pair"].iloc[0].to_dict())
    assert len(scores.data) == 3 * 8 and scores.n == 8
    assert list(costs.data["network"]) == list(NETWORKS)
    assert sorted(pair.data["difference"].round(6)) == [-0.02, *[0.01] * 7]
    assert "+0.0100" in pair.alt and "Wilcoxon p" in pair.alt


def test_a_study_of_several_networks_has_all_their_figures_and_details_of_some(metrics, tables, tmp_path):
    shown = [Example("P1", "P1", *[np.ones((2, 9, 9), np.uint8)] * 3, (3, 1, 1), (0, 1))]
    levels = np.array([[[0, LEVELS - 1]]], np.uint16)
    counts = count_levels(levels, levels).to_json()
    keys = metrics[["group", "network", "members", "scan", "structure"]].agg("/".join, axis=1)
    scored = metrics.assign(precision_raw=0.9, recall_raw=0.9, reference_mm3=np.nan, predicted_mm3=np.nan)
    results = StudyResults(
        metrics=scored.assign(
            age="", site="", re_percent=np.nan, sensitivity=0.9, specificity=0.9, **NO_LEVELS
        ),
        agreement=pd.DataFrame(),
        networks=tables["networks"],
        dimension_pair=tables["dimension_pair"],
        curves=dict.fromkeys(keys, counts),
        pair_examples=[("best", shown * 2)],
        detailed=["deep"],
    )
    entries = draw_figures(results, tmp_path)
    drawn = {(entry["kind"], entry["network"], entry["protocol"]) for entry in entries}
    of_networks = {kind for kind in TITLES if kind.startswith("network_")} - {"network_examples"}
    assert {(kind, "", "cv") for kind in (*of_networks, "precision_recall")} <= drawn
    assert ("network_examples", "", "") in drawn
    assert {network for kind, network, _ in drawn if kind == "scores"} == {"deep"}
    unscored = replace(results, metrics=results.metrics.assign(dsc=np.nan))
    kinds = {entry["kind"] for entry in draw_figures(unscored, tmp_path / "unscored")}
    assert not kinds & {*of_networks, "precision_recall"}


def test_nothing_is_drawn_of_what_is_not_known(metrics, tables):
    pair = tables["dimension_pair"].iloc[0].to_dict()
    assert draw_network_pair(metrics[metrics["network"] == "flat"], pair) is None
    unknown = tables["networks"].assign(parameters=np.nan, train_seconds=np.nan)
    assert draw_network_costs(unknown, 8) is None


def test_the_best_the_median_and_the_worst_person_of_a_pair(metrics):
    keys = {f"all/{row.network}/{row.members}/{row.scan}" for row in metrics.itertuples()}
    rows = extreme_scans(metrics, ("deep", "flat"), keys)
    assert [(word, [row["scan"] for row in both]) for word, both in rows] == [
        *(("best", ["P6", "P6"]), ("median", ["P2", "P2"]), ("worst", ["P7", "P7"]))
    ]
    assert [row["network"] for row in rows[0][1]] == ["deep", "flat"]
    assert pair_title(rows[0][1][0]) == "P6, deep: DSC 0.9700"
    # people whom one of them did not predict are left out, and without three people there are no rows
    assert (
        extreme_scans(metrics, ("deep", "flat"), {key for key in keys if "P6" not in key})[0][1][0]["scan"]
        == "P5"
    )
    assert not extreme_scans(metrics[metrics["scan"].isin(["P1", "P2"])], ("deep", "flat"), keys)


def test_examples_show_both_networks_on_the_slice_with_most_bone():
    reference = np.zeros((5, 20, 20), np.uint8)
    reference[3, 4:14, 4:14] = reference[2, 4:8, 4:8] = 1
    shown = [
        Example(
            "P1",
            f"P1, {name}",
            np.zeros(reference.shape),
            reference,
            np.roll(reference, step, 2),
            (3, 1, 1),
            (0, 1),
        )
        for name, step in (("deep", 0), ("flat", 1))
    ]
    with mpl.rc_context(STYLE):
        drawing = draw_network_examples([("best", shown), ("worst", shown)])
    assert set(drawing.data["slice"]) == {3} and len(drawing.data) == 4
    panels = drawing.figure.axes
    assert [axes.get_title("left") for axes in panels[:2]] == ["P1, deep", "P1, flat"]
    assert len(panels) == 4 and all(len(axes.collections) >= 2 for axes in panels)
