"""Figure of precision-recall curves: pooled over the voxels of all people, and of each scan."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.catalog.measures import MEASURES
from lib.figures.style import INK, Drawing, count_people, group_color, groups_of
from lib.stats.curves import CURVE_KEYS, pooled_areas, pooled_curves
from lib.stats.tables import structure_key
from lib.stats.voxel_levels import curve_of, pool_counts, read_runs

DRAWN = ["recall", "precision"]
# every so many of the thresholds of a pooled curve are drawn of a scan
_STEP = 5
# with more lines than this an SVG holds them as pixels
_MOST_VECTOR_LINES = 60
_PANELS_A_ROW = 4
_PANEL_INCHES = 2.5
# the axes show this much more than the worst scan's errors where its precision equals its recall
_ROOM = 2.5
_ROUND = 20  # axes begin at a multiple of 1/20


def draw_precision_recall(
    people: pd.DataFrame, counts: Mapping[str, Mapping], *, by: str = "group"
) -> Drawing | None:
    """Draw the precision-recall curves of one protocol and structure, a panel for each group or network.

    Thin lines are scans, with a dot at the threshold of their mask before its largest component is chosen; the thick
    line is pooled over all of their voxels.

    Args:
        people: rows of the metrics, of one group if `by` is "network", of one network if it is "group".
        counts: section `curves` of `measured/`, by `lib.stats.tables.structure_key`.
        by: the column that has a panel for each value.

    Returns:
        the drawing; None if there are no counts with bone in the reference.
    """
    keys = [structure_key(row) for row in people.to_dict("records")]
    known = people[[key in counts and read_runs(counts[key])["inside"].any() for key in keys]]
    if known.empty:
        return None
    records = [
        {name: row[name] for name in (*CURVE_KEYS, "scan")} | dict(counts[structure_key(row)])
        for row in known.to_dict("records")
    ]
    scans = pd.concat([_of_scan(record) for record in records])
    pooled, areas = pooled_curves(records), pooled_areas(records)
    names = groups_of(known) if by == "group" else list(dict.fromkeys(known[by]))
    figure, panels = _panels(names)
    start = _axis_start(scans)
    for name, axes in panels.items():
        subset, area = known[known[by] == name], areas[areas[by] == name].iloc[0]
        _draw_panel(axes, scans[scans[by] == name], pooled[pooled[by] == name], subset)
        axes.set_title(f"{name} (n = {count_people(subset)})\n{_area_text(area)}", fontsize=8)
        axes.set(xlim=(start, 1 + 0.02 * (1 - start)), ylim=(start, 1 + 0.02 * (1 - start)), aspect="equal")
    _add_words(figure, panels.values(), start)
    told = [f"{name}: {_area_text(areas[areas[by] == name].iloc[0])}" for name in names]
    data = pd.concat([pooled.assign(scan=""), scans])
    return Drawing(
        figure=figure,
        data=data[[*CURVE_KEYS, "scan", "threshold", *DRAWN, "false_positive_rate"]],
        alt=f"Precision-recall curves (n = {count_people(known)}). Pooled over voxels, {'; '.join(told)}.",
        n=count_people(known),
    )


def _of_scan(record: Mapping) -> pd.DataFrame:
    curve = pd.DataFrame(curve_of(pool_counts([record]))).iloc[::_STEP].dropna(subset=DRAWN)
    return curve.assign(**{name: record[name] for name in (*CURVE_KEYS, "scan")})


def _panels(names: list[str]) -> tuple[Figure, dict[str, Axes]]:
    rows = -(-len(names) // _PANELS_A_ROW)
    columns = -(-len(names) // rows)
    size = max(4.4, _PANEL_INCHES * columns + 0.4), (_PANEL_INCHES + 0.3) * rows + 0.6
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(names) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(names) - columns) : len(names)]:  # with no panel below
        axes.tick_params(labelbottom=True)
    return figure, dict(zip(names, grid, strict=False))


def _axis_start(scans: pd.DataFrame) -> float:
    """Return where both axes begin: below the point of the worst scan at which precision equals recall."""
    lower = scans[DRAWN].min(axis=1).groupby([scans[name] for name in (*CURVE_KEYS, "scan")]).max().min()
    return max(0.0, np.floor((1 - _ROOM * (1 - lower)) * _ROUND - 1e-9) / _ROUND)


def _draw_panel(axes: Axes, scans: pd.DataFrame, pooled: pd.DataFrame, people: pd.DataFrame) -> None:
    color = group_color(people["group"].iloc[0])
    lines = scans.groupby("scan", sort=False)
    for _, line in lines:
        look = {
            "color": color,
            "alpha": 0.45,
            "linewidth": 0.7,
            "rasterized": len(lines) > _MOST_VECTOR_LINES,
        }
        axes.plot(line["recall"], line["precision"], **look)
    axes.scatter(
        people["recall_raw"],
        people["precision_raw"],
        s=9,
        c=color,
        edgecolors="white",
        linewidths=0.4,
        zorder=3,
    )
    axes.plot(pooled["recall"], pooled["precision"], color=INK, linewidth=1.6, zorder=4)


def _area_text(area: Mapping) -> str:
    parts = [f"{MEASURES[name].short} {area[name]:.{MEASURES[name].digits}f}" for name in ("auc_pr", "auc_roc")
             if np.isfinite(area[name])]  # fmt: skip
    return ", ".join(parts)


def _add_words(figure: Figure, panels: Collection[Axes], start: float) -> None:
    """Label the outer axes, with their start if that is not 0, and add the legend."""
    told = f" (axis from {start:g})" if start > 0 else ""
    for axes in panels:
        place = axes.get_subplotspec()
        if place.is_first_col():
            axes.set_ylabel(f"precision{told}")
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel(f"recall{told}")
    scan = {"color": group_color("all"), "linewidth": 0.9, "marker": "o", "markersize": 3.5}
    lines = [
        Line2D([], [], color=INK, linewidth=1.6, label="all voxels"),
        Line2D([], [], **scan, label="a scan, and the threshold of its mask"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2 if len(panels) > 1 else 1)
