"""Figures of error against age, pixel size, and scanner with its settings."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from lib.ages import OLDEST_PRINTED_AGE, age_years
from lib.catalog.measures import MEASURES
from lib.figures.style import (
    FEWEST_FOR_BAND,
    INK,
    SEXES,
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
from lib.stats.lines import line_band

ERRORS = {name: MEASURES[name].phrase for name in ("re_percent", "dsc")}
_PERSON = ["scan", "subject", "sex"]
# with fewer people the coverage of the interval is below its nominal level
_FEWEST_FOR_RHO = 10
# rows in the figure by scanner; the last row pools all rarer settings
_MOST_SETTINGS = 12
# characters in the name of a setting, in total and per line
_LONGEST_NAME, _NAME_WIDTH = 90, 36


def draw_error_by_age(people: pd.DataFrame) -> Drawing | None:
    """Relative error and DSC against age; None with fewer than two known ages. Ages of 90 or more are drawn at 90."""
    ages = [age_years(age) for age in people["age"]]
    label = "age, years"
    if any(str(age).endswith("+") for age in people["age"]):
        label += f" ({OLDEST_PRINTED_AGE}+ drawn at {OLDEST_PRINTED_AGE})"
    return _draw_against(people.assign(age_years=np.array(ages, float)), "age_years", label)


def draw_error_by_pixel(people: pd.DataFrame, acquisition: pd.DataFrame) -> Drawing | None:
    """Relative error and DSC against the pixel size of the scan; None with fewer than two known sizes."""
    pixels = acquisition.set_index("scan")["pixel_mm"].astype(float)
    return _draw_against(people.assign(pixel_mm=people["scan"].map(pixels)), "pixel_mm", "pixel size, mm")


def draw_error_by_scanner(people: pd.DataFrame, acquisition: pd.DataFrame) -> Drawing | None:
    """Relative error and DSC by scanner and settings; None with fewer than two different settings."""
    drawn = people.assign(setting=people["scan"].map(_settings(acquisition))).dropna(subset=["setting"])
    if drawn["setting"].nunique() < 2:
        return None
    order = drawn["setting"].value_counts().index.tolist()
    if len(order) > _MOST_SETTINGS:
        order = [*order[: _MOST_SETTINGS - 1], "all rarer settings"]
        drawn = drawn.assign(setting=drawn["setting"].where(drawn["setting"].isin(order), order[-1]))
    figure = Figure(figsize=(8.2, 1.6 + 0.42 * len(order)), layout="constrained")
    panels = dict(zip(ERRORS, figure.subplots(1, 2, sharey=True), strict=True))
    for name, axes in panels.items():
        _draw_settings(axes, drawn.dropna(subset=[name]), name, order)
    counts = [count_people(drawn[drawn["setting"] == setting]) for setting in order]
    labels = [_setting_label(setting, n) for setting, n in zip(order, counts, strict=True)]
    panels["re_percent"].set_yticks(range(len(order)), labels, color=INK, fontsize=8)
    panels["re_percent"].invert_yaxis()
    panels["re_percent"].axvline(0, color=INK, linewidth=0.9)
    legend_of_sexes(figure, drawn)
    medians = drawn.groupby("setting")["dsc"].median().dropna().sort_values()
    ends = (
        [f"{medians[name]:.4f} ({name})" for name in medians.index[[0, -1]]]
        if len(medians)
        else ["not defined"]
    )
    return Drawing(
        figure=figure,
        data=drawn[[*_PERSON, "setting", *ERRORS]],
        alt=f"Errors by scanner and its settings, {len(order)} in all; median DSC: {' to '.join(ends)}.",
        n=count_people(drawn),
    )


def spearman_text(table: pd.DataFrame, x: str, y: str) -> str:
    """Return Spearman's rho with its 95 % interval and n, for all people and for each sex with at least ten people.

    It is not given if people have several scans, which are not independent, or if x or y does not vary. If it is
    given for nobody, the text says why.
    """
    groups = {"all": table} | {SEXES[sex][0]: table[table["sex"] == sex] for sex in ("M", "F")}
    parts = []
    for label, subset in groups.items():
        known = subset.dropna(subset=[x, y])
        people, varies = count_people(known), known[x].nunique() > 1 and known[y].nunique() > 1
        if people >= _FEWEST_FOR_RHO and people == len(known) and varies:
            rho = stats.spearmanr(known[x], known[y]).statistic
            low, high = spearman_interval(known[x].to_numpy(float), known[y].to_numpy(float))
            ends = f" ({low:+.2f} to {high:+.2f})" if np.isfinite([low, high]).all() else ""
            parts.append(f"{label} {rho:+.2f}{ends}, n = {people}")
    if not parts:
        known = table.dropna(subset=[x, y])
        why = "values do not vary"
        if count_people(known) < _FEWEST_FOR_RHO:
            why = f"fewer than {_FEWEST_FOR_RHO} people"
        elif count_people(known) < len(known):
            why = "people have several scans"
        return f"Spearman's ρ not given: {why}"
    return minus("\n".join(["Spearman's ρ: " + parts[0], *parts[1:]]))


def spearman_interval(x: np.ndarray, y: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of Spearman's rho of x and y (n,); two NaN where rho is -1 or 1.

    It uses Fisher's z with the variance (1 + rho^2 / 2) / (n - 3): Bonett & Wright, Psychometrika 2000;65:23.
    """
    rho = float(stats.spearmanr(x, y).statistic)
    if not abs(rho) < 1 - 1e-12:  # tolerance for rounding; also true for NaN
        return np.nan, np.nan
    half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return float(low), float(high)


