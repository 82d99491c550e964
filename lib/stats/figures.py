"""The study's figures as SVG and PNG: scores, relative errors, regression, limits of agreement, learning curves.

The same tables give the same bytes. Colours are those of Okabe and Ito, told apart with every kind of colour vision;
sex is told by shape too (star = men, circle = women, as in Zhao 2020, Fig. 7).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.atomic import whole_file, write_json
from lib.stats.agreement import fit_line
from lib.stats.tables import COHORT_ORDER, prediction_key, without_repeats

INK, MUTED, GRID = "#1f2933", "#6b7785", "#dde3e9"
BLUE, ORANGE, GREEN, RED, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9"
SEXES = {"M": ("men", "*", 70, BLUE), "F": ("women", "o", 30, RED), "": ("sex unknown", "s", 26, MUTED)}
COHORT_COLORS = {"all": MUTED, "male": BLUE, "female": RED}
SCORE_NAMES = {"dsc": "DSC", "sensitivity": "SN", "specificity": "SP"}
PROTOCOL_NAMES = {
    "cv": "cross-validation, out-of-fold people",
    "test": "test people, ensemble of folds",
    "test-single": "test people, single model",
    "external": "external people, ensemble of folds",
}
# points above this number are drawn as pixels: an SVG of 20,000 vector stars is slow to open
_MOST_VECTOR_POINTS = 2000

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "osteoflow",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Example:
    """One scan for the figure of contours: arrays (z, y, x) on the crop grid, intensities in HU, spacing in mm."""

    title: str
    image_zyx: np.ndarray
    reference_zyx: np.ndarray
    predicted_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]


@dataclass(frozen=True)
class StudyResults:
    """What is drawn.

    Attributes:
        metrics: the table of `metrics_table`.
        agreement: the table of `agreement_table`.
        histories: learning curves by (cohort, model, fold): epoch, loss, validation_dice.
        slices: `by_slice` records of the overlap files by prediction key.
        examples: scans for the figure of contours.
        synthetic: the people are made up; every figure says so.
    """

    metrics: pd.DataFrame
    agreement: pd.DataFrame
    histories: Mapping[tuple[str, str, int], pd.DataFrame] = field(default_factory=dict)
    slices: Mapping[str, Mapping] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    synthetic: bool = False


def draw_figures(results: StudyResults, folder: str | Path) -> list[dict]:
    """Draw every figure that the results allow into `folder`, with `figures.json` that lists them.

    Each entry holds `name` (of the .svg and the .png), `kind` (of the caption), `model`, `protocol`, `title`, `n`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    people = without_repeats(results.metrics)
    entries = []
    with mpl.rc_context(STYLE):
        if results.examples:
            figure = draw_examples(results.examples)
            names = {"kind": "examples", "title": "Reference and prediction, slice by slice"}
            entries.append(_save(figure, folder, names | {"n": len(results.examples)}, results.synthetic))
        for (model, protocol), group in people.groupby(["model", "protocol"]):
            entries += _draw_protocol(group, results, folder, (model, protocol))
        for model in sorted({key[1] for key in results.histories}):
            curves = {(key[0], key[2]): curve for key, curve in results.histories.items() if key[1] == model}
            names = {"kind": "learning_curves", "model": model, "title": "Learning curves of all folds"}
            entry = names | {"n": len(curves)}
            entries.append(_save(draw_learning_curves(curves), folder, entry, results.synthetic))
    write_json(folder / "figures.json", {"figures": entries})
    return entries


