"""The figure of precision-recall curves: lines of scans, the pooled line, its areas, and its axes."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from lib.figures.precision_recall import draw_precision_recall
from lib.figures.style import STYLE
from lib.stats.voxel_levels import count_levels

SHAPE_ZYX = (6, 40, 40)


def made(quality, scans=3, seed=0):
    """Return rows of metrics, counts by key, and the voxels (reference, level) of each network.

    `quality` gives the distance of the logits of bone and background of a network.
    """
    generator = np.random.default_rng(seed)
    rows, counts, voxels = [], {}, {}
    for network, apart in quality.items():
        for number in range(scans):
            reference = generator.random(SHAPE_ZYX) < 0.2
            logits = generator.normal(np.where(reference, apart, -apart), 2.0)
            levels = np.rint(65535 / (1 + np.exp(-logits))).astype(np.uint16)
            chosen = levels >= 32768
            both = np.count_nonzero(chosen & reference)
            row = {"group": "all", "network": network, "members": "fold-0", "protocol": "cv"}
            row |= {"structure": "femur", "scan": f"P{number}", "subject": f"P{number}"}
            row |= {"precision_raw": both / chosen.sum(), "recall_raw": both / reference.sum()}
            rows.append(row)
            key = "/".join(row[name] for name in ("group", "network", "members", "scan", "structure"))
            counts[key] = count_levels(levels, reference).to_json()
            voxels.setdefault(network, []).append((reference.ravel(), levels.ravel()))
    return pd.DataFrame(rows), counts, voxels


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context(STYLE):
        yield


def panels_of(drawing):
    return [axes for axes in drawing.figure.axes if axes.get_visible()]


def test_each_network_has_a_panel_with_its_scans_and_the_pooled_curve():
    people, counts, voxels = made({"good": 4.0, "poor": 2.0, "worst": 1.5})
    drawing = draw_precision_recall(people, counts, by="network")
    panels = panels_of(drawing)
    assert [axes.get_title(loc="left").split(" (")[0] for axes in panels] == list(voxels)
    for axes, (network, scans) in zip(panels, voxels.items(), strict=True):
        assert len(axes.lines) == 4
        reference, levels = (np.concatenate(part) for part in zip(*scans, strict=True))
        area = average_precision_score(reference, levels)
        told = float(axes.get_title(loc="left").split("AUC-PR ")[1].split(",")[0])
        assert told == pytest.approx(area, abs=6e-5)
        assert f"{network}: AUC-PR {told:.4f}, AUC-ROC" in drawing.alt
        # the dots lie on their lines
        for dot, line in zip(axes.collections[0].get_offsets(), axes.lines, strict=False):
            near = np.argmin(np.abs(line.get_xdata() - dot[0]))
            assert line.get_ydata()[near] == pytest.approx(dot[1], abs=0.02)
    assert drawing.n == 3


def test_the_table_beside_the_figure_holds_its_lines():
    people, counts, _ = made({"net": 3.0})
    drawing = draw_precision_recall(people, counts)
    (axes,) = panels_of(drawing)
    pooled = drawing.data[drawing.data["scan"] == ""]
    assert pooled["recall"].tolist() == axes.lines[-1].get_xdata().tolist()
    of_scan = drawing.data[drawing.data["scan"] == "P1"]
    assert of_scan["precision"].tolist() == axes.lines[1].get_ydata().tolist()


def test_the_axes_show_where_curves_bend_and_say_where_they_begin():
    far = panels_of(draw_precision_recall(*made({"net": 1.0})[:2]))[0]
    near = panels_of(draw_precision_recall(*made({"net": 4.0})[:2]))[0]
    assert far.get_xlim()[0] < near.get_xlim()[0] < 1 == round(near.get_xlim()[1], 1)
    for axes in (far, near):
        start = axes.get_xlim()[0]
        assert axes.get_ylim()[0] == start
        assert axes.get_xlabel() == "recall" + (f" (axis from {start:g})" if start else "")
        assert all(start < dot[0] and start < dot[1] for dot in axes.collections[0].get_offsets())


def test_panels_without_one_below_have_their_numbers():
    people, counts, _ = made({f"net{number}": 3.0 for number in range(5)}, scans=1)
    panels = panels_of(draw_precision_recall(people, counts, by="network"))
    assert [bool(axes.get_xlabel()) for axes in panels] == [False, False, True, True, True]
    assert [bool(axes.get_ylabel()) for axes in panels] == [True, False, False, True, False]


def test_without_counts_or_bone_nothing_is_drawn():
    people, counts, _ = made({"net": 3.0}, scans=2)
    assert draw_precision_recall(people, {}) is None
    assert draw_precision_recall(people.head(0), counts) is None
    without_bone = dict.fromkeys(
        counts, count_levels(np.full(SHAPE_ZYX, 9, np.uint16), np.zeros(SHAPE_ZYX)).to_json()
    )
    assert draw_precision_recall(people, without_bone) is None
    first = dict(list(counts.items())[:1])
    assert draw_precision_recall(people, first).n == 1
