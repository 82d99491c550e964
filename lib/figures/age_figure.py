"""Calibrated density of everybody against age, region by region, with a line for each sex."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.ages import OLDEST_PRINTED_AGE
from lib.catalog.bone_parts import PROJECTED, TABLE_REGIONS
from lib.catalog.measures import printed_unit
from lib.catalog.scales import CALIBRATED_SCALES
from lib.figures.style import (
    SEXES,
    Drawing,
    count_people,
    legend_of_sexes,
    minus,
    scatter_people,
    set_reach,
)
from lib.stats.density_by_age import has_line
from lib.stats.lines import fit_line, line_band

CONFIDENCE = 0.95
FEWEST_DRAWN = 6  # of people in a figure, and of each line, which fewer would not hold
# a row of panels: compartment, kind of density, words of its axis
ROWS = (
    ("integral", "vbmd", "integral vBMD"),
    ("trabecular", "vbmd", "trabecular vBMD"),
    (PROJECTED, "abmd", "areal BMD"),
)
# those that are projected come first, so that their row has no gap
COLUMNS = tuple(TABLE_REGIONS[name] for name in ("neck", "trochanter", "total", "head", "femur"))
_LINES = {"M": "-", "F": "--"}
_HOLLOW = {"facecolors": "none", "linewidths": 0.9, "zorder": 3}
# an axis reaches beyond the oldest age that is drawn
_BESIDE_YEARS = 4


def draw_density_by_age(people: pd.DataFrame, scale: str) -> Drawing | None:
    """Density of each person against age: regions in columns, integral, trabecular and areal density in rows.

    Each sex of at least FEWEST_DRAWN people has its least-squares line with the 95 % band of its mean. People of 90
    years and more are drawn hollow at 90 and have no part in it.

    Args:
        people: `densities_of_people` of one group, network, protocol and structure.
        scale: one of CALIBRATED_SCALES.

    Returns:
        None if fewer than FEWEST_DRAWN people have a density of this scale and an age.
    """
    of_scale = people[people["measure"].isin([f"{kind}_{scale}" for _, kind, _ in ROWS])]
    shown = of_scale.dropna(subset=["density", "age_years"])
    shown = shown[shown["region"].isin(COLUMNS) & shown["compartment"].isin([row[0] for row in ROWS])]
    if count_people(shown) < FEWEST_DRAWN:
        return None
    shown = shown.assign(drawn_age=shown["age_years"].clip(upper=OLDEST_PRINTED_AGE))
    rows = [row for row in ROWS if (shown["compartment"] == row[0]).any()]
    columns = [region for region in COLUMNS if (shown["region"] == region).any()]
    figure = Figure(figsize=(1.5 * len(columns) + 1.1, 1.75 * len(rows) + 0.9), layout="constrained")
    # each panel has densities of its own: one scan with metal would flatten the others
    grid = figure.subplots(len(rows), len(columns), sharex=True, squeeze=False)
    slopes = {}
    for (compartment, _, label), panels in zip(rows, grid, strict=True):
        of_row = shown[shown["compartment"] == compartment]
        for region, axes in zip(columns, panels, strict=True):
            own = of_row[of_row["region"] == region]
            axes.set_visible(len(own) > 0)
            if len(own):
                slopes[f"{_words(region)}, {label}"] = _draw_panel(axes, own)
        _seen(panels)[0].set_ylabel(f"{label},\n{printed_unit(of_row['unit'].iloc[0])}", fontsize=8)
    for region, column in zip(columns, grid.T, strict=True):
        top = _seen(column)[0]
        top.set_title(f"{_words(region)}\n{top.get_title('left')}", fontsize=8)
    _label_ages(grid, old=bool(np.isinf(shown["age_years"]).any()))
    figure.supylabel(f"scale: {CALIBRATED_SCALES[scale]}", fontsize=8)
    legend_of_sexes(figure, shown, lines=_line_marks(slopes.values()))
    return Drawing(
        figure=figure,
        data=_data(shown),
        alt=f"Density against age of {count_people(shown)} people, {CALIBRATED_SCALES[scale]}. {_told(slopes)}.",
        n=count_people(shown),
        part=scale,
        told=CALIBRATED_SCALES[scale],
    )


def _draw_panel(axes: Axes, own: pd.DataFrame) -> dict[str, float]:
    """Draw the people of a panel, and the line of each sex that has one; return the slopes a decade by sex."""
    slopes = {}
    old = np.isinf(own["age_years"])
    for sex, style in _LINES.items():
        subset = own[(own["sex"] == sex) & ~old]
        x, y = subset["age_years"].to_numpy(), subset["density"].to_numpy()
        if len(x) >= FEWEST_DRAWN and has_line(x):
            along = np.linspace(x.min(), x.max(), 50)
            fitted, low, high = line_band(x, y, along, CONFIDENCE)
            color = SEXES[sex][3]
            axes.plot(along, fitted, style, color=color, linewidth=1.3, zorder=4)
            axes.fill_between(along, low, high, color=color, alpha=0.13, linewidth=0, zorder=1)
            slopes[sex] = 10 * fit_line(x, y, CONFIDENCE).slope
    known = own[~old]
    scatter_people(axes, known, known["drawn_age"], known["density"], largest=0.7)
    for sex, (_, marker, size, color) in SEXES.items():
        oldest = own[old & (own["sex"] == sex)]
        axes.scatter(
            oldest["drawn_age"], oldest["density"], s=0.7 * size, marker=marker, edgecolors=color, **_HOLLOW
        )
    axes.set_title(f"n = {count_people(own)}", fontsize=8, fontweight="normal")
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="y", nbins=5)
    # ends at its people: the band of few people is far wider
    set_reach(axes, own["density"].min(), own["density"].max())
    return slopes


def _seen(panels: Iterable[Axes]) -> list[Axes]:
    """Return the panels of a row or column in which people are drawn."""
    return [axes for axes in panels if axes.get_visible()]


def _words(region: str) -> str:
    return region.replace("_", " ")


def _label_ages(grid: np.ndarray, *, old: bool) -> None:
    """Label the x axis of the lowest panel that is drawn in each column."""
    note = f"\n({OLDEST_PRINTED_AGE}+ at {OLDEST_PRINTED_AGE})" if old else ""
    for column in grid.T:
        lowest = _seen(column)[-1]
        lowest.set_xlabel(f"age, years{note}", fontsize=8)
        lowest.tick_params(labelbottom=True)
    low, high = grid[0][0].get_xlim()
    grid[0][0].set_xlim(low, max(high, OLDEST_PRINTED_AGE + _BESIDE_YEARS) if old else high)


def _line_marks(slopes: Iterable[Mapping[str, float]]) -> list[Line2D]:
    """Return the legend of the lines that are drawn, given the slopes of each panel by sex."""
    drawn = set().union(*slopes)
    return [
        Line2D([], [], color=SEXES[sex][3], linestyle=style, linewidth=1.3, label=f"{SEXES[sex][0]}, least squares")
        for sex, style in _LINES.items()
        if sex in drawn
    ]  # fmt: skip


def _data(shown: pd.DataFrame) -> pd.DataFrame:
    ages = [f"{OLDEST_PRINTED_AGE}+" if np.isinf(years) else f"{years:g}" for years in shown["age_years"]]
    columns = ["subject", "sex", "age", "scans", "region", "compartment", "measure", "unit", "density"]
    return shown.assign(age=ages)[columns].reset_index(drop=True)


def _told(slopes: Mapping[str, Mapping[str, float]]) -> str:
    """Return the slopes in words."""
    words = [
        f"{panel}: " + ", ".join(f"{SEXES[sex][0]} {slope:+.3g}" for sex, slope in found.items())
        for panel, found in slopes.items()
        if found
    ]
    return (
        minus("Slope for a decade: " + "; ".join(words)) if words else "Too few people of each sex for lines"
    )
