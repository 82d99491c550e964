"""The settings of density by region: compartments, planes of the femur, areal projection. Standard library only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lib.catalog.scales import SCALES
from lib.errors import ConfigError

# Cortical bone lies within this distance of the surface; dense bone deeper inside belongs to `other`.
CORTICAL_DEPTH_MM = 7.0


@dataclass(frozen=True, kw_only=True)
class DxaLine:
    """A line from a projected areal density to that of a DXA scanner: DXA = slope x projected + intercept, g/cm2.

    Attributes:
        slope: without unit.
        intercept: g/cm2.
        source: where the line comes from, in words, such as the people and scanners that it was fitted to.
        scale: of the projected areal densities, `k2hpo4` or `caha`; densities of another one have no T-score.
    """

    slope: float
    intercept: float
    source: str
    scale: str = "k2hpo4"

    def __post_init__(self) -> None:
        """Raise an error if a value cannot be used."""
        _require(self.slope, "areal.t_score.slope", "", above=0.0)
        _require(self.intercept, "areal.t_score.intercept", " (g/cm2)")
        if not isinstance(self.source, str) or not self.source.strip():
            raise ConfigError(
                "density.areal.t_score.source must tell in words which pairs of QCT and DXA the line was fitted to; "
                f"got {self.source!r}"
            )
        if self.scale not in SCALES:
            raise ConfigError(
                f"density.areal.t_score.scale must be {' or '.join(SCALES)}, the scale of the phantom that the "
                f"line was fitted with; got {self.scale!r}"
            )


@dataclass(frozen=True, kw_only=True)
class ArealConfig:
    """Keys of config `density.areal`.

    Attributes:
        pixel_mm: edge of a pixel of the projection, mm.
        neck_box_mm: width of the neck's box along the neck's axis, mm.
        t_score: the user's line to DXA, as a `DxaLine` or a mapping of its fields; None: no T-scores.
    """

    pixel_mm: float = 0.5
    neck_box_mm: float = 15.0
    t_score: DxaLine | Mapping | None = None

    def __post_init__(self) -> None:
        """Raise an error if a value cannot be used; make a `DxaLine` of a mapping."""
        _require(self.pixel_mm, "areal.pixel_mm", " (mm)", above=0.0, most=2.0)
        _require(self.neck_box_mm, "areal.neck_box_mm", " (mm)", above=0.0, most=40.0)
        if isinstance(self.t_score, Mapping):
            object.__setattr__(self, "t_score", DxaLine(**self.t_score))


@dataclass(frozen=True, kw_only=True)
class DensityConfig:
    """Keys of config `density`.

    Attributes:
        peel_mm: trabecular bone lies at least this far below the surface, mm.
        cortical_mg_cm3: bone of at least this density is cortical, mg/cm3 on the scale of the calibration.
        neck_area_factor: the neck ends laterally where its section is this many times as large as at the isthmus.
        below_trochanter_mm: the trochanteric region ends this far below the tip of the lesser trochanter, mm.
        areal: the areal projection.
    """

    peel_mm: float = 3.0
    cortical_mg_cm3: float = 350.0
    neck_area_factor: float = 1.4
    below_trochanter_mm: float = 10.0
    areal: ArealConfig | Mapping = field(default_factory=ArealConfig)

    def __post_init__(self) -> None:
        """Raise an error if a value cannot be used; make an `ArealConfig` of a mapping."""
        _require(self.peel_mm, "peel_mm", " (mm)", least=0.0, most=7.0)
        _require(self.cortical_mg_cm3, "cortical_mg_cm3", " (mg/cm3)", above=0.0)
        _require(self.neck_area_factor, "neck_area_factor", "", above=1.0, most=3.0)
        _require(self.below_trochanter_mm, "below_trochanter_mm", " (mm)", least=0.0)
        if isinstance(self.areal, Mapping):
            object.__setattr__(self, "areal", ArealConfig(**self.areal))


def _require(
    value: float,
    key: str,
    unit: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> None:
    """Raise an error unless a value is finite, at least `least`, greater than `above` and at most `most`."""
    if math.isfinite(value) and least <= value <= most and value > above:
        return
    bounds = {">=": least, ">": above, "<=": most}
    wanted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if math.isfinite(bound))
    raise ConfigError(
        f"density.{key} must be a number {wanted}{unit}".replace("  ", " ") + f"; got {value!r}"
    )
