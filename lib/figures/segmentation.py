"""Figures of overlap: scores of each group, Dice by region of the bone, errors and Dice along the bone."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lib.catalog.anatomies import REGIONS
from lib.catalog.measures import MEASURES
from lib.figures.palette import ADDED, MISSED, css
from lib.figures.style import (
    FEWEST_FOR_BAND,
    INK,
    MUTED,
    Drawing,
    beside,
    count_people,
    draw_quartiles,
    group_color,
    group_panels,
    groups_of,
    label_dice,
    legend_of_sexes,
    scatter_people,
    set_reach,
)

SCORE_NAMES = {name: MEASURES[name].short for name in ("dsc", "sensitivity", "specificity")}
LEVEL_COLUMNS = [f"dsc_{region}" for region in REGIONS]
_PERSON = ["group", "scan", "subject", "sex"]
_ENDS = {"distal": "from the scan's lower end", "top": "below the top of the bone"}


def draw_scores(metrics: pd.DataFrame) -> Drawing:
    """DSC, sensitivity and specificity by group: mean and sample SD as bars, scans as points (Zhao 2020, Fig. 6)."""
    figure = Figure(figsize=(7.4, 3.7), layout="constrained")
    axes, groups = figure.subplots(), groups_of(metrics)
    lowest, highest = _reach_of_bars(metrics)
    floor = max(0.0, np.floor(lowest * 50 - 0.5) / 50) if lowest > 0.5 else 0.0
    width = 0.8 / len(groups)
    for position, group in enumerate(groups):
        subset = metrics[metrics["group"] == group]
        for place, name in enumerate(SCORE_NAMES):
            x = place + (position - (len(groups) - 1) / 2) * width
            _draw_bar(axes, x, width, subset.dropna(subset=[name]), name)
    axes.set_xticks(range(len(SCORE_NAMES)), SCORE_NAMES.values(), color=INK, fontsize=10)
    axes.set_ylim(floor, highest + 0.09 * (highest - floor))
    axes.set_ylabel("mean ± SD" + (f"; the axis starts at {floor:.2f}" if floor else ""))
    axes.grid(axis="x", visible=False)
    bars = [Patch(color=group_color(name), alpha=0.35, label=_counted(metrics, name)) for name in groups]
    if len(groups) > 1:
        axes.legend(
            handles=bars, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), title="bars, left to right"
        )
    legend_of_sexes(figure, metrics)
    dice = metrics.groupby("group")["dsc"]
    return Drawing(
        figure=figure,
        data=metrics[[*_PERSON, *SCORE_NAMES]],
        alt="Overlap with the reference, mean DSC: "
        + ", ".join(f"{_counted(metrics, name)} {dice.get_group(name).mean():.4f}" for name in groups)
        + ".",
        n=count_people(metrics),
    )


def draw_levels(metrics: pd.DataFrame, bone: str) -> Drawing:
    """Dice of each region of a bone, named in words: scans as points, median and quartiles."""
    columns = [column for column in LEVEL_COLUMNS if metrics[column].notna().any()]
    regions = [column.removeprefix("dsc_") for column in columns]
    figure, panels = group_panels(metrics, share_x=True, share_y=True)
    for group, axes in panels.items():
        subset = metrics[metrics["group"] == group]
        for place, column in enumerate(columns):
            known = subset.dropna(subset=[column])
            draw_quartiles(axes, place, known[column].to_numpy(), 0.7)
            scatter_people(axes, known, place + beside(known["sex"], 0.6), known[column], largest=0.5)
        axes.set_xticks(range(len(regions)), regions, color=INK, fontsize=8)
        axes.set_xlim(-0.6, len(regions) - 0.4)
        axes.grid(axis="x", visible=False)
    values = metrics[columns].to_numpy(float)
    first = next(iter(panels.values()))
    set_reach(first, np.nanmin(values), np.nanmax(values), least=0.0, most=1.0)
    label_dice(first, MEASURES["dsc"].axis_label)
    legend_of_sexes(figure, metrics)
    whole = metrics[metrics["group"] == groups_of(metrics)[0]]
    medians = whole[columns].median().set_axis(regions).dropna()
    return Drawing(
        figure=figure,
        data=metrics[[*_PERSON, *columns]],
        alt=f"Dice by part of {bone}, medians of group {_counted(whole, whole['group'].iloc[0])}: "
        + (", ".join(f"{level} {median:.4f}" for level, median in medians.items()) or "not defined")
        + ".",
        n=count_people(metrics),
    )


def draw_error_by_distance(slices: Sequence[Mapping], people: int) -> Drawing | None:
    """Missed and added bone as a share of the reference's slice, by distance from either end of the bone in the scan.

    None if the reference is empty at all distances. Distances that fewer than half of the scans reach are left out,
    because sums over different numbers of scans are not comparable.

    Args:
        slices: for each scan lists of distance_mm (from the lower end), reference_mm3, missed_mm3 and added_mm3.
        people: number of people with these scans.
    """
    figure, sides = _two_ends(len(slices), people)
    parts = []
    for end, axes in sides.items():
        by_mm = _from_end(slices, end).groupby("from_mm")
        sums = by_mm[["reference_mm3", "missed_mm3", "added_mm3"]].sum()
        shares = sums[["missed_mm3", "added_mm3"]].div(sums["reference_mm3"], axis=0).mul(100)
        shares = shares[np.isfinite(shares).all(axis=1)].set_axis(["missed_percent", "added_percent"], axis=1)
        for name, color, style in (("missed_percent", css(MISSED), "-"), ("added_percent", css(ADDED), "--")):
            label = name.removesuffix("_percent")
            axes.plot(shares.index, shares[name], style, color=color, linewidth=1.6, label=label)
        parts.append(
            shares.assign(end=end, scans=by_mm["scan"].nunique().reindex(shares.index)).reset_index()
        )
    # set last: the panels share this axis, and limits set earlier would cut off what is drawn later
    sides["distal"].set_ylim(bottom=0)
    sides["distal"].set_ylabel("share of the slice, %")
    sides["top"].legend(loc="upper center")
    data = pd.concat(parts, ignore_index=True)[["end", "from_mm", "scans", "missed_percent", "added_percent"]]
    if data.empty:
        return None
    worst = data.loc[data[["missed_percent", "added_percent"]].max(axis=1).idxmax()]
    return Drawing(
        figure=figure,
        data=data,
        alt=f"Missed and added bone along the scan, scans of n = {people} people: most at {worst['from_mm']:.0f} mm "
        f"{_ENDS[worst['end']]}, {worst['missed_percent']:.1f} % missed and {worst['added_percent']:.1f} % added.",
        n=people,
    )  # fmt: skip


def draw_dice_by_distance(slices: Sequence[Mapping], people: int) -> Drawing | None:
    """Dice of each slice by distance from either end of the bone: median, with quartiles or, if few, single scans.

    The Dice of a slice is 2 TP / (reference + predicted), where TP = reference - missed and predicted = TP + added.
    Arguments and omitted distances are as in `draw_error_by_distance`; None if no distance is left.
    """
    figure, sides = _two_ends(len(slices), people)
    parts = []
    for end, axes in sides.items():
        table = _from_end(slices, end)
        hit = table["reference_mm3"] - table["missed_mm3"]
        table = table.assign(dice=2 * hit / (table["reference_mm3"] + hit + table["added_mm3"]))
        table = table.dropna(subset=["dice"])
        by_mm = table.groupby("from_mm")["dice"]
        drawn = by_mm.quantile([0.25, 0.5, 0.75]).unstack().set_axis(["q25", "median", "q75"], axis=1)
        drawn.insert(0, "scans", by_mm.size())
        _draw_dice_lines(axes, table, drawn, len(slices))
        parts.append(drawn.reset_index().assign(end=end))
    distal = sides["distal"]
    low, high = distal.get_ylim()
    distal.set_ylim(max(low, 0.0), min(high, 1.0))
    label_dice(distal, f"{MEASURES['dsc'].axis_label} of the slice")
    sides["top"].legend(loc="lower center")
    data = pd.concat(parts, ignore_index=True)[["end", "from_mm", "scans", "median", "q25", "q75"]]
    if data.empty:
        return None
    ends = data.drop_duplicates("end")
    told = [f"{row.median:.3f} at {row.from_mm:.0f} mm {_ENDS[row.end]}" for row in ends.itertuples()]
    return Drawing(
        figure=figure,
        data=data,
        alt=f"Dice of single slices along the scan, scans of n = {people} people: median {', '.join(told)}.",
        n=people,
    )  # fmt: skip


def _counted(metrics: pd.DataFrame, group: str) -> str:
    return f"{group} (n = {count_people(metrics[metrics['group'] == group])})"


def _draw_bar(axes: Axes, x: float, width: float, subset: pd.DataFrame, name: str) -> None:
    """Draw the score of one group: a bar of the mean with its SD and value, scans as points."""
    if not len(subset):
        return
    values = subset[name].to_numpy(float)
    mean, sd = _mean_and_sd(subset[name])
    axes.bar(x, mean, 0.9 * width, color=group_color(subset["group"].iloc[0]), alpha=0.35)
    scatter_people(axes, subset, x + beside(subset["sex"], 0.7 * width), values, largest=0.45)
    if len(values) > 1:
        axes.errorbar(x, mean, sd, color=INK, linewidth=1.2, capsize=3, zorder=4)
    axes.annotate(
        f"{mean:.4f}",
        (x, max(values.max(), mean + sd)),
        (0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=7,
    )


def _mean_and_sd(scores: pd.Series) -> tuple[float, float]:
    """Return mean and sample SD of scores without NaN; the SD of a single score is 0."""
    return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else 0.0


def _reach_of_bars(metrics: pd.DataFrame) -> tuple[float, float]:
    """Return the lowest and highest value of the points and whiskers; the highest is at least 1."""
    scores = metrics[list(SCORE_NAMES)].astype(float)
    by_bar = [of_group[name].dropna() for _, of_group in scores.groupby(metrics["group"]) for name in scores]
    bars = [_mean_and_sd(values) for values in by_bar if len(values)]
    low = min([scores.min().min(), *(mean - sd for mean, sd in bars)])
    return float(low), max([1.0, *(mean + sd for mean, sd in bars)])


def _two_ends(scans: int, people: int) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with one panel for each end of the bone in the scan."""
    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    counted = f"n = {people}" if scans == people else f"n = {people}, {scans} scans"
    left.set(xlabel=f"distance {_ENDS['distal']}, mm", title=f"Scan's end ({counted})")
    right.set(xlabel=f"distance {_ENDS['top']}, mm", title=f"Top of the bone ({counted})")
    return figure, {"distal": left, "top": right}


