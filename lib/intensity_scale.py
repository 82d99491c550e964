"""The values of a scan that become 0 and 1 on the network's intensity scale. Standard library only."""

import math
from dataclasses import dataclass

from lib.errors import ConfigError

SCALES = ("range", "percentile")
PADDING_HU = -1024  # fills what lies outside of a CT; neither tissue nor air has a lower value


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """Keys of config `intensity`.

    Attributes:
        scale: `range`, the same values for all scans, or `percentile`, values of each scan's own body: scanners give
            MR images a scale of their own.
        low: becomes 0: a value of the scan (`range`; HU for CT), or a percentile.
        high: becomes 1, likewise.
    """

    scale: str = "range"
    low: float = -1000.0
    high: float = 2000.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if self.scale not in SCALES:
            raise ConfigError(f"intensity.scale must be one of {', '.join(SCALES)}; got {self.scale!r}")
        least, most = (0, 100) if self.scale == "percentile" else (-32768, 32767)
        for key in ("low", "high"):
            value = getattr(self, key)
            if not least <= value <= most:
                raise ConfigError(
                    f"intensity.{key} must lie between {least} and {most} for the scale {self.scale}; got {value!r}"
                )
        if not self.high > self.low:
            raise ConfigError(
                f"intensity.high must be more than intensity.low; got {self.low!r}, {self.high!r}"
            )


@dataclass(frozen=True, kw_only=True)
class IntensityRange:
    """The intensity range of one scan: `low` becomes 0 and `high` 1; `padding` lies outside of it and becomes 0."""

    low: float
    high: float
    padding: int


def fixed_range(config: IntensityConfig) -> IntensityRange:
    """Return the range of every scan for the scale `range`."""
    return IntensityRange(
        low=float(config.low), high=float(config.high), padding=min(PADDING_HU, math.floor(config.low))
    )
