"""The style of all figures of a study, and the marks that they share.

Colours are those of Okabe and Ito, which can be told apart with every kind of colour vision; the shape of a mark also
shows the sex (star = men, circle = women, as in Zhao 2020, Fig. 7).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from lib.catalog.groups import SEX_NAMES, group_position

DARK_SHEET, LIGHT_INK = "#181f26", "#e4eaef"  # --card and --ink of report/page/style.css in dark mode
INK, MUTED, GRID = "#1f2933", "#5b6775", "#dde3e9"
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
SEXES = {
    "M": (SEX_NAMES["M"], "*", 70, BLUE),
    "F": (SEX_NAMES["F"], "o", 30, RED),
    "": ("sex unknown", "s", 26, MUTED),
}
_GROUP_COLORS = {"all": MUTED, "male": BLUE, "female": RED}
# with fewer people a band or an interval would be misleading
FEWEST_FOR_BAND = 20
_FEWEST_FOR_QUARTILES = 4
# with more points than this, points drawn last would hide the others
_MANY_POINTS = 200
_LAYERS = 10

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "osteoflow",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure with a table of the data it draws and one sentence for screen readers.

    `n` is the number of people; for learning curves, of folds. Where a network has several figures of one kind,
    `part` tells them apart in names of files, and `told` in titles.
    """

    figure: Figure
    data: pd.DataFrame
    alt: str
    n: int
    part: str = ""
    told: str = ""


def groups_of(table: pd.DataFrame) -> list[str]:
    """Return the groups of a table in reading order."""
    return sorted(set(table["group"]), key=group_position)


def group_color(name: str) -> str:
    """Return the colour of a group of people; groups other than everybody, men and women share one colour."""
    return _GROUP_COLORS.get(name, GREEN)


def count_people(table: pd.DataFrame) -> int:
    """Return the number of different people in a table."""
    return int(table["subject"].nunique())


def group_panels(
    metrics: pd.DataFrame, *, share_x: bool, share_y: bool, width: float = 2.75, height: float = 3.35
) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with one panel per group, titled with its number of people; panel sizes are in inches."""
    groups = groups_of(metrics)
    # a single panel is as wide as its heading
    figure = Figure(figsize=(max(4.4, width * len(groups) + 0.6), height), layout="constrained")
    axes = figure.subplots(1, len(groups), sharex=share_x, sharey=share_y, squeeze=False)[0]
    panels = dict(zip(groups, axes, strict=True))
    for group, panel in panels.items():
        panel.set_title(f"{group} (n = {count_people(metrics[metrics['group'] == group])})")
    return figure, panels


def scatter_people(
    axes: Axes,
    subset: pd.DataFrame,
    x: Sequence[float],
    y: Sequence[float],
    colors: Mapping[str, tuple] | None = None,
    largest: float = 1.0,
) -> None:
    """Draw each scan of `subset` at (x, y): shape by sex, colour by person if `colors` are given, else by sex.

    Many marks are drawn smaller and in alternation of the sexes, so that neither hides the other; `largest` is the
    size of few marks as a share of the usual size.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    shrink = largest * min(1.0, max(0.25, 8 / max(len(x), 1) ** 0.5))
    many = len(x) > _MANY_POINTS
    layers = _LAYERS if many else 1
    look = {"alpha": 0.6, "linewidths": 0} if many else {"alpha": 0.9, "linewidths": 0.4}
    for layer in range(layers):
        for sex, (_, marker, size, color) in SEXES.items():
            chosen = np.flatnonzero(subset["sex"] == sex)[layer::layers]
            shades = [colors[person] for person in subset["subject"].iloc[chosen]] if colors else color
            if len(chosen):
                marks = axes.scatter(
                    x[chosen], y[chosen], s=shrink * size, marker=marker, c=shades, edgecolors="white", zorder=3,
                    **look,
                )  # fmt: skip
                name_scans(marks, subset.iloc[chosen])


def name_scans(marks: PathCollection, shown: pd.DataFrame) -> None:
    """Remember which scan each mark shows, for `points_of`, if the table tells it; the order is that of the marks."""
    if "scan" in shown:
        marks.set_urls(list(shown["scan"]))


