"""The projected femur of a scan: its regions, and its areal density with the regions of interest."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Polygon

from lib.catalog.bone_parts import REGIONS
from lib.figures.palette import css, structure_color
from lib.figures.style import BLUE, GREEN, INK, ORANGE, Drawing

_ROI_COLORS: Mapping[str, str] = {"total": BLUE, "trochanter": GREEN, "neck": ORANGE}


@dataclass(frozen=True, kw_only=True)
class ProjectedFemur:
    """What the picture shows, the fields of `lib.density.areal.Projection` and the values of its regions of interest.

    Attributes:
        pixel_mm: edge of a pixel.
        density_g_cm2: areal density, (rows, columns), rows upwards.
        regions: value in `REGIONS` of each pixel, 0 outside.
        rois: region of interest -> its pixels.
        neck_box_px: corners of the neck's box as column and row, or None.
        axis_px: two points of the neck's axis as column and row.
        measured: region of interest -> `area_cm2`, `bmc_g`, `abmd_g_cm2`.
        scale: scale of the densities, in words.
    """

    pixel_mm: float
    density_g_cm2: np.ndarray
    regions: np.ndarray
    rois: Mapping[str, np.ndarray]
    neck_box_px: np.ndarray | None
    axis_px: np.ndarray
    measured: Mapping[str, Mapping]
    scale: str


def draw_projection(femur: ProjectedFemur) -> Drawing:
    """Draw the regions and the areal density of a projected femur, from the front: the patient's left is right."""
    height, width = femur.density_g_cm2.shape
    panel = 3.3
    figure = Figure(figsize=(2 * panel + 1.2, panel * height / width + 1.1), layout="constrained")
    regions, density = figure.subplots(1, 2)
    _draw_regions(regions, femur)
    shown = np.where(femur.regions > 0, femur.density_g_cm2, np.nan)
    image = density.imshow(shown, cmap="gray", origin="lower", vmin=0.0, vmax=np.nanpercentile(shown, 99.5))
    figure.colorbar(image, ax=density, shrink=0.7, label=f"areal density, g/cm² ({femur.scale})")
    density.set_title("Areal density")
    _draw_rois(density, femur)
    for axes in (regions, density):
        axes.set(xticks=[], yticks=[], facecolor="white")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        _draw_scale(axes, femur.pixel_mm)
    values = [
        {"roi": roi, **{name: value for name, value in row.items() if name != "undefined"}}
        for roi, row in femur.measured.items()
    ]
    return Drawing(figure=figure, data=pd.DataFrame(values), alt=_in_words(femur), n=1)


def _draw_regions(axes: Axes, femur: ProjectedFemur) -> None:
    """Draw the regions in their colours with the neck's axis."""
    colors = [css(structure_color(place)) for place in range(len(REGIONS))]
    axes.imshow(
        np.where(femur.regions > 0, femur.regions, np.nan),
        cmap=ListedColormap(colors),
        vmin=0.5,
        vmax=len(REGIONS) + 0.5,
        origin="lower",
        interpolation="nearest",
    )
    start, through = femur.axis_px
    end = start + 2.6 * (through - start)
    axes.plot([start[0], end[0]], [start[1], end[1]], color=INK, linewidth=1.2)
    axes.plot(*start, marker="+", color=INK, markersize=9)
    shown = [name for name, value in REGIONS.items() if (femur.regions == value).any()]
    marks = [Patch(color=colors[REGIONS[name] - 1], label=name) for name in shown]
    marks.append(Line2D([], [], color=INK, linewidth=1.2, label="neck's axis"))
    axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8)
    axes.set_title("Regions")


def _draw_rois(axes: Axes, femur: ProjectedFemur) -> None:
    """Draw the outlines of the regions of interest and the neck's box, with their values in a legend."""
    marks = []
    for roi, color in _ROI_COLORS.items():
        value = femur.measured.get(roi, {}).get("abmd_g_cm2")
        if roi not in femur.rois or value is None:
            continue
        dashed = "--" if roi == "trochanter" else "-"
        if roi == "neck":
            axes.add_patch(Polygon(femur.neck_box_px, fill=False, edgecolor=color, linewidth=1.6))
        else:
            axes.contour(femur.rois[roi], levels=[0.5], colors=[color], linewidths=1.4, linestyles=[dashed])
        marks.append(Line2D([], [], color=color, linewidth=1.6, linestyle=dashed, label=f"{roi} {value:.3f}"))
    if marks:
        axes.legend(handles=marks, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=8)


def _draw_scale(axes: Axes, pixel_mm: float) -> None:
    """Draw a bar of 20 mm in the lower left corner."""
    length = 20.0 / pixel_mm
    axes.plot([4, 4 + length], [5, 5], color=INK, linewidth=2)
    axes.text(4 + length / 2, 8, "20 mm", ha="center", va="bottom", fontsize=8, color=INK)


def _in_words(femur: ProjectedFemur) -> str:
    """Return a sentence for screen readers."""
    told = [
        f"{roi} {row['abmd_g_cm2']:.3f}"
        for roi, row in femur.measured.items()
        if row["abmd_g_cm2"] is not None
    ]
    return f"Projected femur with its regions; areal density in g/cm² ({femur.scale}): {', '.join(told) or 'none'}."
