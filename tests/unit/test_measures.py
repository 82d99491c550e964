"""A measure is defined once, in lib/catalog/measures.py; tables, pages and figures take it from there.

`shown_measures.json` holds what they show: columns, headers, digits and order. After an intended change, write it
again: python -m tests.unit.test_measures
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from lib.catalog.measures import CM3, MEASURES, SUMMARIES
from lib.figures.covariates import draw_error_by_age
from lib.figures.learning_curves import draw_fold_spread
from lib.figures.segmentation import draw_scores
from lib.pages import comparison_page
from lib.pages.report import build_context
from lib.pages.report_tables import reader_view, training_view
from lib.pages.scan_numbers import ShownPrediction, number_groups
from lib.stats import comparison, fold_variance, precision, readers, scores, subgroups
from lib.stats.agreement import AGREEMENT_COLUMNS
from lib.stats.agreement_units import name_in
from lib.stats.grid_limits import BOUND_TO_GRID
from lib.stats.tables import METRIC_COLUMNS, METRICS_OF_VOLUME, UNSCORED_COLUMNS, VOLUME_COLUMNS
from tests.unit.study_tables import people, tables
from tests.unit.test_report import render, report, study_tables

ROOT = Path(__file__).parents[2]
SHOWN = Path(__file__).with_name("shown_measures.json")
NUMBER = 1234.5678901


def digits_only(text):
    """Return the format of a number: its text with every digit as 0 and without thousands separators."""
    return re.sub(r"0[0,]*", "0", re.sub(r"\d", "0", str(text).split(".")[0])) + "".join(
        f".{re.sub(r'[0-9]', '0', part)}" for part in str(text).split(".")[1:]
    )


def made_study():
    """Return the tables of the made-up study by name."""
    metrics, volumes, _ = tables(14, 3)
    placed = people(14, 3)
    fine = {"verdict": "ok", "reason": "", "explanation": "", "has_mask": "1"}
    return study_tables(metrics, volumes, [row | fine for row in placed], placed), metrics


def scan_numbers():
    """Return the numbers on the page of a scan with all measures."""
    names = dict.fromkeys((*METRIC_COLUMNS, *VOLUME_COLUMNS), NUMBER)
    words = {"flags": [], "undefined": {}, "side": "left"}
    whole = ShownPrediction(plan={}, mask_zyx=np.ones((1, 1, 1)), overlap=names | words)
    return [
        [group["title"], [[row["label"], row["unit"], row["values"][0]["text"]] for row in group["rows"]]]
        for group in number_groups([whole], "HU")
    ]


def page_tables(views):
    """Return caption, headers and number formats of the first row of each table of the page."""
    found = {}
    for view in views:
        rows = [line for line in view.lines if not isinstance(line, str)]
        cells = [digits_only(re.sub(r"<[^>]*>", " ", str(shown))) for shown, _ in rows[0]]
        small = [digits_only(re.sub(r"<[^>]*>", " ", str(small))) for _, small in rows[0]]
        heads = [[column.head, column.note, column.numeric] for column in view.columns]
        found[view.caption] = [list(row) for row in zip(heads, cells, small, strict=True)]
    return found


def figure_labels(metrics, made):
    cv = metrics[metrics["protocol"] == "cv"]
    bars = draw_scores(cv)
    by_age = draw_error_by_age(cv[cv["group"] == "all"])
    folds = draw_fold_spread(cv, made["spread"])
    return {
        "scores": [tick.get_text() for tick in bars.figure.axes[0].get_xticklabels()],
        "error_by_age": [axes.get_ylabel().split(" (")[0] for axes in by_age.figure.axes],
        "fold_spread": [axes.get_ylabel().split(" (")[0] for axes in folds.figure.axes if axes.get_ylabel()],
        "written": [digits_only(drawing.alt) for drawing in (bars, folds)],
    }


def shown(folder):
    """Return all that tables, pages and figures show of measures."""
    made, metrics = made_study()
    context = build_context(report(made, figures=[], screened=[]))
    fake = dict.fromkeys(readers.READER_COLUMNS, NUMBER)
    fake |= {"group": "all", "network": "vnet", "protocol": "cv", "structure": "femur"}
    fake |= {"pair": "reader 1 - model"}
    fake |= {"n": 4, "scans": 4, "hd95_mm_scans": 4, "undefined": ""}
    runs = {"group": "all", "network": "vnet", "folds": 5, "parameters": NUMBER, "scans": "4", "updates": "9"}
    runs |= {"dice": "0.9", "hours": NUMBER, "device": "cpu", "precision": "bf16", "undefined": ""}
    views = [view for group in context["views"].values() for view in group]
    text = render(report(made, figures=[], screened=[]), folder)
    cards = re.findall(r"<dt>(.*?)</dt><dd>(.*?)(?:<small>|</dd>)", text)
    return {
        "columns": {name: list(table.columns) for name, table in made.items()}
        | {"unscored": list(UNSCORED_COLUMNS), "readers": list(readers.READER_COLUMNS)},
        "from volume files": sorted(METRICS_OF_VOLUME),
        "scores": [list(pair) for pair in scores.SCORES.items()],
        "decided by the grid": dict(BOUND_TO_GRID),
        "precision": list(precision.PRECISION_MEASURES),
        "spread": list(fold_variance.SPREAD_MEASURES),
        "subgroups": list(subgroups.SUBGROUP_MEASURES),
        "readers": [[name, MEASURES[name].scale] for name in readers.MEANS],
        "comparison": [list(comparison.NUMBERS), list(comparison.SUMMARY_COLUMNS)],
        "comparison page": [list(entry) for entry in comparison_page.NUMBERS],
        "comparison words": comparison_page.KINDS,
        "scan page": scan_numbers(),
        "scan table": json.loads(str(context["scan_json"]))["numbers"],
        "report": page_tables([*views, reader_view([fake]), training_view([runs])]),
        "cards": [[label, digits_only(value)] for label, value in cards],
        "figures": figure_labels(metrics, made),
    }


def plain(value):
    return json.loads(json.dumps(value, ensure_ascii=False, default=str))


def test_what_is_shown_of_measures_is_what_was_shown_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected, found = json.loads(SHOWN.read_text(encoding="utf-8")), plain(shown(tmp_path))
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        assert found[part] == value, part


def test_names_units_and_orders_fit_one_another():
    for name, measure in MEASURES.items():
        assert measure.grid_limit in ("", name, "nsd_tolerance_mm")
        assert not measure.is_score or (measure.better and "metrics" in measure.columns), name
        assert (measure.factor == CM3) == name.endswith("_mm3"), name
        for ending, unit in {"_mm3": "cm³", "_mm": "mm", "_percent": "%", "_bits": "bits"}.items():
            assert (measure.unit == unit) == name.endswith(ending), name
    agreement = {name_in("mm3", name) for name in AGREEMENT_COLUMNS}
    assert set(SUMMARIES) <= {*agreement, "difference_mm3", *precision.PRECISION_COLUMNS}


ADDED = """
import json

