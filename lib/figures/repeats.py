"""Figures of repeatability: repeated scans of the same person, and two readers of the same scan."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.catalog.measures import ENOUGH_FREEDOM, MEASURES
from lib.figures.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    Drawing,
    count_people,
    group_panels,
    groups_of,
    legend_of_sexes,
    minus,
    scatter_people,
)
from lib.stats.grouping import first_or_own

_LOOKS = {
    "reader 1 - reader 2": (INK, "D"),
    "reader 1 - model": (BLUE, "o"),
    "reader 2 - model": (ORANGE, "s"),
}


def draw_precision(pairs: pd.DataFrame, precision: pd.DataFrame) -> Drawing:
    """Difference between a repeated scan and the first scan against their mean.

    Args:
        pairs: rows of `repeated_pairs` of one model and protocol, at least one.
        precision: rows of `precision_table` for them.
    """
    drawn = pairs.drop(columns=["network", "protocol", "structure"])
    figure, panels = group_panels(drawn, share_x=False, share_y=True, height=3.7)
    rows = precision[precision["measure"] == "predicted_mm3"].set_index("group")
    reach = drawn["difference_mm3"].abs().max()
    told = []
    for group, axes in panels.items():
        subset = drawn[drawn["group"] == group]
        row = rows.loc[group] if group in rows.index else pd.Series(dtype=float)
        lsc = float(row.get("lsc", np.nan))
        if np.isfinite(lsc):
            for name in ("lsc", "lsc_ci_high"):
                axes.axhspan(-row[name] / 1000, row[name] / 1000, color=BLUE, alpha=0.08, linewidth=0)
            reach = max(reach, lsc)
        scatter_people(axes, subset, subset["mean_mm3"] / 1000, subset["difference_mm3"] / 1000)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xlabel(f"mean of both volumes, cm³\n{_precision_text(row)}")
        axes.margins(x=0.15)
        told.append(f"{group} (n = {count_people(subset)}) {_precision_text(row)}".replace("\n", ", "))
    first = next(iter(panels.values()))
    first.set_ylim(-1.2 * max(reach, 1) / 1000, 1.2 * max(reach, 1) / 1000)
    first.set_ylabel("repeated − first, predicted, cm³")
    legend_of_sexes(figure, drawn)
    return Drawing(
        figure=figure,
        data=drawn,
        alt=f"Difference of predicted volumes between repeated and first scans: {'; '.join(told)}.",
        n=count_people(drawn),
    )


def repeated_pairs(volumes: pd.DataFrame) -> pd.DataFrame:
    """Return each repeated scan paired with the first scan by the same models: mean and difference in mm3.

    If the first scan has no volume, the first repetition with a volume replaces it. A pair has the protocol of its
    scan with a reference, as in `precision_table`, because repetitions seldom have a reference.
    """
    keys = ["group", "network", "members", "structure", "origin"]
    table = volumes.assign(origin=first_or_own(volumes)).dropna(subset=["predicted_mm3"])
    table = table.assign(
        again=table["origin"] != table["scan"], scored=table["protocol"].where(table["protocol"] != "apply")
    )
    table = table.sort_values("again", kind="stable")
    firsts = table.groupby(keys)[["scan", "predicted_mm3", "scored"]].transform("first")
    table = table.assign(
        protocol=firsts["scored"].fillna("apply"),
        first_scan=firsts["scan"],
        mean_mm3=(table["predicted_mm3"] + firsts["predicted_mm3"]) / 2,
        difference_mm3=table["predicted_mm3"] - firsts["predicted_mm3"],
    )
    pairs = table[table["scan"] != table["first_scan"]].sort_index()
    return pairs[
        [
            *keys[:2],
            "protocol",
            "structure",
            "scan",
            "first_scan",
            "subject",
            "sex",
            "mean_mm3",
            "difference_mm3",
        ]
    ]


def draw_readers(readers: pd.DataFrame) -> Drawing:
    """Two readers and the model, compared in pairs: mean Dice with its SD, bias with limits of agreement."""
    groups = groups_of(readers)
    figure = Figure(figsize=(8.2, 1.1 + 1.15 * len(groups)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places, labels = [], []
    for position, group in enumerate(groups):
        for step, row in enumerate(readers[readers["group"] == group].to_dict("records")):
            place = 4 * position + step
            color, marker = _LOOKS.get(row["pair"], (GREEN, "^"))
            look = {"color": color, "fmt": marker, "capsize": 3, "markersize": 5, "linewidth": 1.3}
            sd = row["dsc_sd"] if np.isfinite(row["dsc_sd"]) else 0
            left.errorbar(row["dsc_mean"], place, xerr=sd, **look)
            _draw_limits(right, row, place, look)
            places.append(place)
            labels.append(f"{group}: {row['pair'].replace(' - ', ' and ')} (n = {row['n']})")
    left.set_yticks(places, labels, color=INK, fontsize=8)
    left.invert_yaxis()
    left.set_xlabel(f"{MEASURES['dsc'].axis_label}, mean ± SD between scans")
    right.axvline(0, color=MUTED, linewidth=0.8)
    right.set_xlabel(
        "second − first volume, cm³: bias with its\ninterval (thick), limits of agreement (thin)"
    )
    first = readers[readers["group"] == groups[0]]
    told = [f"{row.pair.replace(' - ', ' and ')} {row.dsc_mean:.4f}" for row in first.itertuples()]
    return Drawing(
        figure=figure,
        data=readers,
        alt=f"Mean DSC of two readers and the model on the same scans of group {groups[0]}: {', '.join(told)}.",
        n=int(first["n"].max()),
    )


def _precision_text(row: pd.Series) -> str:
    if not np.isfinite(float(row.get("rms_sd", np.nan))):
        return "precision not defined"
    return (
        f"RMS-SD {row['rms_sd'] / 1000:.2f} cm³, RMS-CV {row['rms_cv_percent']:.2f} %\n"
        f"LSC {row['lsc'] / 1000:.2f} cm³ ({row['lsc_ci_low'] / 1000:.2f} to {row['lsc_ci_high'] / 1000:.2f})\n"
        f"degrees of freedom: {row['degrees_of_freedom']:.0f}{_few(row)}"
    )


def _few(row: pd.Series) -> str:
    return "" if row["degrees_of_freedom"] >= ENOUGH_FREEDOM else f" (below {ENOUGH_FREEDOM})"


def _draw_limits(axes: Axes, row: dict, place: float, look: dict) -> None:
    """Draw bias, its interval (thick) and the limits of agreement (thin, capped), where they are defined."""
    bias, *bounds = (
        row[name] / 1000
        for name in ("bias_mm3", "loa_low_mm3", "loa_high_mm3", "bias_mm3_ci_low", "bias_mm3_ci_high")
    )
    if np.isfinite(bounds[:2]).all():
        axes.errorbar(bias, place, xerr=[[bias - bounds[0]], [bounds[1] - bias]], **look)
        axes.annotate(
            minus(f"{bias:+.2f}"), (bias, place), (0, 5), textcoords="offset points", ha="center", fontsize=7
        )
    elif np.isfinite(bias):
        axes.plot(bias, place, look["fmt"], color=look["color"], markersize=look["markersize"])
    if np.isfinite(bounds[2:]).all():
        axes.hlines(place, *bounds[2:], color=look["color"], linewidth=4, alpha=0.5)
