"""The settings of a training of the task `regress`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from lib.catalog.scales import scale_of_column
from lib.learning.finished import RUNTIME_KEYS
from lib.regression_settings import (
    DenseNetConfig,
    RegressionCropConfig,
    RegressionTrainConfig,
    read_densenet,
)


@dataclass(frozen=True, kw_only=True)
class RegressionRecipe(RegressionTrainConfig):
    """Keys of config `regression.train`, and the keys of `train` that say where and how any training runs.

    A crop is seen once in an epoch, each update is one batch, and every epoch is made.
    """

    device: str = "auto"
    fused: bool = True
    compile: bool = False
    checkpoint_minutes: float = 5.0
    device_cache_gb: float = 24.0
    host_cache_gb: float = 48.0
    samples_per_scan: int = 1
    accumulate: int = 1
    early_stop_epochs: int = 0


# always: a density needs finer steps than bf16 has, and oneDNN's gradients of small convolutions in bf16 (torch 2.13,
# CPU) read memory that nobody wrote: they differ between runs, and may be no numbers
PRECISION = "float32"
LAYOUT = "plain"  # of feature maps in memory: on a CPU an eighth faster than channels last
# keys of `train` that a regression takes over; torch.compile would need minutes for a network of 120 layers
SHARED_KEYS = (
    *("device", "fused"),
    *("checkpoint_minutes", "device_cache_gb", "host_cache_gb"),
)


@dataclass(frozen=True, kw_only=True)
class RegressionSettings:
    """All settings of one training of a regression; the data are given apart.

    `architecture`, `train` and `crop` may be given as mappings with the keys of the configuration.

    Attributes:
        targets: column of the cohort table with the reference value, by structure.
        name: of the fold in progress lines, e.g. "all/densenet fold 0".
        seed: of this fold alone.
        code: digest of the training code; an unfinished state with another digest is not continued.
    """

    architecture: DenseNetConfig
    train: RegressionRecipe
    crop: RegressionCropConfig
    targets: Mapping[str, str]
    name: str
    seed: int
    code: str = ""

    def __post_init__(self) -> None:
        """Turn mappings into settings, which validate themselves."""
        object.__setattr__(self, "targets", dict(self.targets))
        readers = {
            "architecture": read_densenet,
            "train": lambda values: RegressionRecipe(**values),
            "crop": lambda values: RegressionCropConfig(**values),
        }
        for key, read in readers.items():
            value = getattr(self, key)
            object.__setattr__(self, key, read(value) if isinstance(value, Mapping) else value)

    @property
    def scale(self) -> str:
        """The scale of the targets."""
        return scale_of_column(next(iter(self.targets.values())))

    def digest(self) -> str:
        """Return a digest of all settings that affect the result."""
        shaping = asdict(self)
        for key in RUNTIME_KEYS:
            shaping["train"].pop(key)
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def full_recipe(train: Mapping, regression_train: Mapping) -> dict:
    """Return the keys of `RegressionRecipe` from the sections `train` and `regression.train`."""
    return {key: train[key] for key in SHARED_KEYS} | dict(regression_train)
