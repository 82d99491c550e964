"""The guards of Otsu's threshold. Standard library only, because each parse reads them."""

from dataclasses import dataclass

from lib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OtsuConfig:
    """Keys of config `otsu`.

    Attributes:
        low: a threshold below this is replaced.
        high: a threshold above this is replaced.
        fallback: the replacement, also used if Otsu's threshold is not defined.
        keep_largest: keep only the largest connected component (voxels that share a face).
    """

    low: float = 0.2
    high: float = 0.8
    fallback: float = 0.5
    keep_largest: bool = True

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ConfigError(
                f"otsu.low and otsu.high must be 0 <= low < high <= 1; got {self.low}, {self.high}"
            )
        if not 0.0 < self.fallback < 1.0:
            raise ConfigError(f"otsu.fallback must lie between 0 and 1; got {self.fallback}")