from lib.catalog import measures

SCORE = measures.Measure(
    short="BIoU", label="IoU of the boundary", title="boundary IoU", digits=3, columns={"metrics": "overlap"},
    section="overlap", listed="at once", better="more", scale="complement", is_score=True,
)
DENSITY = measures.Measure(
    short="vBMD", title="volumetric density", unit="mg/cm³", digits=1, columns={"volumes": "volume"},
    section="bone", listed="on demand", is_repeated=True,
)
measures.MEASURES |= {"boundary_iou": SCORE, "vbmd_k2hpo4_mg_cm3": DENSITY}

import numpy as np

from lib.figures.covariates import MEASURES as of_figures
from lib.pages.report_tables import precision_view, score_tables
from lib.pages.scan_numbers import ShownPrediction, number_groups
from lib.pages.scan_table import scan_data
from lib.stats.agreement import AgreementConfig
from lib.stats.formats import records
from lib.stats.precision import precision_table
from lib.stats.scores import score_table
from lib.stats.tables import metrics_table, structure_key, volumes_table
from tests.unit.study_tables import measured, people, predictions

planned = [row for row in predictions(people(8, 2)) if row["group"] == "all"]
made = {
    structure_key(row): measured(row, np.random.default_rng(1))
    for row in planned
}
overlaps, volumes = {}, {}
for number, (key, (overlap, volume)) in enumerate(made.items()):
    overlaps[key] = overlap | {"boundary_iou": 0.9 + 0.001 * number}
    volumes[key] = volume | {"vbmd_k2hpo4_mg_cm3": 250.0 + number}
repeats = {"P003": "P002"}
metrics = metrics_table(planned, overlaps, volumes, repeats)
of_volumes = volumes_table(planned, volumes, repeats)
scores = score_table(metrics, AgreementConfig())
precise = precision_table(metrics, of_volumes, AgreementConfig())
overlap, *_ = score_tables(records(scores))
listed = scan_data({"metrics": metrics, "volumes": of_volumes}, study="", networks=["vnet"], pages={}, reviews={})
key = next(iter(overlaps))
page = number_groups([ShownPrediction(plan={}, mask_zyx=None, overlap=overlaps[key], volume=volumes[key])], "HU")
print(json.dumps({
    "metrics": metrics.columns[-1], "volumes": of_volumes.columns[-1], "value": metrics["boundary_iou"].iloc[0],
    "scores": list(dict.fromkeys(scores["measure"])), "precision": list(precise["measure"]),
    "page table": [column.head for column in overlap.columns],
    "page rows": [row[0][0] for row in precision_view(records(precise), "HU").lines if not isinstance(row, str)],
    "scan table": {entry["name"]: entry for entry in listed["numbers"]},
    "scan page": [[row["label"], row["unit"], row["values"][0]["text"]] for group in page for row in group["rows"]],
    "axis": [of_figures[name].axis_label for name in ("boundary_iou", "vbmd_k2hpo4_mg_cm3")],
}))
"""


def test_a_measure_added_in_one_place_is_shown_everywhere():
    ended = subprocess.run([sys.executable, "-c", ADDED], cwd=ROOT, text=True, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["metrics"], found["volumes"]) == ("boundary_iou", "vbmd_k2hpo4_mg_cm3")
    assert 0.9 <= found["value"] < 0.91
    assert "boundary_iou" in found["scores"] and "vbmd_k2hpo4_mg_cm3" not in found["scores"]
    assert "BIoU" in found["page table"]
    assert found["precision"][-1] == "vbmd_k2hpo4_mg_cm3"
    assert found["page rows"][-1] == "Volumetric density, mg/cm³"
    assert (
        found["scan table"]["boundary_iou"]["at_once"] and found["scan table"]["boundary_iou"]["digits"] == 3
    )
    assert found["scan table"]["vbmd_k2hpo4_mg_cm3"]["head"] == "vBMD, mg/cm³"
    assert ["IoU of the boundary", "", "0.900"] in found["scan page"]
    assert ["vBMD", "mg/cm³", "250.0"] in found["scan page"]
    assert found["axis"] == ["boundary IoU", "volumetric density, mg/cm³"]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        SHOWN.write_text(json.dumps(plain(shown(Path(place))), indent=1, ensure_ascii=False) + "\n")