def points_of(figure: Figure) -> list[tuple[PathCollection, list[str]]]:
    """Return the marks of a figure with their scans, and take the scans from the marks.

    A mark that kept its scan would be a link in the SVG, but the page of a scan lies elsewhere in every study.
    """
    found = []
    for axes in figure.axes:
        for marks in axes.collections:
            if isinstance(marks, PathCollection) and (
                scans := [url for url in marks.get_urls() or () if url]
            ):
                found.append((marks, scans))
                marks.set_urls(None)
    return found


def places_of(figure: Figure, points: Sequence[tuple[PathCollection, Sequence[str]]]) -> list[list]:
    """Return scan, x and y of marks of a figure that has been drawn, in CSS pixels (100 an inch), from top left."""
    inch, (_, height) = 100 / figure.dpi, figure.bbox.size
    return [
        [scan, round(x * inch), round((height - y) * inch)]
        for marks, scans in points
        for scan, (x, y) in zip(
            scans, marks.get_offset_transform().transform(marks.get_offsets()), strict=True
        )
    ]


def darken(figure: Figure) -> None:
    """Give a drawn figure a dark sheet and light texts, for pages in dark mode."""
    figure.set_facecolor(DARK_SHEET)
    for text in figure.findobj(Text):
        text.set_color(LIGHT_INK)


def legend_of_sexes(
    figure: Figure, people: pd.DataFrame, *, colored: bool = True, lines: Sequence[Line2D] = ()
) -> None:
    """Add a legend below a figure: the marks of the sexes that occur with their number of people, then `lines`."""
    marks = []
    for sex, (label, marker, size, color) in SEXES.items():
        subset = people[people["sex"] == sex]
        if len(subset):
            shown = {"marker": marker, "markersize": 0.8 * size**0.5, "color": color if colored else MUTED}
            marks.append(Line2D([], [], linestyle="", label=f"{label} (n = {count_people(subset)})", **shown))
    figure.legend(handles=[*marks, *lines], loc="outside lower center", ncols=2 if lines else 3)


def spread_out(count: int, width: float) -> np.ndarray:
    """Return offsets that keep points at one position apart; they are not random, so that runs give equal figures."""
    return ((np.arange(count) * 0.618) % 1 - 0.5) * width


def beside(sexes: pd.Series, width: float) -> np.ndarray:
    """Return offsets within `width` for points at one position; if both sexes occur, men are left and women right."""
    known = [sex for sex in SEXES if (sexes == sex).any()]
    offsets = np.zeros(len(sexes))
    for position, sex in enumerate(known):
        chosen = (sexes == sex).to_numpy()
        center = ((position + 0.5) / len(known) - 0.5) * width
        offsets[chosen] = center + spread_out(int(chosen.sum()), 0.9 * width / len(known))
    return offsets


def draw_quartiles(
    axes: Axes, place: float, values: np.ndarray, width: float, *, across: bool = False
) -> None:
    """Draw the median as a line and, for four or more values, the quartiles as a box; `across`: along the x axis.

    A single value gets no line, which would hide its point.
    """
    if len(values) < 2:
        return
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    line, box = (axes.vlines, axes.barh) if across else (axes.hlines, axes.bar)
    if len(values) >= _FEWEST_FOR_QUARTILES:
        start = {"left" if across else "bottom": low}
        box(place, high - low, width, **start, color=MUTED, alpha=0.22, linewidth=0, zorder=1)
    line(middle, place - width / 2, place + width / 2, color=INK, linewidth=1.6, zorder=4)


def minus(text: str) -> str:
    """Return a text with true minus signs; numbers that round to 0 have no sign."""
    return re.sub(r"(?<![\w.])[+-](0(?:\.0+)?)(?![\d.])", r"\1", text).replace("-", "−")


def set_reach(axes: Axes, low: float, high: float, least: float = -np.inf, most: float = np.inf) -> None:
    """Set the y axis to `low` to `high` with a margin, within `least` and `most`; a single value has one too."""
    room = 0.08 * (high - low) or 0.02 * max(abs(high), 1e-3)
    axes.set_ylim(max(low - room, least), min(high + room, most))


def label_dice(axes: Axes, label: str) -> None:
    """Label a y axis of Dice whose limits are set, with its start if that is not 0."""
    start = axes.get_ylim()[0]
    axes.set_ylabel(f"{label} (axis from {start:.3f})" if start > 0 else label)
