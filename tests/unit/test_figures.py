"""Figures: which are drawn for which data, the same bytes each time, made-up people marked as such."""

import json
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from lib.stats.agreement import AgreementConfig
from lib.stats.figures import (
    STYLE,
    Example,
    StudyResults,
    draw_bland_altman,
    draw_error_by_distance,
    draw_examples,
    draw_figures,
    draw_relative_error,
    draw_scores,
    example_scans,
    history_key,
)
from lib.stats.tables import agreement_table, prediction_key
from tests.unit.study_tables import history, no_metrics, tables

CONFIG = AgreementConfig(bootstrap=50)


@pytest.fixture(scope="module")
def study():
    metrics, _, overlaps = tables(24, 4)
    return (
        metrics,
        agreement_table(metrics, CONFIG),
        {key: record["by_slice"] for key, record in overlaps.items()},
    )


def test_a_protocol_gets_its_figures_as_svg_and_png(study, tmp_path):
    metrics, agreement, slices = study
    test = metrics[metrics["protocol"] == "test"]
    curves = {("all", "vnet", fold): history(fold, 50) for fold in range(2)}
    entries = draw_figures(StudyResults(test, agreement, curves, slices, [], True), tmp_path)
    kinds = [entry["kind"] for entry in entries]
    assert kinds == [
        "scores", "error_by_distance", "relative_error", "regression", "bland_altman", "learning_curves",
    ]  # fmt: skip
    assert json.loads((tmp_path / "figures.json").read_text())["figures"] == entries
    assert {path.name for path in tmp_path.iterdir()} == {"figures.json"} | {
        f"{entry['name']}.{kind}" for entry in entries for kind in ("svg", "png")
    }
    assert entries[0]["n"] == 4


