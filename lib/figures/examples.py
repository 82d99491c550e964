"""Figures of single people: contours slice by slice (Zhao 2020, Fig. 4) and the rendered bone (Fig. 5)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lib.catalog.groups import group_position
from lib.catalog.protocols import PROTOCOLS
from lib.figures.palette import ADDED, BONE, MISSED, REFERENCE, Color, css, structure_color
from lib.figures.slice_planes import plane_along
from lib.figures.style import INK, Drawing
from lib.figures.surface_render import turntable
from lib.stats.grouping import without_repeats
from lib.stats.tables import prediction_key

# azimuth of the viewer in degrees, turning from the front to the patient's left
VIEWS = {
    0: "from the front",
    90: "from the patient's left",
    180: "from behind",
    270: "from the patient's right",
}
# examples are of the first of these that has people
_EXAMPLE_PROTOCOLS = ("test", "cv", "later", "external")
_VIEW_PX = 320
_SLICES = 6


@dataclass(frozen=True)
class Example:
    """A scan to show: arrays (z, y, x) on the crop grid, intensities, label maps, spacing in mm.

    `window` holds the intensities drawn black and white.
    """

    scan: str
    title: str
    image_zyx: np.ndarray
    reference_zyx: np.ndarray
    predicted_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]
    window: tuple[float, float]
    structures: Sequence[str] = ()  # names of the labels, if there are several
    slice_axis: str = "z"  # along which the slices that networks see follow one another

    def along_slices(self) -> "Example":
        """Return the scan with its slices along the first axis, each seen from the feet, the front or the left.

        Coronal and sagittal slices have the head on top.
        """
        plane = plane_along(self.slice_axis)
        return replace(
            self,
            image_zyx=plane.turn(self.image_zyx),
            reference_zyx=plane.turn(self.reference_zyx),
            predicted_zyx=plane.turn(self.predicted_zyx),
            spacing_mm_zyx=plane.spacing(self.spacing_mm_zyx),
            slice_axis="z",
        )


def example_scans(metrics: pd.DataFrame, drawable: Collection[str]) -> list[dict]:
    """Return the man and the woman of median Dice among the test people, else among the out-of-fold people.

    Of several structures, a scan counts with the mean over those that are scored. Candidates are predictions of the
    first network and of the group of everybody (or the first group), with a key among `drawable`. Returns rows of
    `metrics` as records, of the scan's first scored structure, with this Dice as `dsc`.
    """
    scored = _drawable(metrics, drawable)
    for protocol in _EXAMPLE_PROTOCOLS:
        subset = scored[scored["protocol"] == protocol]
        if len(subset):
            group = min(subset["group"], key=group_position)
            subset = subset[(subset["group"] == group) & (subset["network"] == subset["network"].min())]
            mean = subset.groupby("scan")["dsc"].transform("mean")
            ordered = subset.assign(dsc=mean).drop_duplicates("scan").sort_values(["dsc", "scan"])
            middle = [part.iloc[(len(part) - 1) // 2] for _, part in ordered.groupby("sex")]
            return [row.to_dict() for row in middle]
    return []


def _drawable(metrics: pd.DataFrame, drawable: Collection[str]) -> pd.DataFrame:
    """Return the scored scans, without repeats, with a key among `drawable`."""
    scored = without_repeats(metrics).dropna(subset=["dsc"])
    known = [prediction_key(row) in drawable for row in scored.to_dict("records")]
    return scored[pd.Series(known, index=scored.index, dtype=bool)]


def example_title(row: Mapping, *, several: bool = False) -> str:
    """Return the title of a row of `example_scans`: pseudonym, sex, Dice and how it was predicted.

    With `several` structures, the Dice is called their mean.
    """
    sex = {"M": ", man", "F": ", woman"}.get(row["sex"], "")
    dice = "mean Dice" if several else "DSC"
    return f"{row['scan']}{sex}, {dice} {row['dsc']:.4f} ({PROTOCOLS[row['protocol']].on_figures})"


def pair_title(row: Mapping) -> str:
    """Return the title of a person in the figure of two networks: pseudonym, network and Dice."""
    return f"{row['scan']}, {row['network']}: DSC {row['dsc']:.4f}"


def draw_examples(examples: Sequence[Example]) -> Drawing:
    """Rows of original slices, of reference contours and of predicted contours (Zhao 2020, Fig. 4)."""
    figure = Figure(figsize=(8.2, 4.33 * len(examples) + 0.2), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, hspace=0.01, wspace=0.01)
    parts = figure.subfigures(len(examples), 1, squeeze=False)[:, 0]
    tables = []
    for part, example in zip(parts, (one.along_slices() for one in examples), strict=True):
        part.suptitle(example.title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        slices = _chosen_slices(example)
        _draw_slices(part.subplots(3, _SLICES), example, slices)
        tables.append(_slice_areas(example, slices))
    if names := examples[0].structures:
        figure.legend(handles=_patches(_colors_of(names)), loc="outside lower center", ncols=len(names))
    return Drawing(
        figure=figure,
        data=pd.concat(tables),
        alt=f"Slices with the contours of {_contours(examples[0].structures)}: {_titles(examples)}.",
        n=len(examples),
    )


def draw_solids(examples: Sequence[Example]) -> Drawing:
    """Bone in both masks (grey), missed (orange) and added (blue), from four sides (Zhao 2020, Fig. 5)."""
    figure = Figure(figsize=(8.2, 2.7 * len(examples) + 0.5), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.04, hspace=0.06, wspace=0.01)
    counts = pd.DataFrame([_compared(example) for example in examples])
    parts = figure.subfigures(len(examples), 1, squeeze=False)[:, 0]
    for part, example in zip(parts, examples, strict=True):
        part.suptitle(example.title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        masks = example.reference_zyx, example.predicted_zyx
        count = len(example.structures)
        pictures = turntable(*masks, example.spacing_mm_zyx, list(VIEWS), _VIEW_PX, count)
        for axes, label, picture in zip(part.subplots(1, len(VIEWS)), VIEWS.values(), pictures, strict=True):
            axes.imshow(picture, interpolation="antialiased")
            axes.set_axis_off()
            axes.text(0.5, 0.0, label, transform=axes.transAxes, ha="center", va="top", fontsize=8)
    names = examples[0].structures
    colors = {"in both": BONE, "missed": MISSED, "added": ADDED}
    colors = _colors_of(names) | {"missed": MISSED} if names else colors
    figure.legend(handles=_patches(colors), loc="outside lower center", ncols=len(colors))
    told = [
        f"{row.scan} {row.false_negative_mm3 / 1000:.1f} cm³ missed, {row.false_positive_mm3 / 1000:.1f} cm³ added"
        for row in counts.itertuples()
    ]
    return Drawing(
        figure=figure,
        data=counts,
        alt=f"Bone as a solid from four sides, {_titles(examples)}: {'; '.join(told)}.",
        n=len(examples),
    )


def _colors_of(structures: Sequence[str]) -> dict[str, Color]:
    return {name: structure_color(position) for position, name in enumerate(structures)}


def _patches(colors: Mapping[str, Color]) -> list[Patch]:
    return [Patch(color=css(color), label=label) for label, color in colors.items()]


def _contours(structures: Sequence[str]) -> str:
    if structures:
        return f"{', '.join(structures)}, in the reference and in the prediction"
    return "reference (orange) and prediction (blue)"


def _titles(examples: Sequence[Example]) -> str:
    return "; ".join(example.title for example in examples)


def _compared(example: Example) -> dict:
    """Return the true positive, false negative and false positive volumes in mm3."""
    voxel_mm3 = float(np.prod(example.spacing_mm_zyx))
    reference, predicted = example.reference_zyx > 0, example.predicted_zyx > 0
    counts = {
        "true_positive_mm3": np.sum(reference & predicted),
        "false_negative_mm3": np.sum(reference & ~predicted),
        "false_positive_mm3": np.sum(~reference & predicted),
    }
    total = 2 * counts["true_positive_mm3"] + counts["false_negative_mm3"] + counts["false_positive_mm3"]
    dice = 2 * counts["true_positive_mm3"] / total if total else np.nan
    return {"scan": example.scan, "dsc": dice} | {name: count * voxel_mm3 for name, count in counts.items()}


def contoured_slice(axes: Axes, example: Example) -> int:
    """Draw the slice with the most reference bone, with both contours; return its index.

    The reference is orange. The prediction is blue or, of several structures, has the colour of each.
    """
    example = example.along_slices()
    index = int(np.argmax((example.reference_zyx > 0).sum(axis=(1, 2))))
    either = (example.reference_zyx > 0) | (example.predicted_zyx > 0)
    part, (low, high) = _part_around(either, example.spacing_mm_zyx), example.window
    _, height, width = example.spacing_mm_zyx
    axes.imshow(
        example.image_zyx[index][part],
        cmap="gray",
        vmin=low,
        vmax=high,
        interpolation="bilinear",
        aspect=height / width,
    )
    for label in range(1, max(1, len(example.structures)) + 1):
        contours = (
            (example.reference_zyx, REFERENCE),
            (example.predicted_zyx, structure_color(label - 1)),
        )
        for labels_zyx, color in contours:
            if (mask := labels_zyx[index] == label).any():
                axes.contour(mask[part], [0.5], colors=[css(color)], linewidths=1.2)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    return index


def extreme_scans(
    metrics: pd.DataFrame, pair: Sequence[str], drawable: Collection[str]
) -> list[tuple[str, list[dict]]]:
    """Return the people of best, median and worst mean Dice of two networks, with both of their predictions.

    Args:
        metrics: scored scans.
        pair: the two networks.
        drawable: `prediction_key` of the predictions whose masks are at hand.

    Returns:
        "best", "median" and "worst" with the rows of `metrics` of the pair, as records. They are of the first of the
        protocols test, cv, later and external, the first group and the first structure that have such people.
    """
    scored = _drawable(metrics[metrics["network"].isin(pair)], drawable)
    for protocol in _EXAMPLE_PROTOCOLS:
        subset = scored[scored["protocol"] == protocol]
        if len(subset):
            subset = subset[subset["group"] == min(subset["group"], key=group_position)]
            subset = subset[subset["structure"] == subset["structure"].iloc[0]]
            means = subset.groupby("scan")["dsc"].agg(["mean", "size"])
            ordered = means[means["size"] == len(pair)].sort_values("mean", ascending=False).index
            places = {"best": 0, "median": len(ordered) // 2, "worst": len(ordered) - 1}
            if len(ordered) >= len(places):
                of = {(row["scan"], row["network"]): row for row in subset.to_dict("records")}
                return [(word, [of[ordered[place], name] for name in pair]) for word, place in places.items()]
    return []


def _chosen_slices(example: Example) -> np.ndarray:
    """Return the slices to draw, from the lower end of the bone to its top."""
    either = (example.reference_zyx > 0) | (example.predicted_zyx > 0)
    slices = np.flatnonzero(either.any(axis=(1, 2)))
    if not len(slices):
        slices = np.arange(len(either))
    return slices[(np.linspace(0.04, 0.96, _SLICES) * (len(slices) - 1)).round().astype(int)]


def _slice_areas(example: Example, slices: np.ndarray) -> pd.DataFrame:
    pixel_mm2 = float(np.prod(example.spacing_mm_zyx[1:]))
    areas = [
        (mask[slices] > 0).sum(axis=(1, 2)) * pixel_mm2
        for mask in (example.reference_zyx, example.predicted_zyx)
    ]
    columns = {"scan": example.scan, "slice": slices, "reference_mm2": areas[0], "predicted_mm2": areas[1]}
    return pd.DataFrame(columns)


def _draw_slices(grid: np.ndarray, example: Example, slices: np.ndarray) -> None:
    """Draw three rows of slices: without a contour, with the reference, with the prediction."""
    either = (example.reference_zyx > 0) | (example.predicted_zyx > 0)
    part, (low, high) = _part_around(either, example.spacing_mm_zyx), example.window
    _, height, width = example.spacing_mm_zyx
    names = example.structures or ("",)
    looks = [css(structure_color(position)) for position in range(len(names))]
    rows = (
        ("original", None, ()),
        ("reference", example.reference_zyx, looks if example.structures else [css(REFERENCE)]),
        ("prediction", example.predicted_zyx, looks),
    )
    for axes_row, (row, labels, colors) in zip(grid, rows, strict=True):
        for axes, index in zip(axes_row, slices, strict=True):
            slice_yx = example.image_zyx[index][part]
            axes.imshow(
                slice_yx, cmap="gray", vmin=low, vmax=high, interpolation="bilinear", aspect=height / width
            )
            for label, color in enumerate(colors, start=1):
                if (mask := labels[index] == label).any():
                    axes.contour(mask[part], [0.5], colors=[color], linewidths=1.1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            axes.grid(visible=False)
        axes_row[0].set_ylabel(row, color=INK, fontsize=8)


def _part_around(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> tuple[slice, slice]:
    """Return the square part (y, x) that holds the mask with a 15 mm margin; the whole slice if it is empty."""
    flat = mask_zyx.any(axis=0)
    if not flat.any():
        return slice(None), slice(None)
    center = [(np.flatnonzero(flat.any(axis=1 - axis))[[0, -1]].sum() + 1) // 2 for axis in (0, 1)]
    widths = [np.ptp(np.flatnonzero(flat.any(axis=1 - axis))) for axis in (0, 1)]
    half = int(max(widths) / 2 + 15 / min(spacing_mm_zyx[1:]))
    return tuple(slice(max(0, middle - half), middle + half) for middle in center)
