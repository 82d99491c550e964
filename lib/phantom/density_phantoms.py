"""Synthetic density phantoms: their certificates, and the lines by which a scanner at 120 kV shows densities.

Only the standard library is imported: the workflow reads the certificates while Snakemake parses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

CERTIFICATES = "phantoms.yaml"
"""Name of the file of certificates, beside the cohort table."""

K2HPO4_PHANTOM, CAHA_PHANTOM = "synthetic-k2hpo4", "synthetic-caha"


@dataclass(frozen=True, kw_only=True)
class DensityLine:
    """How densities of a scale show: HU = `slope_hu_per_mg_cm3` x density (mg/cm3) + `intercept_hu`.

    `density` and `hu` work on numbers and on arrays.
    """

    scale: str
    slope_hu_per_mg_cm3: float
    intercept_hu: float

    def density(self, hu: float) -> float:
        """Return the density that shows as `hu`, mg/cm3."""
        return (hu - self.intercept_hu) / self.slope_hu_per_mg_cm3

    def hu(self, density_mg_cm3: float) -> float:
        """Return the HU of a density, mg/cm3."""
        return self.slope_hu_per_mg_cm3 * density_mg_cm3 + self.intercept_hu

    def shown(self, gain: float, offset_hu: float) -> "DensityLine":
        """Return the line of a scanner that shows gain x HU + offset."""
        return DensityLine(
            scale=self.scale,
            slope_hu_per_mg_cm3=gain * self.slope_hu_per_mg_cm3,
            intercept_hu=gain * self.intercept_hu + offset_hu,
        )


LINES: Mapping[str, DensityLine] = MappingProxyType(
    {
        # of the rods below, by the equations of the phantom's manufacturer: least squares of HU - water, then the
        # slope less 0.2174, because each mg of K2HPO4 displaces 0.2174 mg of water
        "k2hpo4": DensityLine(scale="k2hpo4", slope_hu_per_mg_cm3=1.3846, intercept_hu=-0.59),
        # of NIST's attenuation at the energy (70 keV) where K2HPO4 has the slope above: each mg of CaHA attenuates as
        # 1.666 mg of water and displaces 1 / 3.16 mg; the resin without CaHA shows -3 HU
        "caha": DensityLine(scale="caha", slope_hu_per_mg_cm3=1.35, intercept_hu=-3.0),
    }
)
"""The true line of each scale of density, before what a scanner adds."""


@dataclass(frozen=True, kw_only=True)
class CertifiedRod:
    """A rod: its density by the certificate and, if it holds a solution, the water in it, mg/cm3; HU at 120 kV."""

    density_mg_cm3: float
    hu: float
    water_mg_cm3: float | None = None

    def shown_hu(self, line: DensityLine, gain: float, offset_hu: float) -> float:
        """Return the HU of the rod on a scanner that shows gain x HU + offset; `line` is that of the rod's scale.

        The gain is that of a wrong beam energy. It acts on what the rod has of the certificate's substance; the water
        in the rod shows as the same HU at each energy. So a calibration finds the line that bone follows.
        """
        return self.hu + (gain - 1.0) * line.hu(self.density_mg_cm3) + offset_hu


@dataclass(frozen=True, kw_only=True)
class DensityPhantom:
    """A density phantom and its certificate: rods from the patient's right to the left, sizes in mm."""

    name: str
    scale: str
    rods: Sequence[CertifiedRod]
    rod_radius_mm: float
    rod_distance_mm: float

    @property
    def line(self) -> DensityLine:
        """The true line of its scale."""
        return LINES[self.scale]


def _caha_rod(density_mg_cm3: float) -> CertifiedRod:
    return CertifiedRod(density_mg_cm3=density_mg_cm3, hu=LINES["caha"].hu(density_mg_cm3))


DENSITY_PHANTOMS: Mapping[str, DensityPhantom] = MappingProxyType(
    {
        phantom.name: phantom
        for phantom in (
            # densities and water of a published certificate of a phantom with K2HPO4 in solution
            DensityPhantom(
                name=K2HPO4_PHANTOM,
                scale="k2hpo4",
                rods=tuple(
                    CertifiedRod(density_mg_cm3=density, water_mg_cm3=water, hu=hu)
                    for density, water, hu in (
                        (-51.83, 1012.25, -71.0),
                        (-53.40, 1056.95, -29.0),
                        (58.88, 1103.57, 198.0),
                        (157.05, 1119.52, 371.0),
                        (375.83, 923.20, 525.0),
                    )
                ),
                rod_radius_mm=9.0,
                rod_distance_mm=32.0,
            ),
            # nominal rods of a phantom with CaHA in resin
            DensityPhantom(
                name=CAHA_PHANTOM,
                scale="caha",
                rods=tuple(map(_caha_rod, (100.0, 400.0, 800.0))),
                rod_radius_mm=9.0,
                rod_distance_mm=30.0,
            ),
        )
    }
)
"""The phantoms by name."""


def certificates() -> dict[str, dict]:
    """Return the certificates of all synthetic phantoms, as a reader of phantoms.yaml gets them."""
    return {name: _certificate(phantom) for name, phantom in DENSITY_PHANTOMS.items()}


def certificates_text() -> str:
    """Return the certificates as the text of phantoms.yaml."""
    lines = ["# certificates of the synthetic density phantoms; rods from the patient's right to the left"]
    for name, entry in certificates().items():
        lines += [f"{name}:", f"  scale: {entry['scale']}", "  rods:"]
        for rod in entry["rods"]:
            lines.append("    - {" + ", ".join(f"{key}: {value}" for key, value in rod.items()) + "}")
        lines += [f"  {key}: {value}" for key, value in entry.items() if key.endswith("_mm")]
        lines.append("  may_lie_reversed: true")
    return "\n".join(lines) + "\n"


def _certificate(phantom: DensityPhantom) -> dict:
    rods = [{"density_mg_cm3": rod.density_mg_cm3} for rod in phantom.rods]
    for entry, rod in zip(rods, phantom.rods, strict=True):
        if rod.water_mg_cm3 is not None:
            entry["water_mg_cm3"] = rod.water_mg_cm3
    return {
        "scale": phantom.scale,
        "rods": rods,
        "rod_radius_mm": phantom.rod_radius_mm,
        "rod_distance_mm": phantom.rod_distance_mm,
        "may_lie_reversed": True,
    }
