"""The measures of every scan beside those of the others; no reference is needed to see what stands out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.catalog.measures import CM3
from lib.figures.style import (
    INK,
    SEXES,
    Drawing,
    beside,
    count_people,
    draw_quartiles,
    legend_of_sexes,
    scatter_people,
)

FEWEST_DRAWN = 4  # scans with a measure; fewer have no quartiles
# column of tables/volumes.csv -> label of its axis, and factor to the unit of the label
PANELS: Mapping[str, tuple[str, float]] = {
    "predicted_mm3": ("volume, cm³", CM3),
    "length_mm": ("length from head to foot, mm", 1.0),
    "mean_value": ("mean intensity in the mask", 1.0),
    "member_dice": ("DSC between fold models", 1.0),
    "mean_entropy_bits": ("mean entropy, bits", 1.0),
}
_WHISKER = 1.5  # Tukey's fences: so many interquartile ranges beyond the quartiles
_RING = {"facecolors": "none", "edgecolors": INK, "linewidths": 0.9, "s": 60, "zorder": 4}


def draw_measured_scans(volumes: pd.DataFrame, value_unit: str = "") -> Drawing | None:
    """Draw each measure of PANELS of all scans as points beside their quartiles; a ring marks scans with a flag.

    Points of men stand left and those of women right. The data name scans beyond Tukey's fences, 1.5 interquartile
    ranges beyond the quartiles of their sex (`stands_out`: the measures).

    Args:
        volumes: rows of tables/volumes.csv, one for each scan.
        value_unit: unit of the images' values; empty: they have none.

    Returns:
        None if no measure has FEWEST_DRAWN scans.
    """
    shown = [name for name in PANELS if name in volumes and volumes[name].notna().sum() >= FEWEST_DRAWN]
    if not shown:
        return None
    volumes = volumes.assign(stands_out=standing_out(volumes, shown))
    figure = Figure(figsize=(max(4.4, 1.9 * len(shown)), 3.6), layout="constrained")
    for name, axes in zip(shown, figure.subplots(1, len(shown), squeeze=False)[0], strict=True):
        label, factor = PANELS[name]
        _draw_strip(axes, volumes.dropna(subset=[name]), name, factor)
        axes.set_ylabel(f"{label}, {value_unit}" if name == "mean_value" and value_unit else label)
    flagged = volumes["flags"].fillna("") != ""
    ring = Line2D([], [], linestyle="", marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
    ring.set_label(f"with a flag (n = {volumes.loc[flagged, 'scan'].nunique()})")
    legend_of_sexes(figure, volumes, lines=[ring] if flagged.any() else ())
    out = int((volumes["stands_out"] != "").sum())
    return Drawing(
        figure=figure,
        data=volumes[["scan", "subject", "sex", "protocol", *shown, "flags", "stands_out"]],
        alt=f"{len(shown)} measures of {len(volumes)} scans: {out} stand out in one or more, "
        f"{int(flagged.sum())} have a flag.",
        n=count_people(volumes),
    )


def standing_out(volumes: pd.DataFrame, measures: list[str]) -> pd.Series:
    """Return the measures in which each scan lies beyond Tukey's fences of its sex, as text; "" for none."""
    found = pd.Series([[] for _ in range(len(volumes))], index=volumes.index)
    for name in measures:
        for sex in SEXES:
            values = volumes.loc[volumes["sex"] == sex, name].dropna()
            if len(values) < FEWEST_DRAWN:
                continue
            low, high = np.quantile(values, [0.25, 0.75])
            reach = _WHISKER * (high - low)
            for place in values.index[(values < low - reach) | (values > high + reach)]:
                found[place].append(name)
    return found.map(" ".join)


def _draw_strip(axes: Axes, rows: pd.DataFrame, name: str, factor: float) -> None:
    x, y = beside(rows["sex"], 0.9), rows[name].to_numpy(float) * factor
    known = [sex for sex in SEXES if (rows["sex"] == sex).any()]
    for position, sex in enumerate(known):
        own = y[(rows["sex"] == sex).to_numpy()]
        draw_quartiles(axes, ((position + 0.5) / len(known) - 0.5) * 0.9, own, 0.8 / len(known))
    scatter_people(axes, rows, x, y, largest=0.7)
    flagged = (rows["flags"].fillna("") != "").to_numpy()
    if flagged.any():
        axes.scatter(x[flagged], y[flagged], **_RING)
    axes.set_xticks([])
    axes.set_xlim(-0.6, 0.6)
