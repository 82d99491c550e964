"""Figures of repetition: the same person scanned again, the same scan read by a second person."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.stats.figures.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    Drawing,
    cohort_panels,
    cohorts_of,
    count_people,
    legend_of_sexes,
    minus,
    note,
    scatter_people,
)
from lib.stats.tables import first_or_own

_LOOKS = {
    "reader 1 - reader 2": (INK, "D"),
    "reader 1 - model": (BLUE, "o"),
    "reader 2 - model": (ORANGE, "s"),
}


def draw_precision(volumes: pd.DataFrame, precision: pd.DataFrame) -> Drawing | None:
    """Difference between a repeated scan and the first against their mean; None without repeated scans.

    Args:
        volumes: rows of `volumes_table` of one model and protocol.
        precision: rows of `precision_table` for them.
    """
    drawn = _repeated(volumes)
    if drawn.empty:
        return None
    figure, panels = cohort_panels(drawn, share_x=False, share_y=True, width=3.4)
    rows = precision[precision["measure"] == "predicted_mm3"].set_index("cohort")
    reach = drawn["difference_mm3"].abs().max()
    told = []
    for cohort, axes in panels.items():
        group = drawn[drawn["cohort"] == cohort]
        row = rows.loc[cohort] if cohort in rows.index else pd.Series(dtype=float)
        lsc = float(row.get("lsc", np.nan))
        if np.isfinite(lsc):
            axes.axhspan(-lsc / 1000, lsc / 1000, color=BLUE, alpha=0.1, linewidth=0)
            reach = max(reach, lsc)
        scatter_people(axes, group, group["mean_mm3"] / 1000, group["difference_mm3"] / 1000)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.set_xlabel("mean of both volumes, cm³")
        axes.margins(x=0.15)
        note(axes, _precision_text(row), size=7.5)
        told.append(f"{cohort} (n = {count_people(group)}) {_precision_text(row)}".replace("\n", ", "))
    first = next(iter(panels.values()))
    # room above for the text
    first.set_ylim(-1.2 * max(reach, 1) / 1000, 2.2 * max(reach, 1) / 1000)
    first.set_ylabel("repeated − first, predicted, cm³")
    legend_of_sexes(figure, drawn)
    return Drawing(
        figure=figure,
        data=drawn,
        alt=f"Difference of predicted volumes between repeated and first scans: {'; '.join(told)}.",
        n=count_people(drawn),
    )


def draw_readers(readers: pd.DataFrame) -> Drawing:
    """Two readers and the model, pair by pair: mean Dice with its SD, bias with limits of agreement."""
    cohorts = cohorts_of(readers)
    figure = Figure(figsize=(8.2, 1.1 + 1.15 * len(cohorts)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places, labels = [], []
    for position, cohort in enumerate(cohorts):
        for step, row in enumerate(readers[readers["cohort"] == cohort].to_dict("records")):
            place = 4 * position + step
            color, marker = _LOOKS.get(row["pair"], (GREEN, "^"))
            look = {"color": color, "fmt": marker, "capsize": 3, "markersize": 5, "linewidth": 1.3}
            sd = row["dsc_sd"] if np.isfinite(row["dsc_sd"]) else 0
            left.errorbar(row["dsc_mean"], place, xerr=sd, **look)
            _draw_limits(right, row, place, look)
            places.append(place)
            labels.append(f"{cohort}: {row['pair'].replace(' - ', ' and ')} (n = {row['n']})")
    left.set_yticks(places, labels, color=INK, fontsize=8)
    left.invert_yaxis()
    left.set_xlabel("DSC, mean ± SD between scans")
    right.axvline(0, color=MUTED, linewidth=0.8)
    right.set_xlabel(
        "second − first volume, cm³: bias with 95 %\ninterval (thick), limits of agreement (thin)"
    )
    first = readers[readers["cohort"] == cohorts[0]]
    told = [f"{row.pair.replace(' - ', ' and ')} {row.dsc_mean:.4f}" for row in first.itertuples()]
    return Drawing(
        figure=figure,
        data=readers,
        alt=f"Mean DSC of two readers and the model on the same scans of cohort {cohorts[0]}: {', '.join(told)}.",
        n=int(first["n"].max()),
    )


def _repeated(volumes: pd.DataFrame) -> pd.DataFrame:
    """Return every repeated scan with the first one of the same models: their mean and difference in mm3."""
    keys = ["cohort", "members"]
    table = volumes.assign(first_scan=first_or_own(volumes)).dropna(subset=["predicted_mm3"])
    again = table[table["first_scan"] != table["scan"]]
    firsts = table[[*keys, "scan", "predicted_mm3"]]
    firsts = firsts.rename(columns={"scan": "first_scan", "predicted_mm3": "first_mm3"})
    both = again.merge(firsts, on=[*keys, "first_scan"])
    both = both.assign(
        mean_mm3=(both["predicted_mm3"] + both["first_mm3"]) / 2,
        difference_mm3=both["predicted_mm3"] - both["first_mm3"],
    )
    return both[["cohort", "scan", "first_scan", "subject", "sex", "mean_mm3", "difference_mm3"]]


def _precision_text(row: pd.Series) -> str:
    if not np.isfinite(float(row.get("rms_sd", np.nan))):
        return "precision not defined"
    return (
        f"RMS-SD {row['rms_sd'] / 1000:.2f} cm³, RMS-CV {row['rms_cv_percent']:.2f} %\n"
        f"LSC {row['lsc'] / 1000:.2f} cm³ (band), {row['degrees_of_freedom']:.0f} degrees of freedom"
    )


def _draw_limits(axes: Axes, row: dict, place: float, look: dict) -> None:
    """Draw bias, its interval (thick) and the limits of agreement (thin, capped), as far as they are defined."""
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