def test_the_same_tables_give_the_same_bytes(study, tmp_path):
    metrics, agreement, _ = study
    test = metrics[(metrics["protocol"] == "test") & (metrics["cohort"] == "all")]
    for folder in ("a", "b"):
        draw_figures(StudyResults(test, agreement), tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 9
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    for path in (tmp_path / "a").glob("*.svg"):
        assert not re.search(r"<dc:date>|\b20\d\d-\d\d-\d\d", path.read_text())


def test_a_study_without_scores_has_no_figures(tmp_path):
    empty = no_metrics()
    assert draw_figures(StudyResults(empty, agreement_table(empty, CONFIG)), tmp_path) == []
    assert (tmp_path / "figures.json").exists()


def test_one_person_and_undefined_scores_can_be_drawn(study, tmp_path):
    metrics = study[0]
    one = metrics[(metrics["protocol"] == "test") & (metrics["cohort"] == "male")].head(1)
    entries = draw_figures(StudyResults(one, agreement_table(one, CONFIG)), tmp_path)
    assert {entry["n"] for entry in entries} == {1}
    undefined = one.assign(dsc=np.nan, re_percent=np.nan)
    assert draw_figures(StudyResults(undefined, agreement_table(undefined, CONFIG)), tmp_path / "none") == []


def texts(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_bars_say_where_their_axis_starts_and_how_many_people(study):
    cv = study[0][study[0]["protocol"] == "cv"]
    figure = draw_scores(cv)
    floor = figure.axes[0].get_ylim()[0]
    assert 0.9 <= floor < cv[["dsc", "sensitivity", "specificity"]].min().min()
    assert figure.axes[0].get_ylabel().endswith(f"{floor:.2f}")
    assert "all (n = 20)" in texts(figure)


def shapes(axes):
    return [len(part.get_paths()[0].vertices) for part in axes.collections]


def test_a_person_keeps_its_colour_and_sex_its_shape(study):
    cv = study[0][study[0]["protocol"] == "cv"]
    figure = draw_relative_error(cv)
    everybody, men, women = figure.axes
    assert shapes(everybody) == shapes(men) + shapes(women)
    assert shapes(men) != shapes(women)
    colors = {}
    for axes in (everybody, men, women):
        for part in axes.collections:
            for (x, _), color in zip(part.get_offsets(), part.get_facecolors(), strict=True):
                colors.setdefault(round(float(x), 6), set()).add(tuple(color))
    assert len(colors) == 20
    assert all(len(seen) == 1 for seen in colors.values())


def test_limits_of_agreement_stand_where_the_table_says(study):
    metrics, agreement, _ = study
    cv = metrics[(metrics["protocol"] == "cv") & (metrics["cohort"] == "all")]
    row = agreement[
        (agreement["protocol"] == "cv") & (agreement["cohort"] == "all") & (agreement["sex"] == "all")
    ]
    figure = draw_bland_altman(cv, row)
    levels = {round(float(line.get_ydata()[0]), 6) for line in figure.axes[0].lines}
    expected = {round(row[name].item() / 1000, 6) for name in ("loa_low_mm3", "bias_mm3", "loa_high_mm3")}
    assert levels == expected | {0.0}
    low, high = figure.axes[0].get_ylim()
    assert low < min(expected) <= max(expected) < high


def test_errors_along_the_bone_are_shares_of_all_people():
    record = {
        "distance_mm": [0.0, 3.0],
        "reference_mm3": [100.0, 300.0],
        "missed_mm3": [10.0, 3.0],
        "added_mm3": [0, 6],
    }
    other = {
        "distance_mm": [0.0, 3.0],
        "reference_mm3": [300.0, 100.0],
        "missed_mm3": [10.0, 1.0],
        "added_mm3": [4, 2],
    }
    left, right = draw_error_by_distance([record, other]).axes
    missed, added = (line.get_ydata().tolist() for line in left.lines)
    assert missed == pytest.approx([5.0, 1.0])
    assert added == pytest.approx([1.0, 2.0])
    assert right.lines[0].get_ydata().tolist() == pytest.approx([1.0, 5.0])


def test_examples_are_the_median_man_and_woman_of_the_test(study):
    metrics = study[0]
    keys = {prediction_key(row) for row in metrics.to_dict("records")}
    chosen = example_scans(metrics, keys)
    test = metrics[(metrics["protocol"] == "test") & (metrics["cohort"] == "all")]
    assert [row["sex"] for row in chosen] == ["F", "M"]
    men = test[test["sex"] == "M"].sort_values("dsc")
    assert chosen[1]["scan"] == men["scan"].iloc[(len(men) - 1) // 2]
    tested = {prediction_key(row) for row in metrics[metrics["protocol"] == "test"].to_dict("records")}
    assert example_scans(metrics, keys - tested)[0]["protocol"] == "cv"
    assert example_scans(metrics, set()) == example_scans(no_metrics(), keys) == []


def test_examples_show_original_reference_and_prediction():
    z, y, x = np.mgrid[:12, :60, :60]
    mask = (y - 30) ** 2 + (x - 30) ** 2 < 100
    example = Example("P001", np.zeros(mask.shape, np.int16), mask, np.roll(mask, 2, 2), (3.0, 0.8, 0.8))
    with mpl.rc_context(STYLE):
        figure = draw_examples([example])
    assert len(figure.axes if figure.axes else figure.subfigs[0].axes) == 18
    assert {"P001", "original", "reference", "prediction"} <= set(texts(figure))


def test_made_up_people_are_marked_in_the_figure(study, tmp_path, monkeypatch):
    metrics, agreement, _ = study
    seen = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda figure, path, **_: (path.touch(), seen.append(figure))
    )
    test = metrics[(metrics["protocol"] == "test") & (metrics["cohort"] == "all")]
    draw_figures(StudyResults(test, agreement, synthetic=True), tmp_path)
    assert len(seen) == 8
    assert all("synthetic cohort" in figure.get_suptitle() for figure in seen)


def test_histories_are_known_by_their_path():
    assert history_key("results/models/male/vnet/fold-7/history.csv") == ("male", "vnet", 7)
    assert history_key("finished/fold-0/history.csv") == ("", "finished", 0)


def test_a_fold_without_validation_can_be_drawn(tmp_path):
    curve = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.4], "validation_dice": [np.nan, np.nan]})
    empty = no_metrics()
    results = StudyResults(empty, agreement_table(empty, CONFIG), {("", "vnet", 0): curve})
    assert [entry["kind"] for entry in draw_figures(results, tmp_path)] == ["learning_curves"]