def _from_end(slices: Sequence[Mapping], end: str) -> pd.DataFrame:
    """Return the slices of all scans with their distance `from_mm` from one end, in bins of the usual slice distance.

    A bin that fewer than half of the scans reach is left out.
    """
    tables = [pd.DataFrame(dict(record)).assign(scan=index) for index, record in enumerate(slices)]
    steps = np.concatenate([np.diff(table["distance_mm"]) for table in tables])
    step_mm = float(np.median(steps)) if len(steps) else 1.0
    if end == "top":
        tables = [t.assign(distance_mm=t["distance_mm"].max() - t["distance_mm"]) for t in tables]
    table = pd.concat(tables)
    table = table.assign(from_mm=((table["distance_mm"] / step_mm).round() * step_mm).round(3))
    return table[table.groupby("from_mm")["scan"].transform("nunique") >= len(slices) / 2]


def _draw_dice_lines(axes: Axes, table: pd.DataFrame, drawn: pd.DataFrame, scans: int) -> None:
    if scans >= FEWEST_FOR_BAND:
        axes.fill_between(drawn.index, drawn["q25"], drawn["q75"], color=MUTED, alpha=0.3, linewidth=0)
        axes.fill_between([], [], color=MUTED, alpha=0.3, linewidth=0, label="middle half of scans")
    else:
        for number, (_, one) in enumerate(table.groupby("scan")):
            axes.plot(
                one["from_mm"], one["dice"], color=MUTED, alpha=0.45, linewidth=0.8, label="" if number else "scans"
            )  # fmt: skip
    axes.plot(drawn.index, drawn["median"], color=INK, linewidth=1.6, label="median")
