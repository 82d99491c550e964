"""The limits of screening, and the repairs allowed in reading. Standard library only (read at each parse)."""

import math
from dataclasses import dataclass

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ScreeningConfig:
    """Limits of screening, and allowed repairs (sections `screening` and `dicom` of the configuration).

    Attributes:
        modality: accepted DICOM modality.
        min_slices: fewer slices are refused.
        min_length_mm: a shorter scan is refused.
        spacing_tolerance_mm: allowed difference of slice distances, mm.
        spacing_tolerance_fraction: the same as a fraction of the distance; the larger of both applies.
        max_tilt_degrees: a larger gantry tilt is refused or corrected.
        correct_tilt: shift the slices of a tilted gantry until they stand upright.
        resample_uneven: interpolate slices of uneven distances onto an even grid.
        metal_hu: intensity above which a voxel counts as metal.
        max_metal_mm3: more metal near the bone that was searched for is flagged.
        max_gb: a scan or file larger than this is refused unread, GB.
        max_minutes: reading that takes longer is stopped and the scan refused.
    """

    modality: str = "CT"
    min_slices: int = 10
    min_length_mm: float = 60.0
    spacing_tolerance_mm: float = 0.01
    spacing_tolerance_fraction: float = 0.01
    max_tilt_degrees: float = 0.05
    correct_tilt: bool = False
    resample_uneven: bool = False
    metal_hu: float = 2500.0
    max_metal_mm3: float = 200.0
    max_gb: float = 4.0
    max_minutes: float = 10.0

    def __post_init__(self) -> None:
        if not (isinstance(self.modality, str) and self.modality):
            raise ConfigError(f"screening.modality must name a DICOM modality, as CT; got {self.modality!r}")
        if not isinstance(self.min_slices, int) or self.min_slices < 2:
            raise ConfigError(f"screening.min_slices must be a whole number >= 2; got {self.min_slices!r}")
        for name in ("min_length_mm", "spacing_tolerance_mm", "spacing_tolerance_fraction", "max_metal_mm3"):
            self._require(name, 0.0, math.inf)
        self._require("max_tilt_degrees", 0.0, 45.0)
        self._require("metal_hu", -1024.0, math.inf)
        for name in ("max_gb", "max_minutes"):
            self._require(name, 1e-6, math.inf)
        for name in ("correct_tilt", "resample_uneven"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"dicom.{name} must be true or false; got {getattr(self, name)!r}")

    def _require(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        # this form also refuses NaN
        if not (isinstance(value, int | float) and low <= value < high):
            raise ConfigError(
                f"screening.{name} must be a number from {low:g} to below {high:g}; got {value!r}"
            )

    def spacing_tolerance(self, step_mm: float) -> float:
        """Return by how much slice distances may differ from `step_mm`, in mm."""
        return max(self.spacing_tolerance_mm, self.spacing_tolerance_fraction * step_mm)
