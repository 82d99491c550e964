"""Figures of volume: relative error, regression, differences against means, sex-specific against common models."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.catalog.measures import MEASURES
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
from lib.stats.formats import show_p_value
from lib.stats.lines import fit_line, line_band

_PERSON = ["group", "scan", "subject", "sex"]
_IDENTITY = {"color": MUTED, "linestyle": (0, (4, 3)), "linewidth": 1}
_FITTED = {"color": GREEN, "linewidth": 1.4}
# brighter shades of the colour map are hard to see on white
_BRIGHTEST = 0.85


def draw_relative_error(metrics: pd.DataFrame) -> Drawing:
    """Relative volume error against reference volume; a person has one colour in all groups (Zhao 2020, Fig. 7)."""
    figure, panels = group_panels(metrics, share_x=True, share_y=True)
    ranks = metrics.groupby("subject")["reference_mm3"].mean().rank(pct=True)
    colors = {person: mpl.colormaps["viridis"](_BRIGHTEST * rank) for person, rank in ranks.items()}
    for group, axes in panels.items():
        subset = metrics[metrics["group"] == group]
        axes.axhline(0, color=INK, linewidth=0.9)
        scatter_people(axes, subset, subset["reference_mm3"] / 1000, subset["re_percent"], colors)
        axes.set_xlabel("reference volume, cm³")
    limit = 1.15 * max(1.0, float(metrics["re_percent"].abs().max()))
    first = next(iter(panels.values()))
    first.set_ylim(-limit, limit)
    first.set_ylabel(MEASURES["re_percent"].axis_label)
    legend_of_sexes(figure, metrics, colored=False)
    return Drawing(
        figure=figure,
        data=metrics[[*_PERSON, "reference_mm3", "re_percent"]],
        alt="Relative error of volume against reference volume: "
        + _by_group(
            metrics, lambda subset: "{:+.2f} to {:+.2f} %".format(*subset["re_percent"].agg(["min", "max"]))
        ),
        n=count_people(metrics),
    )


def draw_regression(metrics: pd.DataFrame, agreement: pd.DataFrame) -> Drawing:
    """Predicted against reference volume with the fitted line and the line of identity."""
    figure, panels = group_panels(metrics, share_x=False, share_y=False, height=3.8)
    rows = agreement.set_index("group")
    for group, axes in panels.items():
        _draw_fit(axes, metrics[metrics["group"] == group])
        axes.set_xlabel(f"reference volume, cm³\n{_regression_text(rows.loc[group])}")
    next(iter(panels.values())).set_ylabel("predicted volume, cm³")
    lines = {"identity": _IDENTITY, "least squares": _FITTED}
    legend_of_sexes(
        figure, metrics, lines=[Line2D([], [], label=label, **look) for label, look in lines.items()]
    )
    return Drawing(
        figure=figure,
        data=metrics[[*_PERSON, "reference_mm3", "predicted_mm3"]],
        alt="Predicted against reference volume: "
        + _by_group(metrics, lambda subset: _regression_text(rows.loc[subset.name]).replace("\n", ", ")),
        n=count_people(metrics),
    )


def draw_bland_altman(metrics: pd.DataFrame, agreement: pd.DataFrame) -> Drawing:
    """Difference against mean with bias and 95 % limits of agreement; bands are their 95 % intervals."""
    figure, panels = group_panels(metrics, share_x=False, share_y=True, height=3.7)
    rows = agreement.set_index("group")
    drawn = metrics.assign(
        mean_mm3=(metrics["predicted_mm3"] + metrics["reference_mm3"]) / 2,
        difference_mm3=metrics["predicted_mm3"] - metrics["reference_mm3"],
    )
    for group, axes in panels.items():
        subset = drawn[drawn["group"] == group]
        for name, color in (("loa_low", ORANGE), ("bias", BLUE), ("loa_high", ORANGE)):
            _draw_level(axes, rows.loc[group], name, color)
        scatter_people(axes, subset, subset["mean_mm3"] / 1000, subset["difference_mm3"] / 1000)
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.set_xlabel(f"mean of both volumes, cm³\n{minus(_limits_text(rows.loc[group]))}")
        axes.margins(x=0.12)
    # bands of few people are wide: points and lines set the scale, and bands may exceed it
    shown = pd.concat([drawn["difference_mm3"], rows["loa_low_mm3"], rows["loa_high_mm3"]])
    reach = 1.3 * max(1.0, float(shown.abs().max())) / 1000
    first = next(iter(panels.values()))
    first.set_ylim(-reach, reach)
    first.set_ylabel("predicted − reference, cm³")
    legend_of_sexes(figure, drawn)
    return Drawing(
        figure=figure,
        data=drawn[[*_PERSON, "mean_mm3", "difference_mm3"]],
        alt="Difference of volumes against their mean, limits of agreement: "
        + _by_group(drawn, lambda subset: _limits_text(rows.loc[subset.name]).replace("\n", ", ")),
        n=count_people(metrics),
    )


def draw_sex_specific(people: pd.DataFrame, paired: pd.DataFrame) -> Drawing | None:
    """Absolute volume error of each sex-specific model against that of the model of everybody on the same people.

    Returns None if no sex has people that both models predicted.

    Args:
        people: rows of the metrics of one model and protocol.
        paired: the rows of `paired_table` for them.
    """
    drawn = _paired_errors(people)
    drawn = drawn[drawn["group"].isin(paired["group"])]
    if drawn.empty:
        return None
    figure, panels = group_panels(drawn, share_x=True, share_y=True, width=3.2, height=4.2)
    rows = paired.set_index("group")
    reach = 1.1 * drawn[["common_error_mm3", "own_error_mm3"]].to_numpy().max() / 1000 or 1.0
    for group, axes in panels.items():
        subset, row = drawn[drawn["group"] == group], rows.loc[group]
        axes.plot([0, reach], [0, reach], **_IDENTITY)
        scatter_people(axes, subset, subset["common_error_mm3"] / 1000, subset["own_error_mm3"] / 1000)
        axes.set(xlim=(0, reach), ylim=(0, reach), aspect="equal")
        common = f"|error| of the model of everybody, cm³\n{_updates(row, 'second_updates')}"
        axes.set_xlabel(f"{common}\n{_paired_text(row)}")
        axes.set_ylabel(f"|error| of the {group} model, cm³\n{_updates(row, 'first_updates')}")
    return Drawing(
        figure=figure,
        data=drawn,
        alt="Absolute volume errors of sex-specific models against those of the model of everybody: "
        + _by_group(drawn, lambda subset: _paired_text(rows.loc[subset.name]).replace("\n", ", ")),
        n=count_people(drawn),
    )


def _by_group(table: pd.DataFrame, tell) -> str:
    """Return "all (n = 9) ..., male (n = 4) ..."; `tell` gives the text for the rows of a group."""
    parts = []
    for group in groups_of(table):
        subset = table[table["group"] == group]
        subset.name = group
        parts.append(f"{group} (n = {count_people(subset)}) {tell(subset)}")
    return minus("; ".join(parts)) + "."


def _draw_fit(axes: Axes, subset: pd.DataFrame) -> None:
    """Draw the volumes of one group in cm³ with the line of identity, the least-squares line and its 95 % band.

    If people have several scans, line and band are left out: the band would be too narrow.
    """
    x, y = subset["reference_mm3"].to_numpy() / 1000, subset["predicted_mm3"].to_numpy() / 1000
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    ends = np.array([low, high]) + np.array([-0.05, 0.05]) * max(high - low, 1.0)
    axes.plot(ends, ends, **_IDENTITY)
    independent = count_people(subset) == len(subset)
    if independent and np.isfinite(fit_line(x, y, 0.95).slope):
        along = np.linspace(*ends, 50)
        fitted, below, above = line_band(x, y, along, 0.95)
        axes.plot(along, fitted, **_FITTED)
        axes.fill_between(along, below, above, color=GREEN, alpha=0.15, linewidth=0)
    scatter_people(axes, subset, x, y)
    axes.set(xlim=ends, ylim=ends, aspect="equal")


def _draw_level(axes: Axes, row: pd.Series, name: str, color: str) -> None:
    """Draw bias or a limit of agreement as a line, with its interval as a band, if defined."""
    value, low, high = (row[f"{name}_mm3{part}"] / 1000 for part in ("", "_ci_low", "_ci_high"))
    if not np.isfinite(value):
        return
    axes.axhline(value, color=color, linewidth=1.3, linestyle="-" if name == "bias" else "--", zorder=4)
    if np.isfinite([low, high]).all():
        axes.axhspan(low, high, color=color, alpha=0.13, linewidth=0)


def _regression_text(row: Mapping) -> str:
    lines = [f"R² {row['r2']:.4f}{_ends(row, 'r2', 4)}"] if np.isfinite(row["r2"]) else ["R² not defined"]
    if np.isfinite(row["slope_ci_low"]):
        lines.append(f"slope {row['slope']:.3f}{_ends(row, 'slope', 3)}")
    return minus("\n".join(lines))


def _ends(row: Mapping, name: str, digits: int) -> str:
    """Return the ends of an interval in brackets, or "" if it is not defined."""
    low, high = (row[f"{name}_ci_{end}"] for end in ("low", "high"))
    if not np.isfinite([low, high]).all():
        return ""
    lowest = "below 0" if name == "r2" and low < 0 else f"{low:.{digits}f}"  # as in tables
    return f" ({lowest} to {high:.{digits}f})"


def _limits_text(row: Mapping) -> str:
    bias, low, high = (row[f"{name}_mm3"] / 1000 for name in ("bias", "loa_low", "loa_high"))
    limits = f"{low:+.2f} to {high:+.2f} cm³" if np.isfinite(low) else "not defined"
    return f"bias {bias:+.2f} cm³\nlimits {limits}"


def _paired_errors(people: pd.DataFrame) -> pd.DataFrame:
    """Return group, subject, sex, common_error_mm3, own_error_mm3: means over scans that both models predicted."""
    errors = people.assign(error=(people["predicted_mm3"] - people["reference_mm3"]).abs())
    errors = errors[["group", "subject", "sex", "scan", "error"]].dropna(subset=["error"])
    common = errors.loc[errors["group"] == "all", ["scan", "error"]].rename(
        columns={"error": "common_error_mm3"}
    )
    own = errors[errors["group"] != "all"].rename(columns={"error": "own_error_mm3"})
    names = ["common_error_mm3", "own_error_mm3"]
    return own.merge(common, on="scan").groupby(["group", "subject", "sex"], as_index=False)[names].mean()


def _updates(row: Mapping, name: str) -> str:
    count = row.get(name, np.nan)
    return f"({count:,.0f} updates a fold)" if pd.notna(count) else "(updates unknown)"


def _paired_text(row: Mapping) -> str:
    text = f"own − common {row['difference_mm3'] / 1000:+.2f} cm³"
    if np.isfinite(row["difference_mm3_ci_low"]):
        low, high = (row[f"difference_mm3_ci_{end}"] / 1000 for end in ("low", "high"))
        text += f"\ninterval {low:+.2f} to {high:+.2f}"
    if np.isfinite(row["wilcoxon_p_value"]):
        value = show_p_value(row["wilcoxon_p_value"])
        text += f"\nWilcoxon p {value if value.startswith('<') else f'= {value}'}"
    return minus(text)
