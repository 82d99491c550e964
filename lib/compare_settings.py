"""The settings of a comparison of two runs. Standard library only (read at each parse)."""

import math
from dataclasses import dataclass, fields

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """Tolerances: larger changes count as moved.

    Attributes:
        volume_percent: change of a volume, percent of the other run's.
        dsc: change of the Dice with the reference.
        hd95_mm: change of the 95th percentile of surface distances, mm.
        otsu_threshold: change of the threshold (probability).
        mask_dsc: Dice of both runs' masks below which a mask has moved.
    """

    volume_percent: float = 1.0
    dsc: float = 0.005
    hd95_mm: float = 1.0
    otsu_threshold: float = 0.05
    mask_dsc: float = 0.99

    def __post_init__(self) -> None:
        """Raise an error if a value is out of range."""
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"compare.{name} must be a number >= 0, got {value!r}")
