"""The settings of the split into test people and folds. Standard library only (read at each parse)."""

from dataclasses import dataclass

from lib.errors import ConfigError

CROPS_NEED_NO_FOLDS = (
    "The crops can be checked without folds: the same command with the target `cropped` "
    "draws them in results/crops"
)


@dataclass(frozen=True, kw_only=True)
class FoldsConfig:
    """Settings of the split: number of folds, fraction of test people, number of balanced age bands."""

    folds: int = 10
    test_fraction: float = 0.10
    age_bands: int = 3

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if self.folds < 2:
            raise ConfigError(f"folds.folds is {self.folds}; expected a whole number of at least 2")
        if not 0 <= self.test_fraction < 1:
            raise ConfigError(f"folds.test_fraction is {self.test_fraction}; expected 0 or more, below 1")
        if self.age_bands < 1:
            raise ConfigError(f"folds.age_bands is {self.age_bands}; expected a whole number of at least 1")
