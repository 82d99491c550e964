"""Figures of the folds of cross-validation: learning curves, and the spread of scores between and within folds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.catalog.groups import group_position
from lib.catalog.measures import MEASURES
from lib.figures.style import (
    INK,
    MUTED,
    Drawing,
    beside,
    count_people,
    group_color,
    groups_of,
    label_dice,
    legend_of_sexes,
    scatter_people,
    set_reach,
)
from lib.stats.fold_variance import SPREAD_MEASURES


def history_key(path: str | Path) -> tuple[str, str, int]:
    """Return (group, network, fold) of `.../{group}/{network}/fold-{k}/history.csv`; "" for missing folders."""
    group, network, fold = ("", "", *Path(path).parts)[-4:-1]
    return group, network, int(fold.removeprefix("fold-"))


def draw_learning_curves(curves: Mapping[tuple[str, int], pd.DataFrame]) -> Drawing:
    """Training loss and validation Dice of every fold (thin) and their mean (thick), one column per group."""
    names = sorted({group for group, _ in curves})
    groups = sorted(names, key=group_position)
    figure = Figure(figsize=(max(4.4, 2.6 * len(groups) + 0.8), 4.2), layout="constrained")
    grid = figure.subplots(2, len(groups), sharex="col", sharey="row", squeeze=False)
    for column, group in zip(grid.T, groups, strict=True):
        folds = [curve for (name, _), curve in sorted(curves.items()) if name == group]
        for axes, name in zip(column, ("loss", "validation_dice"), strict=True):
            _draw_curves(axes, folds, name, group_color(group))
        column[0].set_title(f"{group} ({len(folds)} {'fold' if len(folds) == 1 else 'folds'})".strip())
        column[0].set_yscale("log")
        column[1].set_xlabel("epoch")
    grid[0, 0].set_ylabel("training loss")
    grid[1, 0].set_ylabel("validation Dice")
    tables = [curve.assign(group=group, fold=fold) for (group, fold), curve in sorted(curves.items())]
    best = [curve["validation_dice"].max() for curve in curves.values()]
    known = np.array([dice for dice in best if np.isfinite(dice)])
    told = f"; best validation Dice of a fold {known.min():.4f} to {known.max():.4f}" if len(known) else ""
    return Drawing(
        figure=figure,
        data=pd.concat(tables)[["group", "fold", "epoch", "loss", "validation_dice"]],
        alt=f"Training loss and validation Dice by epoch of {len(curves)} folds{told}.",
        n=len(curves),
    )


def draw_fold_spread(people: pd.DataFrame, spread: pd.DataFrame) -> Drawing:
    """Scores of the out-of-fold people of each fold, fold means, and the spread of means expected from people alone.

    Args:
        people: rows of the metrics of one model under cross-validation.
        spread: rows of `spread_table` for that model.
    """
    groups = groups_of(people)
    figure = Figure(figsize=(max(5.0, 3.1 * len(groups) + 0.6), 5.2), layout="constrained")
    grid = figure.subplots(2, len(groups), sharey="row", squeeze=False)
    rows = spread.set_index(["group", "measure"])
    for column, group in zip(grid.T, groups, strict=True):
        subset = people[people["group"] == group]
        for axes, measure in zip(column, SPREAD_MEASURES, strict=True):
            row = rows.loc[(group, measure)] if (group, measure) in rows.index else {}
            _draw_folds(axes, subset.dropna(subset=[measure]), measure)
            axes.set_title(_spread_text(row, measure), fontsize=7.5, fontweight="normal")
        column[1].set_xlabel(f"fold of group {group} (n = {count_people(subset)})")
    for axes, measure in zip(grid[:, 0], SPREAD_MEASURES, strict=True):
        values = people[measure].dropna()
        if len(values):
            limits = {"least": 0.0, "most": 1.0} if measure == "dsc" else {}
            set_reach(axes, values.min(), values.max(), **limits)
        axes.set_ylabel(MEASURES[measure].axis_label)
    label_dice(grid[0, 0], MEASURES["dsc"].axis_label)
    legend_of_sexes(figure, people)
    told = [f"{group}, DSC: {_spread_text(rows.loc[(group, 'dsc')], 'dsc')}" for group in groups
            if (group, "dsc") in rows.index]  # fmt: skip
    return Drawing(
        figure=figure,
        data=people[["group", "fold", "scan", "subject", "sex", *SPREAD_MEASURES]],
        alt=f"Scores of out-of-fold people by fold. {'; '.join(told)}.".replace("\n", ", "),
        n=count_people(people),
    )


def _draw_curves(axes: Axes, folds: Sequence[pd.DataFrame], name: str, color: str) -> None:
    known = [curve.dropna(subset=[name]) for curve in folds]
    for curve in known:
        look = _look_of(len(curve), 3)
        axes.plot(curve["epoch"], curve[name], color=color, alpha=0.35, linewidth=0.8, **look)
    by_epoch = pd.concat(known).groupby("epoch")[name]
    # once a fold has stopped, the mean would jump because it is over fewer folds
    mean = by_epoch.mean()[by_epoch.size() == sum(len(curve) > 0 for curve in known)]
    axes.plot(mean.index, mean, color=INK, linewidth=1.4, **_look_of(len(mean), 4))


def _look_of(points: int, size: float) -> dict:
    """Return the marker of a curve: none but for a single point, which no line shows."""
    return {"marker": "o", "markersize": size} if points == 1 else {}


def _draw_folds(axes: Axes, subset: pd.DataFrame, measure: str) -> None:
    """Draw the scans of each fold, the fold mean as a short line and the overall mean as a dashed line.

    In means each person counts once. A fold of one person gets no line, which would hide the point.
    """
    folds = sorted(subset["fold"].dropna().unique())
    for fold in folds:
        of_fold = subset[subset["fold"] == fold]
        scatter_people(axes, of_fold, fold + beside(of_fold["sex"], 0.6), of_fold[measure], largest=0.5)
        if count_people(of_fold) > 1:
            mean = of_fold.groupby("subject")[measure].mean().mean()
            axes.hlines(mean, fold - 0.36, fold + 0.36, color=INK, linewidth=1.8, zorder=4)
    if len(subset):
        mean = subset.groupby("subject")[measure].mean().mean()
        axes.axhline(mean, color=MUTED, linestyle=(0, (4, 3)), linewidth=1)
    axes.set_xticks([int(fold) for fold in folds])
    axes.grid(axis="x", visible=False)


def _spread_text(row: Mapping, measure: str) -> str:
    form = f".{MEASURES[measure].digits}f"
    names = ("sd_of_fold_means", "sd_expected_by_people", "sd_between_people")
    seen, expected, people = (float(row.get(name, np.nan)) for name in names)
    if not np.isfinite([seen, expected]).all():
        return "spread of fold means not defined"
    return f"SD of fold means {seen:{form}}, by people alone {expected:{form}}\nSD between people {people:{form}}"
