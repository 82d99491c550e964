"""The settings of the density calibration. Standard library only (read at each parse)."""

from dataclasses import dataclass

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Keys of config `calibration`.

    Attributes:
        phantoms: path of the file with the certificates of the phantoms, relative to the cohort table's folder;
            empty: none.
        roi_radius_share: radius of the disc in which a rod is measured, as a share of the rod's.
        min_rods: rods that a calibration needs.
        max_residual_mg_cm3: largest distance of a rod from the line.
        max_drift_z_mg_cm3: larger changes of the calibration along the scan are flagged.
        max_scan_order_gap: largest difference of `scan_order` between a scan and its `calibration_scan`; None: any.
        drift_sd: width of the control limits of a scanner, in robust standard deviations (1.4826 x MAD).
    """

    phantoms: str = ""
    roi_radius_share: float = 0.6
    min_rods: int = 3
    max_residual_mg_cm3: float = 8.0
    max_drift_z_mg_cm3: float = 6.0
    max_scan_order_gap: float | None = None
    drift_sd: float = 3.0

    def __post_init__(self) -> None:
        """Raise an error if a value cannot be used."""
        if not 0.2 <= self.roi_radius_share <= 0.9:
            raise ConfigError(
                f"calibration.roi_radius_share must be a number from 0.2 to 0.9; got {self.roi_radius_share!r}"
            )
        if self.min_rods < 3:
            raise ConfigError(
                f"calibration.min_rods must be at least 3, because a line fits any two rods; got {self.min_rods!r}"
            )
        for name in ("max_residual_mg_cm3", "max_drift_z_mg_cm3", "drift_sd"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"calibration.{name} must be a number > 0; got {getattr(self, name)!r}")
        if self.max_scan_order_gap is not None and not self.max_scan_order_gap >= 0:
            raise ConfigError(
                "calibration.max_scan_order_gap must be a number of at least 0, or null for no limit; "
                f"got {self.max_scan_order_gap!r}"
            )
