"""Control charts of calibrations: slope, intercept and what their change means for a density, scanner by scanner."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lib.catalog.calibration import PHANTOM, REFUSED
from lib.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, RED, Drawing
from lib.stats.calibration_tables import CHANGES_MG_CM3, DRIFT, FEWEST_SCANS

MOST_SCANNERS = 6
_CHART = ["scanner", "phantom", "kvp"]
_PANELS = (
    ("slope_hu_per_mg_cm3", "slope_low", "slope_high", "slope, HU per mg/cm³"),
    ("intercept_hu", "intercept_low_hu", "intercept_high_hu", "intercept, HU"),
)
_CHANGE_COLORS = (GREEN, BLUE, ORANGE)
_MARK = {"linestyle": "none", "marker": "o", "markersize": 3}
_OUTSIDE = {"linestyle": "none", "marker": "x", "markersize": 6, "color": RED}


def draw_calibration_drift(calibration: pd.DataFrame) -> Drawing | None:
    """Slope and intercept of each scan with a phantom in it, against its order, with the scanner's control limits.

    A row for each scanner, phantom and tube voltage with at least eight scans, the most frequent ones first, at most
    six. Scans of one image, such as the two hips of a CT, are one point. The third panel shows by how much a scan
    reads the HU differently that are usually 0, 100 and 300 mg/cm3.

    Args:
        calibration: CALIBRATION_COLUMNS of `lib.stats.calibration_tables`.

    Returns:
        None if no scanner has eight scans.
    """
    is_used = (calibration["method"] == PHANTOM) & (calibration["verdict"] != REFUSED)
    own = calibration[is_used & (calibration["same_image_as"].fillna("") == "")]
    charts = [
        chart for _, chart in own.groupby(_CHART, dropna=False, sort=True) if len(chart) >= FEWEST_SCANS
    ]
    charts = sorted(charts, key=len, reverse=True)[:MOST_SCANNERS]
    if not charts:
        return None
    figure = Figure(figsize=(9.0, 0.6 + 2.3 * len(charts)), layout="constrained")
    rows = figure.subplots(len(charts), 3, squeeze=False)
    for panels, chart in zip(rows, charts, strict=True):
        _draw_chart(panels, chart)
    marks = [
        Line2D([], [], color=INK, **_MARK, label="scan"),
        Line2D([], [], **_OUTSIDE, label="outside of the limits"),
        Line2D([], [], color=MUTED, linewidth=1, label="median"),
        *(
            Line2D([], [], color=color, **_MARK, label=f"at {density} mg/cm³")
            for color, density in zip(_CHANGE_COLORS, CHANGES_MG_CM3, strict=True)
        ),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=8)
    shown = pd.concat(charts)
    outside = int(_drifted(shown).sum())
    scanners = f"{len(charts)} scanner" + ("s" if len(charts) > 1 else "")
    words = f"{scanners} with {len(shown)} scans: {outside} {'lies' if outside == 1 else 'lie'} outside of the limits"
    columns = [*_CHART, "scan", "scan_order", *(name for panel in _PANELS for name in panel[:3])]
    changes = [f"change_at_{density}_mg_cm3" for density in CHANGES_MG_CM3]
    return Drawing(
        figure=figure,
        data=shown[[*columns, *changes, "flags"]],
        alt=f"Control charts of slope and intercept of {words}.",
        n=int(shown["subject"].nunique()),
    )


def _draw_chart(panels: Sequence[Axes], chart: pd.DataFrame) -> None:
    """Draw the three panels of a scanner."""
    in_order = chart["scan_order"].notna().all()
    chart = chart.sort_values("scan_order", kind="stable") if in_order else chart
    place = chart["scan_order"] if in_order else np.arange(1, len(chart) + 1)
    for axes, (name, low, high, label) in zip(panels, _PANELS, strict=False):
        axes.axhspan(chart[low].iloc[0], chart[high].iloc[0], color=BLUE, alpha=0.10, linewidth=0)
        axes.axhline(chart[name].median(), color=MUTED, linewidth=1)
        axes.plot(place, chart[name], color=INK, **_MARK)
        outside = ~chart[name].between(chart[low], chart[high]).to_numpy()
        axes.plot(np.asarray(place)[outside], chart[name].to_numpy()[outside], **_OUTSIDE)
        axes.set_ylabel(label, fontsize=8)
    panels[2].axhline(0, color=MUTED, linewidth=1)
    for color, density in zip(_CHANGE_COLORS, CHANGES_MG_CM3, strict=True):
        panels[2].plot(place, chart[f"change_at_{density}_mg_cm3"], color=color, **_MARK)
    panels[2].set_ylabel("change, mg/cm³", fontsize=8)
    for axes in panels:
        axes.set_xlabel("order of the scans" if in_order else "row of the table", fontsize=8)
        axes.tick_params(labelsize=7)
    scanner, phantom, kvp = (str(chart[name].iloc[0]) for name in _CHART)
    told = ", ".join(filter(None, (scanner, phantom, f"{kvp} kV" if kvp not in ("", "nan") else "")))
    # wider than a panel: centred above the middle one it pushes none away
    panels[1].set_title(f"{told}: {len(chart)} scans", fontsize=9)


def _drifted(chart: pd.DataFrame) -> pd.Series:
    return chart["flags"].fillna("").str.split().map(lambda flags: DRIFT in flags)
