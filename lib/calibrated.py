"""The calibration of a scan, `calibrated/{scan}.json`: how its HU become bone density. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lib.atomic import read_json
from lib.catalog.calibration import FLAGGED, OK, REFUSED


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibration of one scan. Numbers that are not known are None.

    Attributes:
        method: one of `lib.catalog.calibration.METHODS`.
        phantom: name of the phantom; empty: none.
        calibration_scan: scan from which the line is taken; empty: from the scan itself.
        scale: of the densities, one of `lib.catalog.scales.CALIBRATED_SCALES`.
        verdict: `ok`, `flagged` or `refused`.
        reason: code of `lib.catalog.calibration.REFUSALS`; empty: not refused.
        found: what was found, in words.
        slope_hu_per_mg_cm3: slope of the line; None if refused, and for a curve.
        intercept_hu: HU of density 0.
        slope_se: standard error of the slope.
        intercept_se: standard error of the intercept.
        r2: share of the rods' variance that the line explains.
        residual_max_mg_cm3: largest distance of a rod from the line.
        z_slope_mg_cm3: change of the calibration from the first slice to the last one.
        density_se_at_100_mg_cm3: standard error of a density of 100 mg/cm3, by the scatter of the rods alone.
        reversed: whether the rods lie from left to right.
        slices_used: slices in which the rod with the fewest was measured.
        rods: of each rod of the certificate its number, place and values.
        flags: codes of `lib.catalog.calibration.CALIBRATION_FLAGS`.
        curve: of `michalski2020` the lines of HU, see `density_mg_cm3`.
        tissues: HU of the person's tissues, where they were measured.
        kvp: tube voltage of the scan.
    """

    method: str
    phantom: str = ""
    calibration_scan: str = ""
    scale: str = ""
    verdict: str = OK
    reason: str = ""
    found: str = ""
    slope_hu_per_mg_cm3: float | None = None
    intercept_hu: float | None = None
    slope_se: float | None = None
    intercept_se: float | None = None
    r2: float | None = None
    residual_max_mg_cm3: float | None = None
    z_slope_mg_cm3: float | None = None
    density_se_at_100_mg_cm3: float | None = None
    reversed: bool | None = None
    slices_used: int | None = None
    rods: Sequence[Mapping] = ()
    flags: Sequence[str] = ()
    curve: Mapping[str, float] | None = None
    tissues: Mapping[str, float] | None = None
    kvp: float | None = None

    def __post_init__(self) -> None:
        """Refuse a calibration that contradicts itself."""
        if (self.verdict == REFUSED) != bool(self.reason):
            raise ValueError(f"verdict {self.verdict} with reason {self.reason!r}")
        has_line = self.slope_hu_per_mg_cm3 is not None or self.curve is not None
        if has_line != (self.verdict in (OK, FLAGGED)):
            raise ValueError(f"verdict {self.verdict}, and slope {self.slope_hu_per_mg_cm3}")

    @property
    def is_usable(self) -> bool:
        """Return whether the scan has densities."""
        return self.verdict != REFUSED

    def density_mg_cm3(self, hu: Any) -> Any:
        """Return the density of HU, mg/cm3 of `scale`; numbers and numpy arrays.

        A line gives (HU - intercept) / slope. A curve (Michalski et al. 2020) gives
        1000 D (M - M_tri) / (M_K - M_tri) with the density D = d1 HU + d0 (g/cm3) and the attenuation M = m1 HU + m0
        (cm2/g) of a mixture of triglyceride and K2HPO4.

        Raises:
            ValueError: the calibration was refused.
        """
        if not self.is_usable:
            raise ValueError(f"the calibration was refused ({self.reason}), so that HU have no density")
        if self.curve is None:
            return (hu - self.intercept_hu) / self.slope_hu_per_mg_cm3
        curve = self.curve
        mass = curve["density_slope"] * hu + curve["density_intercept"]
        attenuation = curve["attenuation_slope"] * hu + curve["attenuation_intercept"]
        triglyceride, k2hpo4 = curve["triglyceride_cm2_g"], curve["k2hpo4_cm2_g"]
        return 1000.0 * mass * (attenuation - triglyceride) / (k2hpo4 - triglyceride)

    def to_json(self) -> dict:
        """Return the calibration as a JSON object."""
        content = asdict(self)
        rods, flags = [dict(rod) for rod in self.rods], list(self.flags)
        optional = ("calibration_scan", "curve", "tissues", "kvp")
        kept = {name: value for name, value in content.items() if value or name not in optional}
        return kept | {"rods": rods, "flags": flags}

    @classmethod
    def from_json(cls, content: Mapping) -> "Calibration":
        """Return the calibration of a file's content; keys that it does not know are ignored."""
        known = {field.name for field in fields(cls)}
        told = {name: value for name, value in content.items() if name in known}
        return cls(**told | {name: tuple(told.get(name, ())) for name in ("rods", "flags")})


def read_calibration(path: str | Path | None) -> Calibration | None:
    """Return the calibration that a file holds; None without a file."""
    return Calibration.from_json(read_json(path)) if path else None