def _draw_against(people: pd.DataFrame, name: str, label: str) -> Drawing | None:
    known = people.dropna(subset=[name])
    if known[name].nunique() < 2:
        return None
    figure = Figure(figsize=(8.4, 3.5), layout="constrained")
    for (error, error_label), axes in zip(ERRORS.items(), figure.subplots(1, 2), strict=True):
        shown = known.dropna(subset=[error])
        for sex, style in (("M", "-"), ("F", "--")):
            _draw_trend(axes, shown[shown["sex"] == sex], name, error, (SEXES[sex][3], style))
        scatter_people(axes, shown, shown[name], shown[error])
        if error == "re_percent":
            axes.axhline(0, color=INK, linewidth=0.9)
        elif len(shown):
            set_reach(axes, shown[error].min(), shown[error].max(), least=0.0, most=1.0)
        axes.set(xlabel=label, ylabel=error_label)
        if error == "dsc":
            label_dice(axes, error_label)
        axes.set_title(spearman_text(shown, name, error), fontsize=7.5, fontweight="normal")
    legend_of_sexes(figure, known)
    told = [f"{error_label}: {spearman_text(known, name, error)}" for error, error_label in ERRORS.items()]
    return Drawing(
        figure=figure,
        data=known[[*_PERSON, name, *ERRORS]],
        alt=f"Errors of {count_people(known)} people against {label}: {'; '.join(told)}.".replace("\n", ", "),
        n=count_people(known),
    )


def _draw_trend(axes: Axes, subset: pd.DataFrame, name: str, error: str, look: tuple[str, str]) -> None:
    """Draw the least-squares line of one sex with the 95 % band of its mean, if there are enough people."""
    x, y = subset[name].to_numpy(float), subset[error].to_numpy(float)
    if count_people(subset) < FEWEST_FOR_BAND or count_people(subset) < len(subset) or np.ptp(x) == 0:
        return
    along = np.linspace(x.min(), x.max(), 50)
    fitted, low, high = line_band(x, y, along, 0.95)
    color, style = look
    axes.plot(along, fitted, style, color=color, linewidth=1.4, zorder=4)
    axes.fill_between(along, low, high, color=color, alpha=0.2, linewidth=0, zorder=4)


def _settings(acquisition: pd.DataFrame) -> dict[str, str]:
    """Return scan -> scanner and settings in words from the known parts; a scan without any is left out.

    They are manufacturer, model, kernel and kV of a CT; manufacturer, model, field and sequence of an MR image.
    """
    settings = {}
    for row in acquisition.to_dict("records"):
        scanner = " ".join(part for part in (_text(row, "manufacturer"), _text(row, "model")) if part)
        of_ct = (_text(row, "kernel"), _with_unit(row, "kvp", "kV"))
        of_mr = (_with_unit(row, "field_tesla", "T"), _text(row, "sequence"))
        known = [part for part in (scanner, *of_ct, *of_mr) if part]
        if known:
            settings[row["scan"]] = ", ".join(known)
    return settings


def _setting_label(setting: str, people: int) -> str:
    """Return the name of a setting in short lines with its number of people; the middle of a long name is cut."""
    half = _LONGEST_NAME // 2
    name = setting if len(setting) <= _LONGEST_NAME else f"{setting[:half]}…{setting[-half:]}"
    # Matplotlib reads an unescaped dollar sign as the start of a formula
    return "\n".join(textwrap.wrap(name, _NAME_WIDTH)).replace("$", r"\$") + f" (n = {people})"


def _text(row: Mapping, name: str) -> str:
    value = row.get(name, "")
    return "" if pd.isna(value) else str(value).strip()


def _with_unit(row: Mapping, name: str, unit: str) -> str:
    return f"{float(row[name]):g} {unit}" if pd.notna(row.get(name)) else ""


def _draw_settings(axes: Axes, shown: pd.DataFrame, name: str, order: list[str]) -> None:
    for place, setting in enumerate(order):
        subset = shown[shown["setting"] == setting]
        draw_quartiles(axes, place, subset[name].to_numpy(), 0.7, across=True)
        scatter_people(axes, subset, subset[name], place + beside(subset["sex"], 0.6), largest=0.5)
    axes.set_xlabel(ERRORS[name])
    axes.grid(axis="y", visible=False)
