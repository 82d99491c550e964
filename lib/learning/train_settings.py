"""The settings of section `train`. Standard library only (read at each parse)."""

from dataclasses import dataclass, field

from lib.errors import ConfigError
from lib.learning.allowed_values import is_count, require

LOSSES = ("dice", "cross_entropy", "dice_cross_entropy")
AUTO = "auto"  # bone_weight: bone and background of the training scans weigh the same


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Keys of config `train.augment`: the largest change of each kind, and its probability."""

    probability: float = 0.5
    rotation_degrees: float = 15.0
    mirror_axes: tuple[str, ...] = ("y",)
    brightness: float = 0.1
    gamma: tuple[float, float] = (0.7, 1.5)
    noise_sd: float = 0.02

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make lists from YAML tuples."""
        object.__setattr__(self, "mirror_axes", tuple(self.mirror_axes))
        object.__setattr__(self, "gamma", tuple(self.gamma))
        key = "train.augment."
        require(0 <= self.probability <= 1, key + "probability", self.probability, "0 to 1")
        require(0 <= self.rotation_degrees <= 45, key + "rotation_degrees", self.rotation_degrees, "0 to 45")
        require(set(self.mirror_axes) <= set("xyz"), key + "mirror_axes", self.mirror_axes, "some of x, y, z")
        require(0 <= self.brightness < 1, key + "brightness", self.brightness, "at least 0, less than 1")
        gamma_ok = len(self.gamma) == 2 and 0 < self.gamma[0] <= self.gamma[1]
        require(gamma_ok, key + "gamma", self.gamma, "two exponents above 0, the smaller first")
        require(0 <= self.noise_sd < 1, key + "noise_sd", self.noise_sd, "at least 0, less than 1")


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
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Refuse keys that contradict each other."""
        if self.schedule == "cosine" and self.early_stop_epochs:
            raise ConfigError(
                f"train.early_stop_epochs: {self.early_stop_epochs} may end a training before train.schedule: cosine "
                "has lowered the learning rate to 0; set train.early_stop_epochs: 0, or train.schedule: constant"
            )
        if self.validate_step > self.window_slices:
            raise ConfigError(
                f"train.validate_step: {self.validate_step} slices would lie between the starts of windows of "
                f"train.window_slices: {self.window_slices}, so that slices between them are not predicted; set "
                f"train.validate_step to {self.window_slices} or less"
            )
