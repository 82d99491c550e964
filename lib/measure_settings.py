"""The settings of what is measured of a mask. Standard library only (read at each parse)."""

import math
from dataclasses import dataclass

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OverlapConfig:
    """Settings of the comparison. `nsd_tolerance_mm`: distance up to which two surfaces count as equal, mm."""

    nsd_tolerance_mm: float = 1.0

    def __post_init__(self) -> None:
        """Raise an error if a value is out of range."""
        if not (math.isfinite(self.nsd_tolerance_mm) and self.nsd_tolerance_mm >= 0):
            raise ConfigError(
                f"measure.nsd_tolerance_mm must be a number >= 0, got {self.nsd_tolerance_mm!r}"
            )


@dataclass(frozen=True, kw_only=True)
class DistalEndConfig:
    """Settings that make femurs comparable.

    Attributes:
        distal_cut_mm: volumes are also measured above an axial plane this far below the lesser trochanter; None: they
            are not.
    """

    distal_cut_mm: float | None = None

    def __post_init__(self) -> None:
        """Refuse a length that is negative or not finite."""
        cut_mm = self.distal_cut_mm
        if cut_mm is not None and not (math.isfinite(cut_mm) and cut_mm >= 0):
            raise ConfigError(f"measure.distal_cut_mm must be null or a number >= 0 (mm), got {cut_mm!r}")
