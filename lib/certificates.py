"""Certificates of calibration phantoms, as plain values. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Rod:
    """One rod of a phantom, mg/cm3. `water_mg_cm3` is None in a certificate without a column of water."""

    density_mg_cm3: float
    water_mg_cm3: float | None = None


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What the certificate of a physical phantom says.

    Attributes:
        name: its name in the file.
        scale: material of its densities, `k2hpo4` or `caha`.
        rods: in the order in which they lie, from the patient's right to the left.
        rod_radius_mm: radius of a rod.
        rod_distances_mm: from each rod's centre to the next one's.
        may_lie_reversed: whether it may have been put in the other way round.
    """

    name: str
    scale: str
    rods: Sequence[Rod]
    rod_radius_mm: float
    rod_distances_mm: Sequence[float]
    may_lie_reversed: bool = True

    @property
    def has_water(self) -> bool:
        """Return whether the certificate has a column of water."""
        return self.rods[0].water_mg_cm3 is not None

    def to_json(self) -> dict:
        """Return the certificate as plain values, from which `from_json` makes it again."""
        return asdict(self) | {
            "rods": [asdict(rod) for rod in self.rods],
            "rod_distances_mm": list(self.rod_distances_mm),
        }

    @classmethod
    def from_json(cls, content: Mapping) -> "Certificate":
        """Return the certificate that `to_json` gave."""
        rods = tuple(Rod(**rod) for rod in content["rods"])
        return cls(**dict(content) | {"rods": rods, "rod_distances_mm": tuple(content["rod_distances_mm"])})
