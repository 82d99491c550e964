"""The settings of the bias-field correction. Standard library only (read at each parse)."""

from dataclasses import dataclass

from lib.errors import ConfigError

NONE, N4 = "none", "n4"
METHODS = (NONE, N4)


@dataclass(frozen=True, kw_only=True)
class BiasFieldConfig:
    """Keys of config `bias_field`.

    Attributes:
        method: `n4` (Tustison et al. 2010), for MR, or `none` (images stay as they are).
    """

    method: str = NONE

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"bias_field.method must be one of {', '.join(METHODS)}; got {self.method!r}")
