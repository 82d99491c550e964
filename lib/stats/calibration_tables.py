"""The calibrations of a cohort: a row a scan, with the control limits of its scanner, and a row a rod."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from lib.calibrated import Calibration
from lib.catalog.calibration import FLAGGED, MAD_SD, NONE, OK, PHANTOM

_NUMBERS = (
    *("slope_hu_per_mg_cm3", "intercept_hu", "slope_se", "intercept_se", "r2", "residual_max_mg_cm3"),
    *("z_slope_mg_cm3", "density_se_at_100_mg_cm3"),
)
CHANGES_MG_CM3 = (0, 100, 300)  # densities at which a change of the calibration is given
_CHANGES = tuple(f"change_at_{density}_mg_cm3" for density in CHANGES_MG_CM3)
_LIMITS = ("slope_low", "slope_high", "intercept_low_hu", "intercept_high_hu")
CALIBRATION_COLUMNS = (
    *(
        "scan",
        "subject",
        "same_image_as",
        "scanner",
        "scan_order",
        "kvp",
        "kernel",
        "method",
        "phantom",
        "calibration_scan",
        "scale",
    ),
    *("verdict", "reason", "rods_found", "reversed", "slices_used", *_NUMBERS, *_LIMITS, *_CHANGES),
    *("flags", "found"),
)
ROD_COLUMNS = (
    *("scan", "rod", "density_mg_cm3", "water_mg_cm3", "x_mm", "y_mm", "hu_mean", "hu_sd", "voxels"),
    *("residual_hu", "used", "why_not"),
)
FEWEST_SCANS = 8  # of a scanner, for control limits
# differences that the measurement itself may have, which are never a drift
_NO_DRIFT_SHARE, _NO_DRIFT_HU = 0.005, 1.0
_RANGE_SD = 0.954  # of a normal distribution: median moving range / SD
DRIFT = "calibration_drift"


@dataclass(frozen=True, kw_only=True)
class ControlLimits:
    """The usual line of a scanner with one phantom, and the limits of slope and intercept."""

    slope: float
    intercept_hu: float
    slope_within: float
    intercept_within_hu: float

    def holds(self, found: Calibration) -> bool:
        """Return whether a calibration lies within the limits."""
        return (
            abs(found.slope_hu_per_mg_cm3 - self.slope) <= self.slope_within
            and abs(found.intercept_hu - self.intercept_hu) <= self.intercept_within_hu
        )

    def change_mg_cm3(self, found: Calibration, density: float) -> float:
        """Return by how much a calibration reads the HU differently that are usually this density."""
        return found.density_mg_cm3(self.slope * density + self.intercept_hu) - density


@dataclass(frozen=True, kw_only=True)
class ScanFacts:
    """What is known of each scan beside its calibration, by scan.

    Attributes:
        scanners: `scanner` (empty: not stated) and `scan_order` (None: not stated).
        acquisition: the row of `tables/acquisition.csv`.
        digests: of the scan's voxels (`cohort/digests.csv`): scans with one digest are one acquisition.
    """

    scanners: Mapping[str, Mapping]
    acquisition: Mapping[str, Mapping]
    digests: Mapping[str, str] = field(default_factory=dict)


def calibration_tables(
    calibrations: Mapping[str, Calibration], facts: ScanFacts, drift_sd: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of scans (CALIBRATION_COLUMNS) and of rods (ROD_COLUMNS), in the order of the scans.

    Scans of one image, such as the two hips of a CT, are one acquisition, which counts once in the control limits.

    Args:
        calibrations: by scan.
        facts: of each scan.
        drift_sd: width of the control limits in robust SDs.
    """
    scanners = facts.scanners
    charts = {
        scan: _chart(found, scanners[scan], facts.acquisition[scan]) for scan, found in calibrations.items()
    }
    firsts = _first_of_image(calibrations, charts, facts.digests)
    own = {scan: found for scan, found in calibrations.items() if firsts[scan] == scan}
    limits = _limits(own, charts, scanners, drift_sd)
    rows, rods = [], []
    for scan, found in calibrations.items():
        told = facts.acquisition[scan]
        row = {name: told[name] for name in ("subject", "kvp", "kernel")}
        row |= {"scanner": charts[scan][0], "scan_order": scanners[scan]["scan_order"]}
        row |= {"same_image_as": firsts[scan] if firsts[scan] != scan else ""}
        rows.append(
            {"scan": scan} | row | _of_calibration(found) | _of_limits(found, limits.get(charts[scan]))
        )
        rods += [{"scan": scan} | dict(rod) | {"used": int(rod["used"])} for rod in found.rods]
    return (
        pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS)),
        pd.DataFrame(rods, columns=list(ROD_COLUMNS)),
    )


