"""Figures: which are drawn for which data, their content, reproducible bytes, marks of simulated people."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pingouin
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image
from scipy import stats

from lib.catalog.anatomies import LEVELS
from lib.catalog.stages import DENSITY_FIGURES
from lib.figures.covariates import (
    draw_error_by_age,
    draw_error_by_pixel,
    draw_error_by_scanner,
    spearman_interval,
    spearman_text,
)
from lib.figures.examples import Example, draw_examples, draw_solids, example_scans, example_title
from lib.figures.gallery import TITLES, StudyResults, draw_figures
from lib.figures.learning_curves import draw_fold_spread, draw_learning_curves, history_key
from lib.figures.repeats import draw_precision, draw_readers, repeated_pairs
from lib.figures.segmentation import draw_dice_by_distance, draw_error_by_distance, draw_levels, draw_scores
from lib.figures.style import STYLE, beside, draw_quartiles, minus, scatter_people
from lib.figures.volumes import (
    draw_bland_altman,
    draw_regression,
    draw_relative_error,
    draw_sex_specific,
)
from lib.report_settings import AgreementConfig
from lib.stats.agreement_tables import agreement_table
from lib.stats.fold_variance import spread_table
from lib.stats.paired import paired_table
from lib.stats.precision import precision_table
from lib.stats.tables import prediction_key, read_table
from lib.stats.voxel_levels import count_levels
from tests.unit.study_tables import history, measurements, no_metrics, tables, volume_agreement

CONFIG = AgreementConfig()
CAPTIONS = Path(__file__).parents[2] / "report" / "captions"
SCORED = {
    "scores",
    "precision_recall",
    "levels",
    "error_by_distance",
    "dice_by_distance",
    "relative_error",
    "regression",
    "bland_altman",
}


def results_of(metrics, **further):
    return StudyResults(metrics=metrics, agreement=agreement_table(measurements(metrics), CONFIG), **further)


@pytest.fixture(scope="module")
def study():
    """Metrics, volumes and the slices of the overlap records of a made-up study."""
    metrics, volumes, overlaps = tables(24, 4)
    return metrics, volumes, {key: record["by_slice"] for key, record in overlaps.items()}


@pytest.fixture(scope="module")
def everything(study):
    """Results in which every kind of figure has its data."""
    metrics, volumes, slices = study
    scans = metrics["scan"].unique()
    acquisition = pd.DataFrame(
        {"scan": scans, "manufacturer": "GE", "model": "X", "kernel": "", "kvp": 120.0}
    )
    acquisition["pixel_mm"] = np.linspace(0.6, 0.9, len(scans))
    acquisition.loc[::2, "kernel"] = "B30s"
    spread = pd.DataFrame(
        [{"group": "all", "network": "vnet", "measure": "dsc", "sd_of_fold_means": 0.002,
          "sd_expected_by_people": 0.001, "sd_between_people": 0.004}]
    )  # fmt: skip
    again = volumes[volumes["scan"] == scans[0]]
    again = again.assign(repeat_of=scans[0], scan="again", predicted_mm3=again["predicted_mm3"] + 500)
    return results_of(
        metrics[metrics["protocol"].isin(["cv", "test"])],
        volumes=pd.concat([volumes.assign(repeat_of=""), again]),
        paired=paired_table(metrics, CONFIG).assign(first_updates=1200, second_updates=3400.0),
        spread=spread,
        precision=precision_row(),
        readers=reader_rows(),
        acquisition=acquisition,
        histories={("all", "vnet", fold): history(fold, 50) for fold in range(2)},
        slices=slices,
        curves=dict.fromkeys(slices, voxel_counts()),
        examples=[example()],
        synthetic=True,
    )


def voxel_counts():
    generator = np.random.default_rng(4)
    reference = generator.random((4, 20, 20)) < 0.3
    levels = generator.integers(0, 40_000, reference.shape) + 25_000 * reference
    return count_levels(levels.astype(np.uint16), reference).to_json()


def precision_row():
    keys = {"group": "all", "network": "vnet", "protocol": "test", "measure": "predicted_mm3"}
    keys |= {"structure": "femur"}
    numbers = {"rms_sd": 400.0, "rms_cv_percent": 0.5, "lsc": 1108.0, "degrees_of_freedom": 1}
    numbers |= {"lsc_ci_low": 494.0, "lsc_ci_high": 35_400.0}
    return pd.DataFrame([keys | numbers])


def reader_rows():
    pairs = ("reader 1 - reader 2", "reader 1 - model", "reader 2 - model")
    keys = {"group": "all", "network": "vnet", "protocol": "test", "n": 5, "scans": 5, "dsc_sd": 0.01}
    keys |= {"structure": "femur"}
    bias = {"bias_mm3": 100.0, "bias_mm3_ci_low": -50.0, "bias_mm3_ci_high": 250.0}
    limits = {"loa_low_mm3": -900.0, "loa_high_mm3": 1100.0}
    return pd.DataFrame([keys | bias | limits | {"pair": pair, "dsc_mean": 0.97} for pair in pairs])


def example():
    _, y, x = np.mgrid[:12, :60, :60]
    mask = (y - 30) ** 2 + (x - 30) ** 2 < 100
    zeros = np.zeros(mask.shape, np.int16)
    return Example("P001", "P001, DSC", zeros, mask, np.roll(mask, 2, 2), (3.0, 0.8, 0.8), (-250.0, 1000.0))


def texts(figure):
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def points_of(axes):
    return np.concatenate([part.get_offsets() for part in axes.collections if hasattr(part, "get_sizes")])


def group_of(metrics, protocol, group):
    return metrics[(metrics["protocol"] == protocol) & (metrics["group"] == group)]


@pytest.fixture(scope="module")
def gallery(everything, tmp_path_factory):
    """The folder of all figures and its entries."""
    folder = tmp_path_factory.mktemp("figures")
    return folder, draw_figures(everything, folder)


def test_every_kind_is_drawn_where_its_data_exist(gallery):
    folder, entries = gallery
    # see test_network_pages.py and test_density_pages.py
    elsewhere = {kind for kind in TITLES if kind.startswith(("network_", "calibration_", DENSITY_FIGURES))}
    assert {entry["kind"] for entry in entries} == set(TITLES) - elsewhere
    assert json.loads((folder / "figures.json").read_text())["figures"] == entries
    files = {f"{entry['name']}.{kind}" for entry in entries for kind in ("svg", "png", "csv")}
    dark = {f"{kind}-dark.webp" for kind in ("examples", "solid")}
    assert {path.name for path in folder.iterdir()} == {"figures.json"} | files | dark
    for entry in entries:
        assert entry["csv"] == f"{entry['name']}.csv"
        assert len(read_table(folder / entry["csv"]))
        assert entry["alt"].endswith(".")
        assert "\n" not in entry["alt"]
        assert re.search(r"\d", entry["alt"])
        assert "nan" not in entry["alt"]
        assert entry["n"] >= 1
        assert entry["width"] >= 400


def test_every_kind_has_a_caption():
    for kind in TITLES:
        assert len((CAPTIONS / f"{kind}.rst").read_text(encoding="utf-8").split()) > 20


def test_a_figure_comes_with_exactly_what_it_draws(everything, gallery):
    drawn = read_table(gallery[0] / "bland-altman-vnet-test.csv")
    metrics = everything.metrics[everything.metrics["protocol"] == "test"]
    expected = metrics["predicted_mm3"] - metrics["reference_mm3"]
    assert drawn["difference_mm3"].tolist() == pytest.approx(expected.tolist())
    assert drawn["scan"].tolist() == metrics["scan"].tolist()


@pytest.mark.parametrize("kind", ["relative_error", "regression", "bland_altman"])
def test_points_lie_on_the_marks_of_their_scans(everything, gallery, kind):
    folder, entries = gallery
    (entry,) = [one for one in entries if (one["kind"], one["protocol"]) == (kind, "test")]
    people = everything.metrics[everything.metrics["protocol"] == "test"]
    assert sorted(scan for scan, *_ in entry["points"]) == sorted(people["scan"])
    picture = Image.open(folder / f"{entry['name']}.png").convert("RGB")
    assert picture.size == (2 * entry["width"], 2 * entry["height"])
    for _, x, y in entry["points"]:
        red, green, blue = picture.getpixel((2 * x, 2 * y))
        assert max(red, green, blue) - min(red, green, blue) > 40  # neither sheet nor grid: both are grey
    left = [
        x for scan, x, _ in entry["points"] if scan == people.sort_values("reference_mm3")["scan"].iloc[0]
    ]
    if kind == "relative_error":
        assert min(left) == min(x for _, x, _ in entry["points"])


def test_marks_are_no_links_in_the_files_themselves(gallery):
    for path in gallery[0].glob("*.svg"):
        assert "<a " not in path.read_text(encoding="utf-8")


def test_too_many_points_are_not_links(everything, tmp_path, monkeypatch):
    monkeypatch.setattr("lib.figures.gallery._MOST_VECTOR_POINTS", 3)
    entries = draw_figures(results_of(group_of(everything.metrics, "cv", "all")), tmp_path)
    assert [entry["points"] for entry in entries if entry["kind"] == "bland_altman"] == [[]]


def test_pictures_have_a_dark_sheet_for_dark_pages(gallery):
    folder, entries = gallery
    (entry,) = [one for one in entries if one["kind"] == "examples"]
    light, dark = (Image.open(folder / name).convert("L") for name in ("examples.png", entry["dark"]))
    assert light.size == dark.size
    assert light.getpixel((3, 3)) == 255 and dark.getpixel((3, 3)) < 40


def test_the_same_tables_give_the_same_bytes(study, tmp_path):
    test = group_of(study[0], "test", "all")
    for folder in ("a", "b"):
        draw_figures(results_of(test), tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 6 * 3 + 1
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    for path in (tmp_path / "a").glob("*.svg"):
        assert not re.search(r"<dc:date>|\b20\d\d-\d\d-\d\d", path.read_text())


def test_a_study_without_scores_has_no_figures(tmp_path):
    assert draw_figures(results_of(no_metrics()), tmp_path) == []
    assert (tmp_path / "figures.json").exists()


@pytest.mark.parametrize("protocol", ["cv", "test"])
def test_one_person_of_one_cohort_and_fold_can_be_drawn(everything, tmp_path, protocol):
    one = group_of(everything.metrics, protocol, "male").head(1)
    results = replace(
        everything, metrics=one, agreement=agreement_table(measurements(one), CONFIG), volumes=pd.DataFrame()
    )
    entries = draw_figures(replace(results, readers=pd.DataFrame(), histories={}, examples=[]), tmp_path)
    assert {entry["n"] for entry in entries} == {1}
    assert {entry["kind"] for entry in entries} - {"fold_spread"} == SCORED


def test_scores_that_are_not_defined_leave_their_figures_out(study, tmp_path):
    undefined = group_of(study[0], "test", "all").assign(dsc=np.nan, re_percent=np.nan, predicted_mm3=np.nan)
    assert draw_figures(results_of(undefined), tmp_path / "none") == []
    without_levels = group_of(study[0], "test", "all").assign(**{f"dsc_{level}": np.nan for level in LEVELS})
    kinds = {entry["kind"] for entry in draw_figures(results_of(without_levels), tmp_path)}
    assert kinds == {"scores", "relative_error", "regression", "bland_altman", "error_by_age"}
    without_relative = group_of(study[0], "test", "all").assign(dsc=np.nan, re_percent=np.nan)
    kinds = {entry["kind"] for entry in draw_figures(results_of(without_relative), tmp_path / "relative")}
    assert kinds == {"regression", "bland_altman"}


def test_volumes_are_of_the_people_of_the_agreement_table(study, tmp_path):
    test = group_of(study[0], "test", "all")
    again = test.tail(1).assign(scan="again", repeat_of=test["scan"].iloc[-1])
    metrics = pd.concat([test, again], ignore_index=True)
    # the first scan has no volumes, but its repetition does
    metrics.loc[len(test) - 1, ["reference_mm3", "predicted_mm3", "re_percent"]] = np.nan
    results = results_of(metrics)
    entries = {entry["kind"]: entry["n"] for entry in draw_figures(results, tmp_path)}
    everybody = results.agreement[results.agreement["stratum"] == "all"]
    assert entries["regression"] == entries["bland_altman"] == everybody["n"].item() == len(test)
    assert "again" in read_table(tmp_path / "regression-vnet-test.csv")["scan"].tolist()


def test_made_up_people_are_marked_in_the_figure(everything, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda figure, path, **_: (path.touch(), seen.append(figure))
    )
    entries = draw_figures(everything, tmp_path)
    assert len(seen) == 2 * len(entries) + sum("dark" in entry for entry in entries)
    assert all("synthetic cohort" in figure.get_suptitle() for figure in seen)


def test_a_figure_is_laid_out_once_and_drawn_once_for_each_file(study, tmp_path, monkeypatch):
    counts = Counter()

    draw, execute = Figure.draw, ConstrainedLayoutEngine.execute
    monkeypatch.setattr(Figure, "draw", lambda *given: counts.update(["draw"]) or draw(*given))
    monkeypatch.setattr(
        ConstrainedLayoutEngine, "execute", lambda *given: counts.update(["execute"]) or execute(*given)
    )
    entries = draw_figures(results_of(group_of(study[0], "test", "all")), tmp_path)
    assert counts == {"execute": len(entries), "draw": 2 * len(entries)}


def test_a_figure_of_many_points_stays_light(tmp_path):
    few, many = (tables(count, count // 2)[0] for count in (60, 600))
    sizes = {}
    for name, metrics in (("few", few), ("many", many)):
        test = group_of(metrics, "test", "all")
        draw_figures(
            replace(results_of(test), agreement=agreement_table(measurements(test), AgreementConfig())),
            tmp_path / name,
        )
        svg = tmp_path / name / "scores-vnet-test.svg"
        sizes[name] = svg.stat().st_size
        assert ("<image" in svg.read_text()) == (name == "many")
    assert sizes["many"] < 400_000


def test_bars_say_where_their_axis_starts_and_how_many_people(study):
    cv = study[0][study[0]["protocol"] == "cv"]
    drawing = draw_scores(cv)
    axes = drawing.figure.axes[0]
    floor = axes.get_ylim()[0]
    assert 0.9 <= floor < cv[["dsc", "sensitivity", "specificity"]].min().min()
    assert axes.get_ylabel().endswith(f"{floor:.2f}")
    assert {"all (n = 20)", "men (n = 10)"} <= set(texts(drawing.figure))
    assert f"all (n = 20) {cv[cv['group'] == 'all']['dsc'].mean():.4f}" in drawing.alt


def test_no_whisker_and_no_number_of_a_bar_is_cut_off(study):
    test = group_of(study[0], "test", "all").head(3).assign(dsc=[0.6, 0.99, 0.99])
    drawing = draw_scores(test)
    axes = drawing.figure.axes[0]
    low, high = axes.get_ylim()
    mean, sd = test["dsc"].mean(), test["dsc"].std(ddof=1)
    assert low < mean - sd < mean + sd < high
    assert axes.texts[0].get_text() == f"{mean:.4f}"
    assert [low < text.xy[1] < high for text in axes.texts] == [True] * 3


def test_a_single_scan_is_not_hidden_by_its_mean(study):
    one = study[0][(study[0]["protocol"] == "cv") & (study[0]["group"] == "all")].head(1)
    scores, levels = draw_scores(one).figure.axes[0], draw_levels(one, "the femur").figure.axes[0]
    assert not scores.lines
    folds = draw_fold_spread(one, pd.DataFrame(columns=["group", "measure"])).figure.axes[0]
    for axes in (scores, levels, folds):
        assert not [part for part in axes.collections if hasattr(part, "get_segments")]


def test_sexes_stand_beside_each_other():
    offsets = beside(pd.Series(["M", "F", "M", "F", "F"]), 0.6)
    assert all(offsets[[0, 2]] < 0) and all(offsets[[1, 3, 4]] > 0)
    assert np.abs(offsets).max() <= 0.3
    alone = beside(pd.Series(["F"] * 50), 0.6)
    assert alone.min() < -0.2 and alone.max() > 0.2


def test_of_many_points_neither_sex_hides_the_other():
    axes, count = mpl.figure.Figure().subplots(), 300
    people = pd.DataFrame({"sex": ["M", "F"] * count, "subject": range(2 * count)})
    scatter_people(axes, people, np.arange(2 * count), np.zeros(2 * count))
    order = shapes(axes)
    assert len(points_of(axes)) == 2 * count
    assert order[0::2] == [order[0]] * 10 and order[1::2] == [order[1]] * 10
    assert order[0] != order[1]


def test_levels_show_every_scan_that_has_the_part(study):
    test = group_of(study[0], "test", "all").assign(dsc_shaft=np.nan)
    drawing = draw_levels(test, "the femur")
    axes = drawing.figure.axes[0]
    assert sorted(points_of(axes)[:, 1]) == pytest.approx(
        sorted(test[["dsc_head", "dsc_neck", "dsc_trochanter"]].to_numpy().ravel())
    )
    assert f"{axes.get_ylim()[0]:.3f}" in axes.get_ylabel()
    assert f"head {test['dsc_head'].median():.4f}" in drawing.alt
    assert "shaft" not in drawing.alt


def test_quartiles_are_those_of_the_values():
    axes = mpl.figure.Figure().subplots()
    draw_quartiles(axes, 2, np.array([1.0, 2, 3, 4, 5]), 0.5)
    box = axes.patches[0]
    assert (box.get_y(), box.get_height()) == (2, 2)
    assert axes.collections[0].get_segments()[0][:, 1].tolist() == [3, 3]


RECORDS = [
    {"distance_mm": [0.0, 3.0], "reference_mm3": [100.0, 300.0], "missed_mm3": [10.0, 3.0], "added_mm3": [0, 6]},
    {"distance_mm": [0.0, 3.0], "reference_mm3": [300.0, 100.0], "missed_mm3": [10.0, 1.0], "added_mm3": [4, 2]},
]  # fmt: skip


def test_errors_along_the_bone_are_shares_of_all_people():
    drawing = draw_error_by_distance(RECORDS, 2)
    left, right = drawing.figure.axes
    missed, added = (line.get_ydata().tolist() for line in left.lines)
    assert missed == pytest.approx([5.0, 1.0])
    assert added == pytest.approx([1.0, 2.0])
    assert right.lines[0].get_ydata().tolist() == pytest.approx([1.0, 5.0])
    nothing = {"distance_mm": [0.0], "reference_mm3": [0.0], "missed_mm3": [0.0], "added_mm3": [5.0]}
    assert draw_error_by_distance([nothing], 1) is None


def test_distances_that_few_scans_reach_are_left_out():
    long = {name: [*values, values[-1]] for name, values in RECORDS[0].items()} | {
        "distance_mm": [0.0, 3.0, 6.0]
    }
    for draw in (draw_error_by_distance, draw_dice_by_distance):
        data = draw([long, RECORDS[1], RECORDS[1]], 2).data
        assert data["from_mm"].tolist() == [0, 3, 0, 3]
        assert data["scans"].tolist() == [3, 3, 3, 3]
        assert draw([long, RECORDS[1]], 2).data["from_mm"].max() == 6
    apart = [RECORDS[0] | {"distance_mm": [start, start + 3]} for start in (0.0, 30.0, 60.0)]
    far = draw_dice_by_distance([apart[2]], 1)
    assert "0.947 at 60 mm from the scan's lower end" in far.alt
    assert draw_error_by_distance(apart, 3).data["end"].unique().tolist() == ["top"]


def test_the_worse_end_of_the_bone_is_not_cut_off():
    missed_at_the_top = [
        {"distance_mm": [3.0 * i for i in range(n)], "reference_mm3": [100.0] * n,
         "missed_mm3": [0.0] * (n - 1) + [50.0], "added_mm3": [0.0] * n}
        for n in (2, 3, 4)
    ]  # fmt: skip
    left, right = draw_error_by_distance(missed_at_the_top, 3).figure.axes
    assert left.lines[0].get_ydata().max() == 25
    assert right.lines[0].get_ydata().max() == 50 < right.get_ylim()[1]
    assert right.get_ylim()[0] == 0


def test_people_and_scans_along_the_bone_are_told_apart():
    drawing = draw_error_by_distance(RECORDS, 1)
    assert drawing.n == 1
    assert "Scan's end (n = 1, 2 scans)" in texts(drawing.figure)
    assert "Scan's end (n = 2)" in texts(draw_error_by_distance(RECORDS, 2).figure)


def test_dice_of_a_slice_is_twice_the_common_over_the_sum():
    data = draw_dice_by_distance([RECORDS[0]], 1).data
    distal, top = (data[data["end"] == end].set_index("from_mm")["median"] for end in ("distal", "top"))
    # 2 * 90 / (100 + 90), 2 * 297 / (300 + 303)
    assert distal.to_dict() == pytest.approx({0.0: 180 / 190, 3.0: 594 / 603})
    assert top.to_dict() == pytest.approx({0.0: 594 / 603, 3.0: 180 / 190})


def test_few_scans_are_single_lines_and_many_get_a_band():
    few = draw_dice_by_distance(RECORDS, 2).figure.axes[0]
    many = draw_dice_by_distance(RECORDS * 10, 20).figure.axes[0]
    assert (len(few.lines), len(few.collections)) == (3, 0)
    assert len(many.lines) == 1
    assert len(many.collections) >= 1
    missed = RECORDS[0] | {"missed_mm3": [100.0, 0.0], "added_mm3": [0.0, 0.0]}
    everything = draw_dice_by_distance([missed], 1).figure.axes[0]
    assert everything.get_ylim() == (0, 1)
    assert everything.get_ylabel() == "DSC of the slice"


def shapes(axes):
    return [len(part.get_paths()[0].vertices) for part in axes.collections]


def test_a_person_keeps_its_colour_and_sex_its_shape(study):
    cv = study[0][study[0]["protocol"] == "cv"]
    everybody, men, women = draw_relative_error(cv).figure.axes
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
    cv = group_of(study[0], "cv", "all")
    rows = volume_agreement(cv, CONFIG)
    row = rows[rows["stratum"] == "all"]
    drawing = draw_bland_altman(cv, row)
    axes = drawing.figure.axes[0]
    levels = {round(float(line.get_ydata()[0]), 6) for line in axes.lines}
    expected = {round(row[name].item() / 1000, 6) for name in ("loa_low_mm3", "bias_mm3", "loa_high_mm3")}
    assert levels == expected | {0.0}
    low, high = axes.get_ylim()
    assert low < min(expected) <= max(expected) < high
    assert f"{row['bias_mm3'].item() / 1000:+.2f} cm³".replace("-", "−") in drawing.alt


def test_the_line_and_the_numbers_of_the_regression_are_those_of_the_table(study):
    cv = group_of(study[0], "cv", "all")
    rows = volume_agreement(cv, CONFIG)
    row = rows[rows["stratum"] == "all"]
    drawing = draw_regression(cv, row)
    axes = drawing.figure.axes[0]
    identity, fitted = axes.lines
    x, y = fitted.get_data()
    slope = (y[1] - y[0]) / (x[1] - x[0])
    assert slope == pytest.approx(row["slope"].item())
    assert y[0] - slope * x[0] == pytest.approx(row["intercept_mm3"].item() / 1000)
    assert identity.get_xdata().tolist() == identity.get_ydata().tolist()
    slope, low, high = (row[f"slope{end}"].item() for end in ("", "_ci_low", "_ci_high"))
    told = f"slope {slope:.3f} ({low:.3f} to {high:.3f})"
    assert axes.get_xlabel().endswith(told)
    assert told in drawing.alt
    assert f"R² {row['r2'].item():.4f} ({row['r2_ci_low'].item():.4f} to" in drawing.alt
    (band,) = bands(drawing.figure)
    outline = band.get_paths()[0].vertices
    middle = np.abs(outline[:, 0] - x.mean()) < (x[-1] - x[0]) / 60
    # the band of the mean, compared with scipy's standard error of the fitted value at the mean of x
    volumes = cv[["reference_mm3", "predicted_mm3"]].to_numpy().T / 1000
    at = outline[middle][0][0]
    line = stats.linregress(*volumes)
    rest = volumes[1] - line.intercept - line.slope * volumes[0]
    leverage = (1 + (at - volumes[0].mean()) ** 2 / volumes[0].var()) / len(cv)
    error = np.sqrt(np.sum(rest**2) / (len(cv) - 2) * leverage)
    ends = outline[outline[:, 0] == at][:, 1]
    assert np.ptp(ends) == pytest.approx(2 * stats.t.ppf(0.975, len(cv) - 2) * error)


def test_where_people_have_several_scans_there_is_no_line(study):
    cv = group_of(study[0], "cv", "all")
    again = pd.concat([cv, cv.head(1).assign(scan="X")], ignore_index=True)
    rows = volume_agreement(again, CONFIG)
    axes = draw_regression(again, rows[rows["stratum"] == "all"]).figure.axes[0]
    assert len(axes.lines) == 1


def test_texts_and_legends_cover_no_data(study):
    cv = study[0][study[0]["protocol"] == "cv"]
    rows = volume_agreement(cv, CONFIG)
    everybody = rows[rows["stratum"] == "all"]
    paired = paired_table(cv, CONFIG).assign(first_updates=1.0, second_updates=1.0)
    for drawing in (
        draw_regression(cv, everybody),
        draw_bland_altman(cv, everybody),
        draw_sex_specific(cv, paired),
    ):
        for axes in drawing.figure.axes:
            assert axes.get_legend() is None
            assert not axes.texts


def test_a_single_person_has_a_bias_but_no_limits(study):
    one = group_of(study[0], "cv", "all").head(1)
    rows = volume_agreement(one, CONFIG)
    bias = (one["predicted_mm3"] - one["reference_mm3"]).item() / 1000
    told = f"bias {bias:+.2f} cm³, limits not defined".replace("-", "−")
    assert told in draw_bland_altman(one, rows[rows["stratum"] == "all"]).alt


def test_models_are_compared_on_the_people_that_both_predicted(study):
    cv = study[0][study[0]["protocol"] == "cv"]
    gone = cv[(cv["group"] == "male")].iloc[0]
    cv = cv.drop(gone.name)
    paired = paired_table(cv, CONFIG).assign(first_updates=1200.0, second_updates=np.nan)
    drawing = draw_sex_specific(cv, paired)
    men = drawing.data[drawing.data["group"] == "male"].set_index("subject")
    assert gone["subject"] not in men.index
    assert len(men) == 9
    assert drawing.alt.index("male (n = 9)") < drawing.alt.index("female (n = 10)")
    difference = (men["own_error_mm3"] - men["common_error_mm3"]).mean()
    assert difference == pytest.approx(paired.set_index("group").loc["male", "difference_mm3"])
    first = drawing.figure.axes[0]
    assert "1,200 updates a fold" in first.get_ylabel()
    assert "updates unknown" in first.get_xlabel()
    assert draw_sex_specific(cv[cv["group"] == "all"], paired) is None


def ranked(errors, sexes="MMMFFF"):
    scans = [f"P{index}" for index in range(len(errors))]
    return pd.DataFrame(
        {"scan": scans, "subject": scans, "sex": list(sexes), "age": [str(30 + i) for i in range(len(errors))],
         "re_percent": errors, "dsc": 0.98}
    )  # fmt: skip


def test_spearman_is_pooled_and_within_sex_with_n():
    errors = [*range(1, 11), *range(10, 0, -1)]
    people = ranked(errors, "M" * 10 + "F" * 10).assign(x=[*range(10), *range(10)])
    # Fisher's z of 0 with the variance 1 / 17; a rho of 1 has no interval
    end = np.tanh(stats.norm.ppf(0.975) / np.sqrt(17))
    assert spearman_text(people, "x", "re_percent") == (
        f"Spearman's ρ: all 0.00 (−{end:.2f} to +{end:.2f}), n = 20\nmen +1.00, n = 10\nwomen −1.00, n = 10"
    )
    for few, why in (
        (people.head(9), "fewer than 10 people"),
        (people.assign(x=1), "values do not vary"),
        (
            people.assign(
                subject=[f"P{min(n, 8)}" for n in range(10)] + [f"P{min(n, 18)}" for n in range(10, 20)]
            ),
            "people have several scans",
        ),
    ):
        assert spearman_text(few, "x", "re_percent") == f"Spearman's ρ not given: {why}"


def test_spearmans_interval_is_wider_than_pearsons():
    generator = np.random.default_rng(3)
    x = generator.normal(0, 1, 30)
    y = x + generator.normal(0, 1, 30)
    rho = stats.spearmanr(x, y).statistic
    low, high = spearman_interval(x, y)
    theirs = pingouin.compute_esci(stat=rho, nx=30, ny=30, eftype="r")
    assert (np.arctanh(high) - np.arctanh(low)) / 2 == pytest.approx(
        stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / 27)
    )
    assert low < theirs[0] < rho < theirs[1] < high


def test_people_over_ninety_are_not_told_apart():
    people = ranked([1.0, 2, 3, 4, 5, 6]).assign(age=["90+", "90+", "89", "", "50", "51"])
    drawing = draw_error_by_age(people)
    assert sorted(drawing.data["age_years"]) == [50, 51, 89, 90, 90]
    assert "90+ drawn at 90" in drawing.figure.axes[0].get_xlabel()
    assert draw_error_by_age(people.assign(age="")) is None


def bands(figure):
    return [part for part in figure.axes[0].collections if isinstance(part, mpl.collections.PolyCollection)]


def test_bands_and_lines_need_twenty_people_of_a_sex():
    few, many = (ranked(np.sin(np.arange(n)), "M" * n) for n in (19, 20))
    pixels = pd.DataFrame({"scan": many["scan"], "pixel_mm": np.linspace(0.6, 0.9, 20)})
    drawn = [draw_error_by_pixel(people, pixels).figure for people in (few, many)]
    assert [len(bands(figure)) for figure in drawn] == [0, 1]
    # the line of no error stands alone where there is no trend
    assert [len(figure.axes[0].lines) for figure in drawn] == [1, 2]
    assert draw_error_by_pixel(few, pixels.assign(pixel_mm=0.8)) is None


def test_scanners_are_compared_with_kernel_and_voltage():
    people = ranked([1.0, 2, 3, 4, 5, 6])
    acquisition = pd.DataFrame(
        {"scan": people["scan"], "manufacturer": ["A$B"] * 4 + [""] * 2, "model": [""] * 6,
         "kernel": ["B30s", "B30s", "B30s", "B60f", "", ""], "kvp": [120, 120, 120, np.nan, np.nan, np.nan]}
    )  # fmt: skip
    drawing = draw_error_by_scanner(people, acquisition)
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels == [r"A\$B, B30s, 120 kV (n = 3)", r"A\$B, B60f (n = 1)"]
    assert "median DSC: 0.9800 (A$B, B30s, 120 kV) to 0.9800 (A$B, B60f)" in drawing.alt
    assert draw_error_by_scanner(people.head(3), acquisition) is None


def test_scanners_of_mr_are_compared_with_field_and_sequence():
    people = ranked([1.0, 2, 3, 4, 5, 6])
    acquisition = pd.DataFrame(
        {"scan": people["scan"], "manufacturer": "A", "field_tesla": [3.0, 3.0, 3.0, 1.5, 1.5, np.nan],
         "sequence": [*["GR"] * 5, "SE"], "kernel": ""}
    )  # fmt: skip
    drawing = draw_error_by_scanner(people, acquisition)
    assert sorted(set(drawing.data["setting"])) == ["A, 1.5 T, GR", "A, 3 T, GR", "A, SE"]
    assert drawing.alt.startswith("Errors by scanner and its settings, 3 in all;")


def test_a_long_name_of_a_scanner_leaves_room_for_the_figure():
    people = ranked([1.0, 2, 3, 4, 5, 6])
    names = ["S", "one word after another " * 8]
    acquisition = pd.DataFrame({"scan": people["scan"], "manufacturer": names * 3, "kernel": "B30s"})
    drawing = draw_error_by_scanner(people, acquisition)
    assert f"{names[1].strip()}, B30s" in set(drawing.data["setting"])
    drawing.figure.canvas.draw()
    left, right = (axes.get_position().width for axes in drawing.figure.axes)
    assert min(left, right) > 0.25
    label = drawing.figure.axes[0].get_yticklabels()[1].get_text()
    assert label.startswith("one word")
    assert "…" in label
    assert label.endswith("B30s (n = 3)")


def test_rare_scanners_share_the_last_line():
    people = ranked(np.arange(15.0), "M" * 15)
    acquisition = pd.DataFrame({"scan": people["scan"], "manufacturer": [f"S{i % 14}" for i in range(15)]})
    data = draw_error_by_scanner(people, acquisition).data
    assert data["setting"].nunique() == 12
    assert (data["setting"] == "all rarer settings").sum() == 3


def test_a_repeated_scan_is_compared_with_the_first_of_the_same_models():
    row = {"group": "all", "subject": "A", "sex": "M", "members": "fold-0", "structure": "femur"}
    volumes = pd.DataFrame(
        [row | {"scan": "A1", "repeat_of": "", "predicted_mm3": 1000.0},
         row | {"scan": "A2", "repeat_of": "A1", "predicted_mm3": 1400.0},
         row | {"scan": "A1", "repeat_of": "", "predicted_mm3": 5000.0, "members": "ensemble"},
         row | {"scan": "B2", "repeat_of": "B1", "predicted_mm3": 9.0, "subject": "B"}]
    )  # fmt: skip
    pairs = repeated_pairs(volumes.assign(network="vnet", protocol="cv"))
    drawing = draw_precision(pairs, precision_row())
    assert drawing.data[["scan", "mean_mm3", "difference_mm3"]].values.tolist() == [["A2", 1200.0, 400.0]]
    assert points_of(drawing.figure.axes[0]).tolist() == [[1.2, 0.4]]
    assert "LSC 1.11 cm³ (0.49 to 35.40), degrees of freedom: 1 (below 30)" in drawing.alt
    undefined = draw_precision(pairs, precision_row().head(0))
    assert "precision not defined" in undefined.alt


def test_repetitions_are_drawn_where_the_table_counts_them(study):
    """A repetition without a reference is grouped with its first scan, or without it with the first repetition."""
    test = study[1][(study[1]["protocol"] == "test") & (study[1]["group"] == "all")].assign(repeat_of="")
    made = [
        test.head(2).assign(
            repeat_of=test["scan"].head(2), scan=[f"{name}{end}" for name in "AB"], protocol="apply"
        )
        for end in "xy"
    ]
    volumes = pd.concat([test, *made], ignore_index=True).drop(index=0)
    pairs = repeated_pairs(volumes)
    assert pairs[["scan", "first_scan"]].values.tolist() == [["Bx", "P001"], ["Ay", "Ax"], ["By", "P001"]]
    table = precision_table(study[0], volumes, CONFIG)
    table = table[table["measure"] == "predicted_mm3"].set_index("protocol")
    assert pairs["protocol"].value_counts().to_dict() == table["degrees_of_freedom"].to_dict()
    assert table["degrees_of_freedom"].to_dict() == {"test": 2, "apply": 1}


def test_readers_stand_beside_the_model():
    drawing = draw_readers(reader_rows())
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels[0] == "all: reader 1 and reader 2 (n = 5)"
    assert len(labels) == 3
    bare = reader_rows().assign(dsc_sd=np.nan, loa_low_mm3=np.nan, bias_mm3_ci_low=np.nan)
    assert draw_readers(bare).n == 5


def test_fold_means_are_drawn_at_the_means_of_their_people(study, everything):
    cv = group_of(study[0], "cv", "all")
    drawing = draw_fold_spread(cv, everything.spread)
    axes = drawing.figure.axes[0]
    lines = [part.get_segments()[0][0, 1] for part in axes.collections if hasattr(part, "get_segments")]
    assert lines == pytest.approx(cv.groupby("fold")["dsc"].mean().tolist())
    assert "SD of fold means 0.0020, by people alone 0.0010, SD between people 0.0040" in drawing.alt
    assert axes.get_title().startswith("SD of fold means 0.0020")
    other_hips = cv.iloc[:3].assign(scan=["a", "b", "c"], dsc=0.9)
    both = pd.concat([cv, other_hips])
    axes = draw_fold_spread(both, everything.spread).figure.axes[0]
    lines = [part.get_segments()[0][0, 1] for part in axes.collections if hasattr(part, "get_segments")]
    table = spread_table(both, CONFIG).set_index("measure").loc["dsc"]
    assert (min(lines), max(lines)) == pytest.approx((table["fold_mean_low"], table["fold_mean_high"]))
    assert axes.lines[0].get_ydata()[0] == pytest.approx(table["mean"])


def test_the_mean_curve_ends_where_the_first_fold_stops():
    curves = {("all", 0): history(0, 50), ("all", 1): history(1, 30)}
    figure = draw_learning_curves(curves).figure
    for axes in figure.axes:
        *folds, mean = axes.lines
        assert sorted(max(line.get_xdata()) for line in folds) == [30, 50]
        assert max(mean.get_xdata()) == 30


def test_histories_are_known_by_their_path():
    assert history_key("results/models/male/vnet/fold-7/history.csv") == ("male", "vnet", 7)
    assert history_key("finished/fold-0/history.csv") == ("", "finished", 0)


def test_a_curve_of_one_validation_has_a_marker():
    curve = pd.DataFrame(
        {"epoch": [1, 2, 3], "loss": [0.5, 0.4, 0.3], "validation_dice": [np.nan, 0.9, np.nan]}
    )
    for curves in ({("all", 0): curve}, {("all", 0): curve, ("all", 1): curve.assign(validation_dice=0.8)}):
        loss, dice = draw_learning_curves(curves).figure.axes
        assert {line.get_marker() for line in loss.lines} == {"None"}
        assert [(line.get_marker() != "None") for line in dice.lines] == [
            len(line.get_xdata()) == 1 for line in dice.lines
        ]
        assert dice.lines[0].get_marker() == dice.lines[-1].get_marker() == "o"


def test_a_fold_without_validation_can_be_drawn(tmp_path):
    curve = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.4], "validation_dice": [np.nan, np.nan]})
    results = results_of(no_metrics(), histories={("", "vnet", 0): curve})
    assert [entry["kind"] for entry in draw_figures(results, tmp_path)] == ["learning_curves"]


def test_examples_are_the_median_man_and_woman_of_the_test(study):
    metrics = study[0]
    keys = {prediction_key(row) for row in metrics.to_dict("records")}
    chosen = example_scans(metrics, keys)
    test = group_of(metrics, "test", "all")
    assert [row["sex"] for row in chosen] == ["F", "M"]
    men = test[test["sex"] == "M"].sort_values("dsc")
    assert chosen[1]["scan"] == men["scan"].iloc[(len(men) - 1) // 2]
    tested = {prediction_key(row) for row in metrics[metrics["protocol"] == "test"].to_dict("records")}
    assert example_scans(metrics, keys - tested)[0]["protocol"] == "cv"
    assert example_scans(metrics, set()) == example_scans(no_metrics(), keys) == []


def test_examples_of_several_structures_are_of_the_median_mean_dice(study):
    keys = {prediction_key(row) for row in study[0].to_dict("records")}
    first = study[0].assign(structure="L1")
    # the person with the lowest Dice in L1 has the highest in L2, of the same models
    highest = first.groupby(["group", "network", "protocol", "sex"])["dsc"].transform("max")
    second = first.assign(structure="L2", dsc=highest - 3 * (first["dsc"] - highest) - 1)
    metrics = pd.concat([first, second], ignore_index=True)
    chosen = example_scans(metrics, keys)
    test = group_of(metrics, "test", "all")
    for row, sex in zip(chosen, "FM", strict=True):
        own = test[test["sex"] == sex]
        mean = own.groupby("scan")["dsc"].mean().sort_values()
        assert row["scan"] == mean.index[(len(mean) - 1) // 2]
        assert row["dsc"] == pytest.approx(mean[row["scan"]], abs=1e-12)
    alone = example_scans(first, keys)
    assert [row["scan"] for row in alone] != [row["scan"] for row in chosen]
    assert example_title(chosen[0], several=True).startswith(
        f"{chosen[0]['scan']}, woman, mean Dice {chosen[0]['dsc']:.4f} ("
    )
    assert f", woman, DSC {alone[0]['dsc']:.4f} (" in example_title(alone[0])


def test_a_structure_without_a_dice_is_left_out_of_the_mean(study):
    keys = {prediction_key(row) for row in study[0].to_dict("records")}
    unscored = study[0].assign(structure="L2", dsc=np.nan)
    with_it = example_scans(pd.concat([unscored, study[0]], ignore_index=True), keys)
    assert [(row["scan"], row["dsc"]) for row in with_it] == [
        (row["scan"], row["dsc"]) for row in example_scans(study[0], keys)
    ]


def test_examples_show_original_reference_and_prediction():
    with mpl.rc_context(STYLE):
        drawing = draw_examples([example()])
    assert len(drawing.figure.axes if drawing.figure.axes else drawing.figure.subfigs[0].axes) == 18
    assert {"P001, DSC", "original", "reference", "prediction"} <= set(texts(drawing.figure))
    area = example().reference_zyx[0].sum() * 0.64
    assert drawing.data["reference_mm2"].tolist() == pytest.approx([area] * 6)


def test_a_solid_is_shown_from_four_sides_with_its_volumes():
    one = example()
    drawing = draw_solids([one, one])
    pictures = [axes.images[0].get_array() for axes in drawing.figure.findobj(mpl.axes.Axes)]
    assert len(pictures) == 8
    assert all((picture[..., 3] == 255).sum() > 1000 for picture in pictures)
    missed = (one.reference_zyx & ~one.predicted_zyx).sum() * 3 * 0.64
    assert drawing.data["false_negative_mm3"].tolist() == pytest.approx([missed] * 2)
    assert {"in both", "missed", "added", "from the front"} <= set(texts(drawing.figure))
    empty = replace(one, reference_zyx=one.reference_zyx * 0, predicted_zyx=one.predicted_zyx * 0)
    assert draw_solids([empty]).data["dsc"].isna().all()


def test_numbers_of_figures_have_true_minus_signs_and_no_negative_zero():
    assert minus("-0.00 to +0.0 %, -0.01; +0 and -10") == "0.00 to 0.0 %, −0.01; 0 and −10"
    assert minus("x-0.5, rms-0") == "x−0.5, rms−0"