def example_scans(metrics: pd.DataFrame, drawable: Collection[str]) -> list[dict]:
    """Choose the man and the woman of median Dice among the test people, else among the out-of-fold people.

    Only the all-cohort model (or the first there is), the first network and predictions whose key is among the
    `drawable` ones count. Returns rows of `metrics` as records.
    """
    scored = without_repeats(metrics).dropna(subset=["dsc"])
    known = [prediction_key(row) in drawable for row in scored.to_dict("records")]
    scored = scored[pd.Series(known, index=scored.index, dtype=bool)]
    for protocol in ("test", "cv", "external"):
        group = scored[scored["protocol"] == protocol]
        if len(group):
            cohort = next(name for name in COHORT_ORDER if name in set(group["cohort"]))
            group = group[(group["cohort"] == cohort) & (group["model"] == group["model"].min())]
            ordered = group.sort_values(["dsc", "scan"])
            middle = [part.iloc[(len(part) - 1) // 2] for _, part in ordered.groupby("sex")]
            return [row.to_dict() for row in middle]
    return []


def example_title(row: Mapping) -> str:
    """Return what stands above an example: pseudonym, sex, Dice and how it was predicted."""
    sex = {"M": ", man", "F": ", woman"}.get(row["sex"], "")
    return f"{row['scan']}{sex}, DSC {row['dsc']:.4f} ({PROTOCOL_NAMES[row['protocol']]})"


def history_key(path: str | Path) -> tuple[str, str, int]:
    """Return (cohort, model, fold) of a file `.../{cohort}/{model}/fold-{k}/history.csv`; "" for missing folders."""
    cohort, model, fold = ("", "", *Path(path).parts)[-4:-1]
    return cohort, model, int(fold.removeprefix("fold-"))


def draw_examples(examples: Sequence[Example]) -> Figure:
    """Original slices, the reference's contour (red) and the prediction's (green) in rows (Zhao 2020, Fig. 4)."""
    columns = 6
    figure = Figure(
        figsize=(8.2, 1.36 * 3 * len(examples) + 0.25 * len(examples) + 0.2), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, hspace=0.01, wspace=0.01)
    parts = figure.subfigures(len(examples), 1, squeeze=False)[:, 0]
    for part, example in zip(parts, examples, strict=True):
        part.suptitle(example.title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        _draw_example(part.subplots(3, columns), example)
    return figure


def draw_scores(metrics: pd.DataFrame) -> Figure:
    """DSC, sensitivity and specificity of each cohort as bars of mean and sample SD, people as points (Fig. 6)."""
    figure = Figure(figsize=(7.4, 3.5), layout="constrained")
    axes = figure.subplots()
    cohorts = _cohorts(metrics)
    lowest = float(metrics[list(SCORE_NAMES)].min().min())
    floor = max(0.0, np.floor(lowest * 50 - 0.5) / 50) if lowest > 0.5 else 0.0
    width = 0.8 / len(cohorts)
    for position, cohort in enumerate(cohorts):
        group = metrics[metrics["cohort"] == cohort]
        for place, name in enumerate(SCORE_NAMES):
            x = place + (position - (len(cohorts) - 1) / 2) * width
            _draw_bar(axes, x, width, group[name].dropna().to_numpy(), COHORT_COLORS[cohort])
        axes.bar(
            0,
            0,
            color=COHORT_COLORS[cohort],
            alpha=0.35,
            label=f"{cohort} (n = {group['subject'].nunique()})",
        )
    axes.set_xticks(range(len(SCORE_NAMES)), SCORE_NAMES.values(), color=INK, fontsize=10)
    axes.set_ylim(floor, 1 + 0.09 * (1 - floor))
    axes.set_ylabel("mean ± SD" + (f"; the axis starts at {floor:.2f}" if floor else ""))
    axes.grid(axis="x", visible=False)
    axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def draw_relative_error(metrics: pd.DataFrame) -> Figure:
    """Relative volume error against reference volume; a person keeps its colour in every cohort (Fig. 7)."""
    figure, panels = _cohort_panels(metrics, share_x=True, share_y=True)
    smallest = metrics.groupby("subject")["reference_mm3"].mean().rank(pct=True)
    colors = {person: mpl.colormaps["viridis"](0.95 * rank) for person, rank in smallest.items()}
    for cohort, axes in panels.items():
        group = metrics[metrics["cohort"] == cohort]
        axes.axhline(0, color=INK, linewidth=0.9)
        _scatter(axes, group, group["reference_mm3"] / 1000, group["re_percent"], colors)
        axes.set_xlabel("reference volume, cm³")
    limit = 1.15 * max(1.0, float(metrics["re_percent"].abs().max()))
    first = next(iter(panels.values()))
    first.set_ylim(-limit, limit)
    marks = [_legend_mark(sex) for sex in SEXES if sex in set(metrics["sex"])]
    figure.legend(handles=marks, loc="outside lower center", ncols=3)
    first.set_ylabel("relative error, %")
    return figure


def draw_regression(metrics: pd.DataFrame, agreement: pd.DataFrame) -> Figure:
    """Predicted against reference volume with the fitted line and the line of identity."""
    figure, panels = _cohort_panels(metrics, share_x=False, share_y=False)
    for cohort, axes in panels.items():
        group = metrics[metrics["cohort"] == cohort]
        x, y = group["reference_mm3"].to_numpy() / 1000, group["predicted_mm3"].to_numpy() / 1000
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        ends = np.array([low, high]) + np.array([-0.05, 0.05]) * max(high - low, 1.0)
        axes.plot(ends, ends, color=MUTED, linestyle=(0, (4, 3)), linewidth=1, label="identity")
        line = fit_line(x, y, 0.95)
        if np.isfinite(line.slope):
            axes.plot(
                ends, line.slope * ends + line.intercept, color=GREEN, linewidth=1.4, label="least squares"
            )
        _scatter(axes, group, x, y)
        axes.set(xlim=ends, ylim=ends, xlabel="reference volume, cm³", aspect="equal")
        axes.text(
            0.04, 0.96, _regression_text(agreement, cohort), transform=axes.transAxes, va="top", fontsize=8
        )
    first = next(iter(panels.values()))
    first.set_ylabel("predicted volume, cm³")
    first.legend(loc="lower right", fontsize=8)
    return figure


def draw_bland_altman(metrics: pd.DataFrame, agreement: pd.DataFrame) -> Figure:
    """Difference against mean with bias and 95 % limits of agreement; bands are their 95 % intervals."""
    figure, panels = _cohort_panels(metrics, share_x=False, share_y=True)
    rows = agreement.set_index("cohort")
    for cohort, axes in panels.items():
        group = metrics[metrics["cohort"] == cohort]
        difference = (group["predicted_mm3"] - group["reference_mm3"]) / 1000
        for name, color in (("loa_low", ORANGE), ("bias", BLUE), ("loa_high", ORANGE)):
            _draw_level(axes, rows.loc[cohort], name, color)
        _scatter(axes, group, (group["predicted_mm3"] + group["reference_mm3"]) / 2000, difference)
        axes.axhline(0, color=MUTED, linewidth=0.7)
        axes.set_xlabel("mean of both volumes, cm³")
        axes.margins(x=0.12)
    # the bands of a few people are wide: points and lines set the scale, bands may run out of the picture
    shown = pd.concat(
        [metrics["predicted_mm3"] - metrics["reference_mm3"], rows["loa_low_mm3"], rows["loa_high_mm3"]]
    )
    reach = 1.3 * max(1.0, float(shown.abs().max())) / 1000
    first = next(iter(panels.values()))
    first.set_ylim(-reach, reach)
    first.set_ylabel("predicted − reference, cm³")
    return figure


def draw_error_by_distance(slices: Sequence[Mapping]) -> Figure:
    """Missed and added bone as a share of the reference's slice, from either end of the bone in the scan."""
    figure = Figure(figsize=(7.4, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    tables = [pd.DataFrame(dict(record)) for record in slices]
    far = pd.concat([table.assign(from_mm=table["distance_mm"]) for table in tables])
    near = pd.concat(
        [table.assign(from_mm=table["distance_mm"].max() - table["distance_mm"]) for table in tables]
    )
    for axes, table in ((left, far), (right, near)):
        sums = table.assign(bin_mm=(table["from_mm"] / 3).round() * 3).groupby("bin_mm")
        shares = sums[["missed_mm3", "added_mm3"]].sum().div(sums["reference_mm3"].sum(), axis=0).mul(100)
        shares = shares[np.isfinite(shares).all(axis=1) & (shares.index <= 120)]
        for name, color, style in (("missed_mm3", RED, "-"), ("added_mm3", GREEN, "--")):
            label = name.removesuffix("_mm3")
            axes.plot(shares.index, shares[name], style, color=color, linewidth=1.6, label=label)
        axes.set_ylim(bottom=0)
    left.set(
        xlabel="distance from the scan's distal end, mm", ylabel="share of the slice, %", title="Scan's end"
    )
    right.set(xlabel="distance below the top of the femur, mm", title="Femoral head")
    right.legend(loc="upper right")
    return figure


def draw_learning_curves(curves: Mapping[tuple[str, int], pd.DataFrame]) -> Figure:
    """Training loss and validation Dice of every fold (thin) and their mean (thick), a column for each cohort."""
    names = sorted({cohort for cohort, _ in curves})
    cohorts = sorted(names, key=lambda name: (*COHORT_ORDER, name).index(name))
    figure = Figure(figsize=(2.6 * len(cohorts) + 0.8, 4.2), layout="constrained")
    grid = figure.subplots(2, len(cohorts), sharex="col", sharey="row", squeeze=False)
    for column, cohort in zip(grid.T, cohorts, strict=True):
        folds = [curve for (name, _), curve in sorted(curves.items()) if name == cohort]
        for axes, name in zip(column, ("loss", "validation_dice"), strict=True):
            _draw_curves(axes, folds, name, COHORT_COLORS.get(cohort, MUTED))
        column[0].set_title(f"{cohort} ({len(folds)} {'fold' if len(folds) == 1 else 'folds'})")
        column[0].set_yscale("log")
        column[1].set_xlabel("epoch")
    grid[0, 0].set_ylabel("training loss")
    grid[1, 0].set_ylabel("validation Dice")
    return figure


def _draw_protocol(
    people: pd.DataFrame, results: StudyResults, folder: Path, key: tuple[str, str]
) -> list[dict]:
    """Draw the figures of one model under one protocol; `people` holds its rows of the metrics."""
    model, protocol = key
    agreement = results.agreement
    agreement = agreement[
        (agreement["model"] == model) & (agreement["protocol"] == protocol) & (agreement["sex"] == "all")
    ]
    measured = people.dropna(subset=["reference_mm3", "predicted_mm3", "re_percent"])
    scored = people.dropna(subset=["dsc"])
    figures = {}
    if len(scored):
        figures["scores"] = (draw_scores(scored), "Overlap with the reference")
    keys = people[["cohort", "model", "members", "scan"]].agg("/".join, axis=1)[
        people["cohort"] == _cohorts(people)[0]
    ]
    slices = [results.slices[name] for name in keys if results.slices.get(name, {}).get("distance_mm")]
    if slices:
        figures["error_by_distance"] = (draw_error_by_distance(slices), "Where along the bone errors lie")
    if len(measured):
        figures["relative_error"] = (draw_relative_error(measured), "Relative error of volume")
        figures["regression"] = (draw_regression(measured, agreement), "Predicted and reference volume")
        figures["bland_altman"] = (draw_bland_altman(measured, agreement), "Difference against mean")
    names = {"model": model, "protocol": protocol, "n": people["subject"].nunique()}
    return [
        _save(figure, folder, {"kind": kind, "title": title} | names, results.synthetic)
        for kind, (figure, title) in figures.items()
    ]


def _save(figure: Figure, folder: Path, entry: dict, synthetic: bool) -> dict:
    """Save a figure as SVG and PNG without date or program, and return its entry for `figures.json`."""
    entry = {"model": "", "protocol": "", **entry}
    said = ["synthetic cohort"] if synthetic else []
    said += [PROTOCOL_NAMES[entry["protocol"]]] if entry["protocol"] else []
    if said:
        figure.suptitle("  ·  ".join(said), x=0.99, ha="right", fontsize=8, color=RED if synthetic else MUTED)
    name = "-".join(
        part for part in (entry["kind"].replace("_", "-"), entry["model"], entry["protocol"]) if part
    )
    with whole_file(folder / f"{name}.svg") as temporary:
        figure.savefig(temporary, metadata={"Date": None, "Creator": None})
    with whole_file(folder / f"{name}.png") as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    width, height = (round(100 * float(inches)) for inches in figure.get_size_inches())
    return {"name": name, "width": width, "height": height, **entry}


def _cohorts(metrics: pd.DataFrame) -> list[str]:
    return [name for name in COHORT_ORDER if name in set(metrics["cohort"])]


def _cohort_panels(metrics: pd.DataFrame, *, share_x: bool, share_y: bool) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with a panel for each cohort, titled with its number of people."""
    cohorts = _cohorts(metrics)
    figure = Figure(figsize=(2.75 * len(cohorts) + 0.6, 3.35), layout="constrained")
    panels = dict(
        zip(
            cohorts,
            figure.subplots(1, len(cohorts), sharex=share_x, sharey=share_y, squeeze=False)[0],
            strict=True,
        )
    )
    for cohort, axes in panels.items():
        people = metrics.loc[metrics["cohort"] == cohort, "subject"].nunique()
        axes.set_title(f"{cohort} (n = {people})")
    return figure, panels


def _scatter(axes: Axes, group: pd.DataFrame, x, y, colors: Mapping[str, tuple] | None = None) -> None:
    """Draw each scan of `group` at (x, y): shape by sex, colour by person (or by sex)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    shrink = min(1.0, max(0.25, 8 / max(len(x), 1) ** 0.5))
    for sex, (label, marker, size, color) in SEXES.items():
        chosen = (group["sex"] == sex).to_numpy()
        shades = [colors[person] for person in group["subject"][chosen]] if colors else color
        if chosen.any():
            axes.scatter(
                x[chosen], y[chosen], s=shrink * size, marker=marker, c=shades, edgecolors="white", linewidths=0.4,
                label=label, alpha=0.9, zorder=3, rasterized=len(group) > _MOST_VECTOR_POINTS,
            )  # fmt: skip


def _legend_mark(sex: str) -> Line2D:
    label, marker, size, _ = SEXES[sex]
    return Line2D([], [], linestyle="", marker=marker, markersize=size**0.5, color=MUTED, label=label)


def _draw_bar(axes: Axes, x: float, width: float, values: np.ndarray, color: str) -> None:
    if not len(values):
        return
    mean, sd = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
    axes.bar(x, mean, 0.9 * width, color=color, alpha=0.35)
    # a fixed spread of the points: they must not dance from run to run
    spread = ((np.arange(len(values)) * 0.618) % 1 - 0.5) * 0.6 * width
    axes.scatter(
        x + spread, values, s=14 if len(values) < 50 else 5, color=color, alpha=0.55, linewidths=0, zorder=3
    )
    axes.errorbar(x, mean, sd, color=INK, linewidth=1.2, capsize=3, zorder=4)
    axes.annotate(
        f"{mean:.4f}",
        (x, max(values.max(), mean + sd)),
        (0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=7,
    )


def _draw_level(axes: Axes, row: pd.Series, name: str, color: str) -> None:
    """Draw bias or a limit of agreement as a line with the band of its interval, if they are defined."""
    value, low, high = (row[f"{name}_mm3{part}"] / 1000 for part in ("", "_ci_low", "_ci_high"))
    if not np.isfinite(value):
        return
    axes.axhline(value, color=color, linewidth=1.3, linestyle="-" if name == "bias" else "--")
    if np.isfinite([low, high]).all():
        axes.axhspan(low, high, color=color, alpha=0.13, linewidth=0)
    axes.annotate(
        f"{value:+.2f}".replace("-", "−"),
        (1, value),
        (-2, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=7,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0},
    )


def _regression_text(agreement: pd.DataFrame, cohort: str) -> str:
    row = agreement[agreement["cohort"] == cohort].iloc[0]
    lines = [f"R² = {row['r2']:.4f}"] if np.isfinite(row["r2"]) else ["R² not defined"]
    if np.isfinite(row["slope"]):
        lines.append(f"y = {row['slope']:.3f} x {row['intercept_mm3'] / 1000:+.2f}")
    return "\n".join(lines).replace("-", "−")


def _draw_curves(axes: Axes, folds: Sequence[pd.DataFrame], name: str, color: str) -> None:
    known = [curve.dropna(subset=[name]) for curve in folds]
    for curve in known:
        axes.plot(curve["epoch"], curve[name], color=color, alpha=0.35, linewidth=0.8)
    mean = pd.concat(known).groupby("epoch")[name].mean()
    axes.plot(mean.index, mean, color=INK, linewidth=1.4)


def _draw_example(grid: np.ndarray, example: Example) -> None:
    """Fill three rows of axes with slices from the distal end (left) to the head (right)."""
    either = (example.reference_zyx > 0) | (example.predicted_zyx > 0)
    slices = np.flatnonzero(either.any(axis=(1, 2)))
    if not len(slices):
        slices = np.arange(len(either))
    window = _window_around(either, example.spacing_mm_zyx)
    chosen = slices[(np.linspace(0.04, 0.96, grid.shape[1]) * (len(slices) - 1)).round().astype(int)]
    rows = (
        ("original", None, ""),
        ("reference", example.reference_zyx, RED),
        ("prediction", example.predicted_zyx, GREEN),
    )
    for axes_row, (label, mask, color) in zip(grid, rows, strict=True):
        for axes, index in zip(axes_row, chosen, strict=True):
            axes.imshow(
                example.image_zyx[index][window], cmap="gray", vmin=-250, vmax=1000, interpolation="bilinear"
            )
            if mask is not None and mask[index].any():
                axes.contour(mask[index][window], [0.5], colors=[color], linewidths=1.1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.grid(visible=False)
        axes_row[0].set_ylabel(label, color=color or INK, fontsize=8)


def _window_around(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> tuple[slice, slice]:
    """Return the square window (y, x) that holds the mask with 15 mm around it, all of the slice if it is empty."""
    flat = mask_zyx.any(axis=0)
    if not flat.any():
        return slice(None), slice(None)
    center = [(np.flatnonzero(flat.any(axis=1 - axis))[[0, -1]].sum() + 1) // 2 for axis in (0, 1)]
    widths = [np.ptp(np.flatnonzero(flat.any(axis=1 - axis))) for axis in (0, 1)]
    half = int(max(widths) / 2 + 15 / min(spacing_mm_zyx[1:]))
    return tuple(slice(max(0, middle - half), middle + half) for middle in center)