def control_limits(
    lines: Sequence[tuple[float, float]], drift_sd: float, *, in_order: bool
) -> ControlLimits | None:
    """Return the control limits of slopes and intercepts: median +- `drift_sd` robust SDs; None of fewer than eight.

    The robust SD is 1.4826 times the median absolute deviation. If the order of the scans is known it is at most that
    of neighbours (median of their differences / 0.954), so that a slow drift does not widen its own limits. Limits
    lie at least 0.5 % of the slope and 1 HU from the median, which is what the measurement of rods may be off.

    Args:
        lines: slope (HU per mg/cm3) and intercept (HU) of each scan.
        drift_sd: width in robust SDs.
        in_order: whether the lines are in the order of their scans.
    """
    if len(lines) < FEWEST_SCANS:
        return None
    (slope, slope_sd), (intercept_hu, intercept_sd) = (
        _middle(values, in_order) for values in zip(*lines, strict=True)
    )
    return ControlLimits(
        slope=slope,
        intercept_hu=intercept_hu,
        slope_within=max(drift_sd * slope_sd, _NO_DRIFT_SHARE * slope),
        intercept_within_hu=max(drift_sd * intercept_sd, _NO_DRIFT_HU),
    )


def _middle(values: Sequence[float], in_order: bool) -> tuple[float, float]:
    """Return median and robust SD."""
    middle = statistics.median(values)
    sd = MAD_SD * statistics.median(abs(value - middle) for value in values)
    steps = [abs(second - first) for first, second in zip(values, values[1:], strict=False)]
    return middle, min(sd, statistics.median(steps) / _RANGE_SD) if in_order else sd


def _chart(found: Calibration, scanner: Mapping, told: Mapping) -> tuple[str, str, str]:
    """Return what a control chart holds together: scanner, phantom and tube voltage."""
    named = [told.get(name) for name in ("manufacturer", "model", "kernel")]
    return scanner["scanner"] or " ".join(filter(None, named)), found.phantom, str(told.get("kvp") or "")


def _first_of_image(
    calibrations: Mapping[str, Calibration], charts: Mapping[str, tuple], digests: Mapping[str, str]
) -> dict[str, str]:
    """Return for each scan the first one with its image, method, phantom and scanner; itself if there is none."""
    firsts: dict[tuple, str] = {}
    return {
        scan: firsts.setdefault((digests.get(scan, scan), found.method, charts[scan]), scan)
        for scan, found in calibrations.items()
    }


def _limits(
    calibrations: Mapping[str, Calibration],
    charts: Mapping[str, tuple],
    scanners: Mapping[str, Mapping],
    drift_sd: float,
) -> dict[tuple, ControlLimits | None]:
    """Return the control limits of each chart, by the scans with a phantom of their own."""
    scans = defaultdict(list)
    for scan, found in calibrations.items():
        if found.method == PHANTOM and found.is_usable:
            scans[charts[scan]].append(scan)
    limits = {}
    for chart, names in scans.items():
        orders = [scanners[scan]["scan_order"] for scan in names]
        in_order = None not in orders
        ordered = sorted(names, key=lambda scan: scanners[scan]["scan_order"]) if in_order else names
        lines = [
            (calibrations[scan].slope_hu_per_mg_cm3, calibrations[scan].intercept_hu) for scan in ordered
        ]
        limits[chart] = control_limits(lines, drift_sd, in_order=in_order)
    return limits


def _of_calibration(found: Calibration) -> dict:
    """Return what the row of a scan takes from its calibration."""
    same = ("method", "phantom", "calibration_scan", "scale", "verdict", "reason", "slices_used", "found")
    return {name: getattr(found, name) for name in (*same, *_NUMBERS)} | {
        "rods_found": sum(rod["used"] for rod in found.rods) if found.rods else None,
        "reversed": None if found.reversed is None else int(found.reversed),
        "flags": " ".join(found.flags),
    }


def _of_limits(found: Calibration, limits: ControlLimits | None) -> dict:
    """Return the limits of a scan's chart, its changes from the usual line, and the flag if it lies outside."""
    if limits is None or found.method != PHANTOM or not found.is_usable:
        return {}
    ends = {
        "slope_low": limits.slope - limits.slope_within,
        "slope_high": limits.slope + limits.slope_within,
        "intercept_low_hu": limits.intercept_hu - limits.intercept_within_hu,
        "intercept_high_hu": limits.intercept_hu + limits.intercept_within_hu,
    }
    changes = {
        name: limits.change_mg_cm3(found, density)
        for name, density in zip(_CHANGES, CHANGES_MG_CM3, strict=True)
    }
    if limits.holds(found):
        return ends | changes
    return ends | changes | {"flags": " ".join([*found.flags, DRIFT]), "verdict": FLAGGED}


def count_verdicts(calibrations: Iterable[Calibration]) -> dict[str, int]:
    """Return how many calibrations there are of each verdict."""
    verdicts = [found.verdict for found in calibrations if found.method != NONE]
    return {verdict: verdicts.count(verdict) for verdict in dict.fromkeys([OK, FLAGGED, *verdicts])}
