"""Figures of densities: agreement by vendor, calibration, classes, Dice by structure and vendor.

Every figure is of one group, network and protocol. A vendor whose scans trained the networks is told apart in words
from one that is new to them. Tables are read without the scale of their densities, which the axes tell.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.catalog.groups import ALL
from lib.figures.palette import css, structure_color
from lib.figures.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    Drawing,
    draw_quartiles,
    label_dice,
    minus,
    name_scans,
    set_reach,
    spread_out,
)
from lib.stats.density_people import CLASSES
from lib.stats.density_plan import (
    AGE_SEX,
    HU_LINEAR,
    HU_LINEAR_VENDOR,
    METHOD_WORDS,
    METHODS,
    NETWORK,
    PHANTOM,
)

TRAINED_WORDS: Mapping[str, str] = {"yes": "trained", "no": "new vendor", "": ""}
_METHOD_LOOKS: Mapping[str, tuple[str, str]] = {
    NETWORK: (BLUE, "o"),
    HU_LINEAR: (ORANGE, "s"),
    HU_LINEAR_VENDOR: (GREEN, "D"),
    AGE_SEX: (MUTED, "v"),
    PHANTOM: (INK, "P"),
}
_IDENTITY = {"color": MUTED, "linestyle": (0, (4, 3)), "linewidth": 1}
_PANELS_A_ROW = 2  # so that a figure stays readable on a page of 420 pixels
_PANEL_INCHES = 2.3
_PERSON = ["subject", "vendor", "method", "reference", "predicted"]


def vendor_words(vendor: str, trained: str) -> str:
    """Return the name of a vendor with whether its scans trained the networks, such as `philips (new vendor)`."""
    told = TRAINED_WORDS.get(trained, "")
    return (vendor or "vendor not stated") + (f" ({told})" if told else "")


def draw_density_scatter(people: pd.DataFrame, agreement: pd.DataFrame, unit: str) -> Drawing | None:
    """Predicted against reference mean density of each person, a panel for each vendor, with the identity.

    Args:
        people: rows of bmd_people of one mean, with contrast `no`.
        agreement: rows of bmd_agreement of persons for them.
        unit: unit of the densities, with the scale.
    """
    shown = _of_methods(people, (NETWORK, HU_LINEAR))
    if shown.empty:
        return None
    values = shown[["reference", "predicted"]].to_numpy()
    reach = values.min() - 8, values.max() + 8
    rows = _rows_by_vendor(agreement, NETWORK)

    def draw(axes: Axes, own: pd.DataFrame, vendor: str) -> None:
        axes.plot(reach, reach, **_IDENTITY)
        for method in (HU_LINEAR, NETWORK):
            _points(axes, own[own["method"] == method], "reference", "predicted")
        axes.set(xlim=reach, ylim=reach, aspect="equal")
        axes.set_xlabel(f"reference, mg/cm³\n{minus(_estimates(rows.get(vendor), 'slope', 'r'))}", fontsize=8)

    figure = _vendor_panels(shown, agreement, draw, height=3.2)
    figure.axes[0].set_ylabel(f"predicted,\n{unit}")
    _legend(figure, (NETWORK, HU_LINEAR), Line2D([], [], label="identity", **_IDENTITY))
    return _drawing(figure, shown[_PERSON], "Predicted against reference mean density", rows)


def draw_density_differences(people: pd.DataFrame, agreement: pd.DataFrame, unit: str) -> Drawing | None:
    """Predicted − reference mean density against the mean of both, a panel for each vendor, with bias and limits.

    Arguments are those of `draw_density_scatter`. Lines are of the network; bands are the intervals of bias and
    limits.
    """
    shown = _of_methods(people, (NETWORK,))
    if shown.empty:
        return None
    shown = shown.assign(mean=shown[["reference", "predicted"]].mean(axis=1))
    shown = shown.assign(difference=shown["predicted"] - shown["reference"])
    rows = _rows_by_vendor(agreement, NETWORK)
    lines = [rows[vendor][name] for vendor in rows for name in ("loa_low", "loa_high") if vendor != ALL]
    reach = 1.15 * max(np.abs([*shown["difference"], *(x for x in lines if np.isfinite(x)), 1.0]))

    def draw(axes: Axes, own: pd.DataFrame, vendor: str) -> None:
        row = rows.get(vendor, {})
        for name, color in (("loa_low", ORANGE), ("bias", BLUE), ("loa_high", ORANGE)):
            _level(axes, row, name, color)
        axes.axhline(0, color=MUTED, linewidth=0.7)
        _points(axes, own, "mean", "difference")
        axes.set_ylim(-reach, reach)
        axes.set_xlim(shown["mean"].min() - 8, shown["mean"].max() + 8)
        axes.set_xlabel(f"mean of both, mg/cm³\n{minus(_estimates(row, 'bias', 'limits'))}", fontsize=8)

    figure = _vendor_panels(shown, agreement, draw, height=3.2)
    figure.axes[0].set_ylabel(f"predicted − reference,\n{unit}")
    lines = [
        Line2D([], [], color=BLUE, linewidth=1.4, label="bias"),
        Line2D([], [], color=ORANGE, linestyle="--", linewidth=1.2, label="95 % limits"),
    ]
    _legend(figure, (NETWORK,), *lines)
    return _drawing(
        figure, shown[["subject", "vendor", "mean", "difference"]], "Difference against mean density", rows
    )


def draw_density_calibration(agreement: pd.DataFrame, unit: str) -> Drawing | None:
    """Bias and slope of mean densities by vendor and method, with their intervals; without the floor by age and sex.

    `agreement` are the rows of bmd_agreement of persons of one mean, with contrast `no`.
    """
    # the floor by age and sex, whose intervals are far wider, would set the axes
    rows = agreement[agreement["bias"].notna() & (agreement["method"] != AGE_SEX)]
    vendors = [vendor for vendor in dict.fromkeys(agreement["vendor"]) if (rows["vendor"] == vendor).any()]
    if not vendors:
        return None
    methods = [method for method in METHODS if (rows["method"] == method).any()]
    figure = Figure(figsize=(5.6, 0.5 * len(vendors) + 2.3), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, name, label, none in zip(
        panels, ("bias", "slope"), (f"bias, {unit}", "slope"), (0.0, 1.0), strict=True
    ):
        axes.axvline(none, **_IDENTITY)
        for row in rows.to_dict("records"):
            place = vendors.index(row["vendor"]) + _beside(methods, row["method"])
            _whisker(axes, row, name, place)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
    trained = _trained(agreement)
    panels[0].set_yticks(range(len(vendors)), [_vendor_label(vendor, trained) for vendor in vendors])
    panels[0].set_ylim(len(vendors) - 0.4, -0.6)
    _legend(figure, methods)
    told = [
        f"{_vendor_label(row['vendor'], trained)} {row['bias']:+.1f}".replace("\n", " ")
        for row in rows[rows["method"] == NETWORK].to_dict("records")
    ]
    return Drawing(
        figure=figure,
        data=rows[["vendor", "vendor_trained", "method", "n_people", *_ends("bias"), *_ends("slope")]],
        alt="Bias and slope of mean densities by vendor and method; bias of the network: "
        + "; ".join(told)
        + ".",
        n=int(rows.loc[rows["vendor"] == vendors[0], "n_people"].max()),
    )


def draw_confusion(confusion: pd.DataFrame) -> Drawing | None:
    """Number of people by the class of their reference and of their prediction, a panel for each vendor.

    `confusion` are rows of confusion.csv of one mean and the method `network`.
    """
    vendors = [vendor for vendor in dict.fromkeys(confusion["vendor"]) if vendor != ALL]
    vendors = [name for name in vendors if confusion.loc[confusion["vendor"] == name, "n"].sum()]
    if not vendors:
        return None
    trained = _trained(confusion)
    figure, panels = _panels(len(vendors), height=2.9)
    for axes, vendor in zip(panels, vendors, strict=False):
        own = confusion[confusion["vendor"] == vendor]
        counts = own.pivot(index="reference_class", columns="predicted_class", values="n")
        counts = counts.loc[list(CLASSES), list(CLASSES)].to_numpy(float)
        axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(counts.max(), 1) * 1.15)
        for place, count in np.ndenumerate(counts):
            dark = count > 0.6 * max(counts.max(), 1)
            axes.text(
                place[1], place[0], f"{count:.0f}", ha="center", va="center", color="white" if dark else INK
            )
        axes.set_xticks(range(len(CLASSES)), CLASSES, fontsize=7)
        axes.set_yticks(range(len(CLASSES)), CLASSES, fontsize=7, rotation=90, va="center")
        axes.grid(visible=False)
        axes.set_title(_panel_title(vendor, trained, int(counts.sum())), fontsize=8)
        axes.set_xlabel("predicted class", fontsize=8)
    panels[0].set_ylabel("reference class", fontsize=8)
    total = confusion[confusion["vendor"].isin(vendors)]
    agree = total.loc[total["reference_class"] == total["predicted_class"], "n"].sum()
    return Drawing(
        figure=figure,
        data=total[["vendor", "reference_class", "predicted_class", "n", "n_near_cut_off"]],
        alt=f"Classes of reference and prediction agree for {agree} of {total['n'].sum()} people.",
        n=int(total["n"].sum()),
    )


def draw_structure_dice(found: pd.DataFrame, trained: Mapping[str, str]) -> Drawing | None:
    """Dice of each structure by vendor: scans as points, median and quartiles.

    Args:
        found: rows of levels_found of one network and protocol.
        trained: whether a vendor trained (`yes`, `no`), by vendor.
    """
    scored = found.dropna(subset=["dsc"])
    if scored.empty:
        return None
    structures = list(dict.fromkeys(found["structure"]))
    vendors = sorted(set(scored["vendor"]))
    width = 0.8 / len(vendors)
    figure = Figure(figsize=(max(4.4, 1.05 * len(structures) + 0.9), 3.4), layout="constrained")
    axes = figure.subplots()
    for number, vendor in enumerate(vendors):
        color = css(structure_color(number)) if len(vendors) > 1 else BLUE
        for place, structure in enumerate(structures):
            own = scored[(scored["vendor"] == vendor) & (scored["structure"] == structure)]
            center = place + (number + 0.5) * width - 0.4
            values = own["dsc"].to_numpy(float)
            axes.scatter(
                center + spread_out(len(values), 0.7 * width),
                values,
                s=9,
                color=color,
                alpha=0.85,
                linewidths=0,
            )
            draw_quartiles(axes, center, values, 0.85 * width)
    axes.set_xticks(range(len(structures)), structures)
    axes.grid(axis="x", visible=False)
    set_reach(axes, scored["dsc"].min(), scored["dsc"].max(), least=0.0, most=1.0)
    label_dice(axes, "Dice")
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=5, color=css(structure_color(number)),
               label=vendor_words(vendor, trained.get(vendor, "")))
        for number, vendor in enumerate(vendors)
    ]  # fmt: skip
    if len(vendors) > 1:
        figure.legend(
            handles=marks, loc="outside lower center", ncols=2 if len(vendors) > 3 else len(vendors)
        )
    means = scored.groupby("structure")["dsc"].mean()
    return Drawing(
        figure=figure,
        data=scored[["scan", "vendor", "structure", "dsc"]],
        alt="Dice by structure and vendor; means: "
        + ", ".join(f"{name} {means[name]:.3f}" for name in structures if name in means)
        + ".",
        n=scored["subject"].nunique(),
    )


def _of_methods(people: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    known = people[people["method"].isin(methods) & (people["protocol"] != "apply")]
    return known.dropna(subset=["reference", "predicted"])


def _rows_by_vendor(agreement: pd.DataFrame, method: str) -> dict[str, dict]:
    rows = agreement[agreement["method"] == method].to_dict("records")
    return {row["vendor"]: row for row in rows}


def _trained(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["vendor"], table["vendor_trained"], strict=True))


def _vendor_label(vendor: str, trained: Mapping[str, str]) -> str:
    """Return the words for a vendor on two lines; of all vendors together on one."""
    if vendor == ALL:
        return "all vendors"
    return vendor_words(vendor, trained.get(vendor, "")).replace(" (", "\n(", 1)


def _panel_title(vendor: str, trained: Mapping[str, str], people: int) -> str:
    return f"{vendor_words(vendor, trained.get(vendor, ''))}, n = {people}"


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, _PANELS_A_ROW)
    rows = -(-count // columns)
    size = max(4.4, _PANEL_INCHES * columns + 0.5), height * rows + 0.35
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


def _vendor_panels(
    shown: pd.DataFrame,
    agreement: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame, str], None],
    height: float,
) -> Figure:
    """Return a figure with a panel for each vendor, drawn by a function of panel, its rows and vendor."""
    vendors, trained = sorted(set(shown["vendor"])), _trained(agreement)
    figure, panels = _panels(len(vendors), height)
    for axes, vendor in zip(panels, vendors, strict=True):
        own = shown[shown["vendor"] == vendor]
        axes.set_title(_panel_title(vendor, trained, own["subject"].nunique()), fontsize=8)
        draw(axes, own, vendor)
    return figure


def _points(axes: Axes, own: pd.DataFrame, x: str, y: str) -> None:
    """Draw people with the look of their method."""
    if own.empty:
        return
    color, marker = _METHOD_LOOKS[own["method"].iloc[0]]
    size = min(1.0, max(0.3, 8 / len(own) ** 0.5)) * 26
    marks = axes.scatter(
        own[x],
        own[y],
        s=size,
        marker=marker,
        color=color,
        alpha=0.8,
        edgecolors="white",
        linewidths=0.4,
        zorder=3,
    )
    name_scans(marks, own)


def _level(axes: Axes, row: Mapping, name: str, color: str) -> None:
    """Draw a horizontal line at a number of a row, with the band of its interval."""
    value, low, high = (row.get(column, np.nan) for column in _ends(name))
    if np.isfinite(value):
        axes.axhline(value, color=color, linewidth=1.4 if name == "bias" else 1.2,
                     linestyle="-" if name == "bias" else "--", zorder=2)  # fmt: skip
    if np.isfinite(low):
        axes.axhspan(low, high, color=color, alpha=0.13, linewidth=0, zorder=1)


def _whisker(axes: Axes, row: Mapping, name: str, place: float) -> None:
    value, low, high = (row[column] for column in _ends(name))
    color, marker = _METHOD_LOOKS[row["method"]]
    if np.isfinite(low):
        axes.hlines(place, low, high, color=color, linewidth=1.3)
    axes.plot([value], [place], marker=marker, color=color, markersize=4.5, linestyle="")


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_ci_low", f"{name}_ci_high"


def _beside(methods: Sequence[str], method: str) -> float:
    return (list(methods).index(method) - (len(methods) - 1) / 2) * 0.17


def _estimates(row: Mapping | None, *names: str) -> str:
    """Return the words of estimates of a row below a panel."""
    if not row:
        return ""
    words = {
        "slope": f"slope {row['slope']:.3f}",
        "r": f"r {row['pearson_r']:.3f}",
        "bias": f"bias {row['bias']:+.1f}",
        "limits": f"limits {row['loa_low']:+.1f} to {row['loa_high']:+.1f}",
    }
    return ", ".join(words[name] for name in names if "nan" not in words[name])


def _legend(figure: Figure, methods: Sequence[str], *lines: Line2D) -> None:
    marks = [
        Line2D([], [], linestyle="", marker=_METHOD_LOOKS[method][1], color=_METHOD_LOOKS[method][0],
               markersize=5, label=METHOD_WORDS[method])
        for method in methods
    ]  # fmt: skip
    handles = [*marks, *lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(handles) > 3 else len(handles))


def _drawing(figure: Figure, data: pd.DataFrame, what: str, rows: Mapping[str, Mapping]) -> Drawing:
    told = "; ".join(
        f"{vendor_words(vendor, row['vendor_trained'])}: {_estimates(row, 'bias', 'slope', 'r')}"
        for vendor, row in rows.items()
        if vendor != ALL
    )
    return Drawing(figure=figure, data=data, alt=f"{what}. {minus(told)}.", n=data["subject"].nunique())
