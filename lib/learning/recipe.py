"""The settings of a training, and what follows from a recipe: the learning rate, the epochs that are validated."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from lib.intensity_scale import IntensityConfig
from lib.learning.architecture import VNetConfig, read_network
from lib.learning.finished import RUNTIME_KEYS
from lib.learning.predict_settings import PredictConfig
from lib.learning.train_settings import TrainConfig


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """All settings of one training; the data are given apart.

    `architecture`, `train`, `intensity` and `predict` may be given as mappings with the keys of the configuration.

    Attributes:
        structures: names of the bones to find, in the order of their labels 1...n; one is found as label 1.
        name: the fold's name in progress lines, e.g. "all/vnet fold 0".
        seed: of this fold alone.
        code: digest of the training code; an unfinished state with another digest is not continued.
        axes: patient axes of the arrays, the slice axis first.
    """

    architecture: VNetConfig
    train: TrainConfig
    intensity: IntensityConfig
    predict: PredictConfig
    structures: tuple[str, ...]
    name: str
    seed: int
    code: str = ""
    axes: tuple[str, ...] = ("z", "y", "x")

    def __post_init__(self) -> None:
        """Turn mappings into settings, which validate themselves."""
        object.__setattr__(self, "structures", tuple(self.structures))
        readers = {
            "architecture": lambda entry: read_network(entry, len(self.structures)),
            "train": lambda values: TrainConfig(**values),
            "intensity": lambda values: IntensityConfig(**values),
            "predict": lambda values: PredictConfig(**values),
        }
        for key, read in readers.items():
            value = getattr(self, key)
            object.__setattr__(self, key, read(value) if isinstance(value, Mapping) else value)

    def digest(self) -> str:
        """Return a digest of all settings that affect the result."""
        shaping = asdict(self)
        for key in RUNTIME_KEYS:
            shaping["train"].pop(key)
        # these two shape validation, which chooses the best weights
        shaping["predict"] = {key: shaping["predict"][key] for key in ("z_padding", "batch_windows")}
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


class Recipe(Protocol):
    """What the engine reads of a recipe; config.yaml gives units and meanings (section `train`)."""

    epochs: int
    samples_per_scan: int
    batch_size: int
    accumulate: int
    learning_rate: float
    schedule: str
    warm_up: float
    weight_average: float
    early_stop_epochs: int
    validate_every: int
    checkpoint_minutes: float
    compile: bool


def is_validated(config: Recipe, epoch: int) -> bool:
    """Tell whether the validation samples are predicted after an epoch, counted from 1."""
    return epoch % config.validate_every == 0 or epoch == config.epochs


def learning_rate(config: Recipe, done: int, updates: int) -> float:
    """Return the learning rate of the update after `done` updates, of `updates` in all.

    The rate rises linearly over the share `warm_up` of the updates (Adam's first estimates are poor), and with
    `cosine` falls to 0 at the end (Loshchilov and Hutter 2017, without restarts).
    """
    rising = min(1.0, (done + 1) / max(config.warm_up * updates, 1.0))
    falling = (1 + math.cos(math.pi * done / updates)) / 2 if config.schedule == "cosine" else 1.0
    return config.learning_rate * rising * falling
