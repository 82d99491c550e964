"""The settings of a training: those of section `train`, and the learning rate that follows from them."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from lib.intensity_scale import IntensityConfig
from lib.learning.allowed_values import is_count, require
from lib.learning.architecture import VNetConfig, read_network
from lib.learning.augment import AugmentConfig
from lib.learning.finished import RUNTIME_KEYS
from lib.learning.losses import LOSSES
from lib.learning.predict import PredictConfig

AUTO = "auto"  # bone_weight: bone and background of the training scans weigh the same


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Keys of config `train`; config.yaml gives their units and meanings.

    `validate_step` is the step between windows, in slices, when validation scans are predicted during training.
    The paper's step of 1 would cost several times as much and changes the Dice in the fourth digit.
    """

    epochs: int = 1000
    samples_per_scan: int = 1
    batch_size: int = 1
    accumulate: int = 1
    window_slices: int = 32
    loss: str = "dice"
    bone_weight: float | str = 1.0
    l2_alpha: float = 1e-5
    learning_rate: float = 1e-4
    schedule: str = "constant"
    warm_up: float = 0.0
    weight_average: float = 0.0
    early_stop_epochs: int = 0
    validate_every: int = 10
    validate_step: int = 8
    checkpoint_minutes: float = 5.0
    device: str = "auto"
    precision: str = "auto"
    memory_layout: str = "auto"
    fused: bool = True
    compile: bool = False
    device_cache_gb: float = 24.0
    host_cache_gb: float = 48.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if not isinstance(self.augment, AugmentConfig):
            object.__setattr__(self, "augment", AugmentConfig(**self.augment))
        counts = ("epochs", "samples_per_scan", "batch_size", "accumulate", "window_slices")
        for key in (*counts, "validate_every", "validate_step"):
            value = getattr(self, key)
            require(is_count(value), f"train.{key}", value, "an integer of at least 1")
        stop = self.early_stop_epochs
        require(is_count(stop, 0), "train.early_stop_epochs", stop, "an integer of at least 0")
        for key in ("l2_alpha", "checkpoint_minutes", "device_cache_gb", "host_cache_gb"):
            require(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "0 or more")
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "more than 0")
        weight = self.bone_weight
        usable = weight == AUTO if isinstance(weight, str) else weight > 0
        require(usable, "train.bone_weight", weight, "more than 0, or auto")
        for key in ("warm_up", "weight_average"):
            require(
                0 <= getattr(self, key) < 1, f"train.{key}", getattr(self, key), "at least 0, less than 1"
            )
        schedules = ("constant", "cosine")
        require(self.schedule in schedules, "train.schedule", self.schedule, "constant or cosine")
        require(self.loss in LOSSES, "train.loss", self.loss, " or ".join(LOSSES))
        require(
            self.schedule == "constant" or not stop,
            "train.early_stop_epochs",
            stop,
            "0 with schedule cosine, which has its own end",
        )


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


def learning_rate(config: TrainConfig, done: int, updates: int) -> float:
    """Return the learning rate of the update after `done` updates, of `updates` in all.

    The rate rises linearly over the share `warm_up` of the updates (Adam's first estimates are poor), and with
    `cosine` falls to 0 at the end (Loshchilov and Hutter 2017, without restarts).
    """
    rising = min(1.0, (done + 1) / max(config.warm_up * updates, 1.0))
    falling = (1 + math.cos(math.pi * done / updates)) / 2 if config.schedule == "cosine" else 1.0
    return config.learning_rate * rising * falling
