"""Figures that set the networks of a study beside each other: every person, cost, the stated pair, examples.

All show the out-of-fold or test people of one group; a network of 2-D slices has another colour than one of volumes.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.catalog.measures import MEASURES
from lib.figures.examples import Example, contoured_slice
from lib.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    Drawing,
    beside,
    count_people,
    draw_quartiles,
    label_dice,
    legend_of_sexes,
    minus,
    scatter_people,
    set_reach,
)
from lib.stats.formats import show_p_value

_PERSON = ["group", "network", "scan", "subject", "sex"]
_DIMENSIONS = {2: ("2-D", BLUE), 3: ("3-D", ORANGE)}
_OTHER = ("other", MUTED)
_DIFFERENCE = ("median_difference", "median_difference_ci_low", "median_difference_ci_high")
_ROW_INCHES, _MOST_ROWS_INCHES = 0.42, 14.0


def dimension_color(dimensions: float | None) -> str:
    """Return the colour of a network by its number of dimensions; networks without one share a colour."""
    return _DIMENSIONS.get(dimensions, _OTHER)[1]


def draw_network_scores(metrics: pd.DataFrame, networks: pd.DataFrame) -> Drawing:
    """Dice of every person by each network: people as points, median and quartiles.

    Args:
        metrics: scored scans of one group, protocol and structure.
        networks: rows of `networks_table` for them, in the order to draw; the first is at the top.
    """
    names = list(networks["network"])
    height = min(_ROW_INCHES * len(names) + 1.5, _MOST_ROWS_INCHES)
    figure = Figure(figsize=(7.4, height), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(networks.itertuples()):
        of_network = metrics[metrics["network"] == row.network].dropna(subset=["dsc"])
        values, offsets = of_network["dsc"].to_numpy(float), beside(of_network["sex"], 0.6)
        scatter_people(axes, of_network, values, place + offsets, largest=0.5)
        draw_quartiles(axes, place, values, 0.75, across=True)
    axes.set_yticks(range(len(names)), names)
    for label, dimensions in zip(axes.get_yticklabels(), networks["dimensions"], strict=True):
        label.set_color(dimension_color(dimensions))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"{MEASURES['dsc'].axis_label} of each person; line: median, box: quartiles")
    axes.set_xlim(right=min(1.0, axes.get_xlim()[1]))
    legend_of_sexes(figure, metrics)
    best = networks.loc[networks["dsc_mean"].idxmax()]
    return Drawing(
        figure=figure,
        data=metrics[[*_PERSON, "dsc"]],
        alt=f"Dice of every person by {len(names)} networks; the highest mean is {best['dsc_mean']:.4f}, of "
        f"{best['network']}.",
        n=count_people(metrics),
    )


def draw_network_costs(networks: pd.DataFrame, people: int) -> Drawing | None:
    """Mean Dice with its interval against number of parameters and training time of each network.

    Args:
        networks: rows of `networks_table` of one group, protocol and structure.
        people: number of people whose Dice the means are of.

    Returns:
        None if neither parameters nor seconds of any network are recorded.
    """
    costs = {"parameters": "parameters", "train_seconds": "training time of a fold, s"}
    known = {name: label for name, label in costs.items() if networks[name].notna().any()}
    if not known:
        return None
    figure = Figure(figsize=(7.4, 3.9), layout="constrained")
    panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for axes, (name, label) in zip(panels, known.items(), strict=True):
        _draw_costs(axes, networks.dropna(subset=[name, "dsc_mean"]), name)
        axes.set_xscale("log")
        axes.set_xlabel(label)
    panels[0].set_ylabel(f"mean {MEASURES['dsc'].axis_label}, with its interval")
    kinds = dict.fromkeys(_DIMENSIONS.get(value, _OTHER) for value in networks["dimensions"])
    marks = [Line2D([], [], marker="o", linestyle="", color=color, label=label) for label, color in kinds]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks))
    return Drawing(
        figure=figure,
        data=networks[["network", "dimensions", *known, "dsc_mean", "dsc_mean_ci_low", "dsc_mean_ci_high"]],
        alt="Mean Dice against " + " and ".join(known.values()) + f" of {len(networks)} networks.",
        n=people,
    )


def draw_network_pair(metrics: pd.DataFrame, pair: Mapping) -> Drawing | None:
    """Dice of the two networks of the stated pair, person by person, and their differences.

    Args:
        metrics: scored scans of one group, protocol and structure.
        pair: the row of `dimension_pair_table` for their Dice.

    Returns:
        None if no person was scored by both.
    """
    first, second = pair["network"], pair["other_network"]
    scores = metrics.pivot_table(index=["subject", "sex"], columns="network", values="dsc", dropna=False)
    scores = scores.reindex(columns=[first, second]).dropna()
    if scores.empty:
        return None
    people = scores.reset_index()
    difference = people[first] - people[second]
    figure = Figure(figsize=(7.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    for one in people.itertuples(index=False):
        left.plot([0, 1], [one[2], one[3]], color=MUTED, alpha=0.5, linewidth=0.8, zorder=1)
    for place, name in enumerate((first, second)):
        scatter_people(left, people, np.full(len(people), place), people[name], largest=0.7)
    left.set_xticks([0, 1], [first, second])
    left.set_xlim(-0.3, 1.3)
    left.grid(axis="x", visible=False)
    set_reach(left, scores.to_numpy().min(), scores.to_numpy().max(), least=0.0, most=1.0)
    label_dice(left, MEASURES["dsc"].axis_label)
    _draw_differences(right, people, difference, pair)
    legend_of_sexes(figure, people)
    return Drawing(
        figure=figure,
        data=people.assign(difference=difference),
        alt=f"Dice of {first} and {second} person by person: {_difference_text(pair)}.",
        n=len(people),
    )


def draw_network_examples(rows: Sequence[tuple[str, Sequence[Example]]]) -> Drawing:
    """Best, median and worst person of the stated pair, the two networks side by side, with both contours.

    Args:
        rows: word for the row, and the same scan as each network predicted it.
    """
    columns = len(rows[0][1])
    figure = Figure(figsize=(3.3 * columns, 3.4 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    tables = []
    for axes_row, (word, examples) in zip(grid, rows, strict=True):
        for axes, example in zip(axes_row, examples, strict=True):
            index = contoured_slice(axes, example)
            axes.set_title(example.title, fontsize=8)
            tables.append({"row": word, "scan": example.scan, "prediction": example.title, "slice": index})
        axes_row[0].set_ylabel(word, color=INK)
    titles = "; ".join(f"{word}: {', '.join(one.title for one in examples)}" for word, examples in rows)
    return Drawing(
        figure=figure,
        data=pd.DataFrame(tables),
        alt=f"Slices with the contours of reference (orange) and prediction (blue). {titles}.",
        n=len({example.scan for _, examples in rows for example in examples}),
    )


def _draw_costs(axes: Axes, networks: pd.DataFrame, name: str) -> None:
    """Draw a point with its interval for each network; the colour stands for the beginning of its name."""
    axes.margins(x=0.15)
    for row in networks.itertuples():
        x, color = getattr(row, name), dimension_color(row.dimensions)
        if np.isfinite(row.dsc_mean_ci_low):
            axes.vlines(x, row.dsc_mean_ci_low, row.dsc_mean_ci_high, color=color, alpha=0.5, linewidth=1.2)
        axes.scatter(x, row.dsc_mean, s=34, color=color, edgecolors="white", linewidths=0.5, zorder=3)
        axes.annotate(
            re.sub(r"^unet[23]d-", "", row.network),
            (x, row.dsc_mean),
            (4, 3),
            textcoords="offset points",
            fontsize=6,
            color=MUTED,
        )


def _draw_differences(axes: Axes, people: pd.DataFrame, difference: pd.Series, pair: Mapping) -> None:
    axes.axhline(0, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    scatter_people(axes, people, beside(people["sex"], 0.5), difference, largest=0.7)
    middle, low, high = (pair[name] for name in _DIFFERENCE)
    if np.isfinite(low):
        axes.errorbar(0.45, middle, [[middle - low], [high - middle]], color=INK, fmt="D", capsize=3)
    axes.set_xlim(-0.4, 0.6)
    axes.set_xticks([])
    axes.set_xlabel(_difference_text(pair).replace("; ", "\n").replace(" (", "\n("))
    axes.set_ylabel(f"difference, {pair['network']} − {pair['other_network']}", fontsize=8)


def _difference_text(pair: Mapping) -> str:
    middle, low, high = (pair[name] for name in _DIFFERENCE)
    told = f"Hodges-Lehmann difference {middle:+.4f}"
    if np.isfinite(low):
        told += f" ({low:+.4f} to {high:+.4f})"
    p_value = pair["wilcoxon_p_value"]
    return minus(told + (f"; Wilcoxon p {show_p_value(p_value)}" if np.isfinite(p_value) else ""))
