"""A measure stands once, in lib/catalog/measures.py; tables, pages and figures show it from there.

`shown_measures.json` holds what they show: columns, heads, digits and order. After a change that is meant, write it
again: python -m tests.unit.test_measures
"""

import json
import re
from pathlib import Path

import numpy as np

from lib.figures.covariates import draw_error_by_age
from lib.figures.learning_curves import draw_fold_spread
from lib.figures.segmentation import draw_scores
from lib.pages import comparison as comparison_page
from lib.pages.report import build_context
from lib.pages.report_tables import reader_view, training_view
from lib.pages.scan_numbers import ScanPrediction, number_groups
from lib.stats import comparison, fold_variance, precision, readers, scores, subgroups
from lib.stats.tables import METRIC_COLUMNS, METRICS_OF_VOLUME, UNSCORED_COLUMNS, VOLUME_COLUMNS
from tests.unit.study_tables import people, tables
from tests.unit.test_page import render, report, study_tables

SHOWN = Path(__file__).with_name("shown_measures.json")
NUMBER = 1234.5678901


def digits_only(text):
    """Return a text in which every digit is 0 and thousands are not parted: how a number is written."""
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
    """Return the numbers on the page of a scan that has all of them."""
    names = dict.fromkeys((*METRIC_COLUMNS, *VOLUME_COLUMNS), NUMBER)
    words = {"flags": [], "undefined": {}, "side": "left"}
    whole = ScanPrediction(plan={}, mask_zyx=np.ones((1, 1, 1)), overlap=names | words)
    return [
        [group["title"], [[row["label"], row["unit"], row["values"][0]["text"]] for row in group["rows"]]]
        for group in number_groups([whole])
    ]


def page_tables(views):
    """Return caption, heads and how the first row's numbers are written, of each table of the page."""
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
    fake |= {"group": "all", "network": "vnet", "protocol": "cv", "pair": "reader 1 - model"}
    fake |= {"n": 4, "scans": 4, "hd95_mm_scans": 4, "undefined": ""}
    runs = {"group": "all", "network": "vnet", "folds": 5, "parameters": NUMBER, "scans": "4", "updates": "9"}
    runs |= {"dice": "0.9", "hours": NUMBER, "device": "cpu", "precision": "bf16", "undefined": ""}
    views = [view for group in context["views"].values() for view in group]
    cards = re.findall(
        r"<dt>(.*?)</dt><dd>(.*?)(?:<small>|</dd>)", render(report(made, figures=[], screened=[]), folder)
    )
    return {
        "columns": {name: list(table.columns) for name, table in made.items()}
        | {"unscored": list(UNSCORED_COLUMNS), "readers": list(readers.READER_COLUMNS)},
        "from volume files": sorted(METRICS_OF_VOLUME),
        "scores": [list(pair) for pair in scores.SCORES.items()],
        "decided by the grid": dict(scores.BOUND_TO_GRID),
        "precision": list(precision.MEASURES),
        "spread": list(fold_variance.SPREAD_MEASURES),
        "subgroups": list(subgroups.SUBGROUP_MEASURES),
        "readers": list(readers.MEANS.items()),
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


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        SHOWN.write_text(json.dumps(plain(shown(Path(place))), indent=1, ensure_ascii=False) + "\n")
