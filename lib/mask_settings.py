"""The settings of masks. Standard library only (read at each parse)."""

from dataclasses import dataclass

from lib.errors import ConfigError

METHODS = ("otsu", "half", "argmax")


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Keys of config `mask`.

    Attributes:
        method: `otsu` (threshold of the probability of one structure), `half` (the threshold is one half), or
            `argmax` (several structures: each voxel belongs to its most probable label).
        low: a threshold by Otsu below this is replaced.
        high: a threshold above this is replaced.
        fallback: the replacement, also used if Otsu's threshold is not defined.
        keep_largest: keep only the largest connected component (voxels that share a face).
    """

    method: str = "otsu"
    low: float = 0.2
    high: float = 0.8
    fallback: float = 0.5
    keep_largest: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"mask.method must be one of {', '.join(METHODS)}; got {self.method!r}")
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ConfigError(
                f"mask.low and mask.high must be 0 <= low < high <= 1; got {self.low}, {self.high}"
            )
        if not 0.0 < self.fallback < 1.0:
            raise ConfigError(f"mask.fallback must lie between 0 and 1; got {self.fallback}")
