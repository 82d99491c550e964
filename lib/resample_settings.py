"""The settings of resampling. Standard library only (read at each parse)."""

import math
from dataclasses import dataclass

from lib.errors import ConfigError

METHODS = ("fourier", "area", "none")
GROUP_STARTS = ("distal", "proximal")


@dataclass(frozen=True, kw_only=True)
class ResampleConfig:
    """Keys of config `resample`.

    Attributes:
        method: `fourier` (three slices to two by the paper's filter, other ratios by slab average), `area` (slab
            average) or `none` (slices stay as they are).
        thickness_mm: thickness and distance of the new slices.
        group_start: end of the scan, `distal` or `proximal`, at which groups begin; slices that do not fill a group
            (or a slab) at the other end are dropped.
        inplane_mm: `native`, or the pixel size.
    """

    method: str = "fourier"
    thickness_mm: float = 3.0
    group_start: str = "distal"
    inplane_mm: float | str = "native"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"resample.method must be one of {', '.join(METHODS)}; got {self.method!r}")
        if self.group_start not in GROUP_STARTS:
            raise ConfigError(
                f"resample.group_start must be one of {', '.join(GROUP_STARTS)}; got {self.group_start!r}"
            )
        if not _is_length(self.thickness_mm):
            raise ConfigError(f"resample.thickness_mm must be a number > 0 (mm); got {self.thickness_mm!r}")
        if self.inplane_mm != "native" and not _is_length(self.inplane_mm):
            raise ConfigError(
                f"resample.inplane_mm must be native or a number > 0 (mm); got {self.inplane_mm!r}"
            )


def _is_length(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0
