"""The settings of section `regression`: a second network that reads one number from a crop around each structure.

Standard library only (read at each parse).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from lib.catalog.anatomies import ANATOMIES
from lib.catalog.scales import scale_of_column
from lib.errors import ConfigError

PREDICTED, REFERENCE = "predicted", "reference"
HUBER, MSE = "huber", "mse"
# changes that a segmentation is augmented with, and a regression of density must not
FORBIDDEN = ("brightness", "gamma", "contrast")
MOST_HU, LEAST_HU = 32767, -1024


def _require(allowed: bool, key: str, value: object, expected: str) -> None:
    if not allowed:
        raise ConfigError(f"regression.{key}: {value!r} is not allowed; expected {expected}")


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True, kw_only=True)
class DenseNetConfig:
    """Shape of a DenseNet (Huang et al. 2017): an entry of `regression.networks`. The defaults are DenseNet-121.

    Attributes:
        growth: feature maps that each layer adds.
        initial_maps: feature maps of the first convolution.
        blocks: layers of each dense block.
        bottleneck: a layer's first convolution makes so many times `growth` feature maps.
        dimensions: 3, or 2: each slice is read by itself, and the outputs are averaged.
    """

    growth: int = 32
    initial_maps: int = 64
    blocks: Sequence[int] = (6, 12, 24, 16)
    bottleneck: int = 4
    dimensions: int = 3

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make a tuple of the list from YAML."""
        object.__setattr__(self, "blocks", tuple(self.blocks))
        for key in ("growth", "initial_maps", "bottleneck"):
            value = getattr(self, key)
            _require(_is_count(value), f"networks: {key}", value, "an integer of at least 1")
        counts = bool(self.blocks) and all(_is_count(layers) for layers in self.blocks)
        _require(counts, "networks: blocks", list(self.blocks), "integers of at least 1, one for each block")
        _require(self.dimensions in (2, 3), "networks: dimensions", self.dimensions, "3 or 2")

    def last_edge(self, edge: int) -> int:
        """Return the edge of the last feature maps for a crop with so many voxels along an axis.

        The first convolution and the first pool halve it and round up, each further pool rounds down.
        """
        for _ in range(2):
            edge = -(-edge // 2)
        return edge // 2 ** (len(self.blocks) - 1)


@dataclass(frozen=True, kw_only=True)
class RegressionCropConfig:
    """Keys of config `regression.crop`.

    Attributes:
        size: voxels of a crop along x, y, z.
        voxel_mm: edge of its voxels, mm.
        low_hu: HU that become 0; lower ones are clipped. The same for all crops: a scale of each crop's own would
            delete the density.
        high_hu: HU that become 1; higher ones are clipped.
        mask_channel: whether the network also sees the mask of the structure.
        masks: `predicted` or `reference`: the masks that crops are cut around.
    """

    size: Sequence[int] = (48, 48, 48)
    voxel_mm: float = 1.25
    low_hu: float = -200.0
    high_hu: float = 800.0
    mask_channel: bool = True
    masks: str = PREDICTED

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make a tuple of the list from YAML."""
        object.__setattr__(self, "size", tuple(self.size))
        counts = len(self.size) == 3 and all(_is_count(edge, 8) for edge in self.size)
        _require(counts, "crop.size", list(self.size), "three integers of at least 8 (voxels along x, y, z)")
        _require(0.1 <= self.voxel_mm <= 10, "crop.voxel_mm", self.voxel_mm, "0.1 to 10 (mm)")
        window = LEAST_HU <= self.low_hu < self.high_hu <= MOST_HU
        expected = f"crop.low_hu below crop.high_hu, both from {LEAST_HU} to {MOST_HU} (HU)"
        _require(window, "crop.low_hu, crop.high_hu", (self.low_hu, self.high_hu), expected)
        masks = (PREDICTED, REFERENCE)
        _require(self.masks in masks, "crop.masks", self.masks, " or ".join(masks))

    @property
    def channels(self) -> int:
        """The number of channels of the network's input."""
        return 2 if self.mask_channel else 1

    @property
    def size_zyx(self) -> tuple[int, ...]:
        """The voxels along z, y, x."""
        return tuple(self.size)[::-1]


@dataclass(frozen=True, kw_only=True)
class RegressionTrainConfig:
    """Keys of config `regression.train`; config.yaml gives their units and meanings."""

    epochs: int = 100
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    loss: str = HUBER
    schedule: str = "cosine"
    warm_up: float = 0.05
    weight_average: float = 0.0
    settle: float = 0.4
    validate_every: int = 5
    rotation_degrees: float = 10.0
    shift_mm: float = 3.0
    mirror_axes: Sequence[str] = ("x",)
    noise_hu: float = 15.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make a tuple of the list from YAML."""
        object.__setattr__(self, "mirror_axes", tuple(self.mirror_axes))
        for key, least in (("epochs", 0), ("batch_size", 2), ("validate_every", 1)):
            value = getattr(self, key)
            _require(_is_count(value, least), f"train.{key}", value, f"an integer of at least {least}")
        _require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "more than 0")
        for key in ("weight_decay", "shift_mm", "noise_hu"):
            _require(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "0 or more")
        for key in ("warm_up", "weight_average"):
            _require(
                0 <= getattr(self, key) < 1, f"train.{key}", getattr(self, key), "at least 0, less than 1"
            )
        _require(0 <= self.settle <= 1, "train.settle", self.settle, "0 to 1")
        angle = self.rotation_degrees
        _require(0 <= angle <= 45, "train.rotation_degrees", angle, "0 to 45")
        axes = set(self.mirror_axes) <= set("xyz")
        _require(axes, "train.mirror_axes", list(self.mirror_axes), "some of x, y, z")
        _require(self.loss in (HUBER, MSE), "train.loss", self.loss, f"{HUBER} or {MSE}")
        schedules = ("constant", "cosine")
        _require(self.schedule in schedules, "train.schedule", self.schedule, " or ".join(schedules))


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """Keys of config `regression.baseline`: the mean HU of a structure eroded by `erode_mm`, mm."""

    erode_mm: float = 5.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        _require(0 <= self.erode_mm <= 20, "baseline.erode_mm", self.erode_mm, "0 to 20 (mm)")


@dataclass(frozen=True, kw_only=True)
class RegressionConfig:
    """The section `regression`; its parts may be given as mappings with the keys of the configuration.

    Attributes:
        targets: column of the cohort table with the reference value, by structure; {}: no regression.
        network: network of `networks` whose masks crops are cut around; empty: the first.
        networks: shapes by name.
        crop, train, baseline: the sections of these names.
    """

    targets: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    networks: Mapping[str, DenseNetConfig] = field(default_factory=lambda: {"densenet": DenseNetConfig()})
    crop: RegressionCropConfig = field(default_factory=RegressionCropConfig)
    train: RegressionTrainConfig = field(default_factory=RegressionTrainConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)

    def __post_init__(self) -> None:
        """Turn mappings into settings, which validate themselves, and check that they fit together."""
        refuse_forbidden(self.train if isinstance(self.train, Mapping) else {})
        kinds = {"crop": RegressionCropConfig, "train": RegressionTrainConfig, "baseline": BaselineConfig}
        for key, kind in kinds.items():
            value = getattr(self, key)
            object.__setattr__(self, key, kind(**value) if isinstance(value, Mapping) else value)
        networks = {name: read_densenet(entry) for name, entry in self.networks.items()}
        object.__setattr__(self, "networks", networks)
        for name, network in networks.items():
            self._check_size(name, network)

    @property
    def is_asked(self) -> bool:
        """Whether the study has a regression."""
        return bool(self.targets)

    @property
    def scale(self) -> str:
        """The scale of the targets: k2hpo4 or caha; empty without targets."""
        return next((scale_of_column(column) for column in self.targets.values()), "")

    def _check_size(self, name: str, network: DenseNetConfig) -> None:
        edges = self.crop.size[: network.dimensions]  # of a slice: x and y
        if min(map(network.last_edge, edges)) < 1:
            least = next(edge for edge in range(1, 1 << 20) if network.last_edge(edge))
            raise ConfigError(
                f"regression.crop.size: {list(self.crop.size)} is too small for the {len(network.blocks)} blocks of "
                f"the network {name}; expected at least {least} voxels along each axis, or fewer blocks"
            )


def read_densenet(entry: Mapping[str, Any] | DenseNetConfig) -> DenseNetConfig:
    """Return the network that an entry of `regression.networks` describes.

    Raises:
        ConfigError: an unknown key, or a value that cannot be used.
    """
    if isinstance(entry, DenseNetConfig):
        return entry
    known = [each.name for each in fields(DenseNetConfig)]
    if unknown := sorted(set(entry) - set(known)):
        raise ConfigError(
            f"regression.networks: unknown key {', '.join(unknown)}; known keys: {', '.join(known)}"
        )
    return DenseNetConfig(**entry)


def refuse_forbidden(train: Mapping[str, Any]) -> None:
    """Refuse augmentations in `regression.train` that would change what is learned.

    Raises:
        ConfigError: one is there.
    """
    if found := [key for key in FORBIDDEN if key in train]:
        raise ConfigError(
            f"regression.train.{found[0]}: a change of brightness, gamma or contrast changes the HU from which the "
            "density is learned, and its reference stays the same. Remove it; rotation_degrees, shift_mm, "
            "mirror_axes and noise_hu are allowed"
        )


def check_regression(
    config: RegressionConfig, *, anatomy: str, networks: Sequence[str], modality: str
) -> None:
    """Check that a study can have its regression; `lib.target_columns` checks its targets.

    Args:
        config: the settings.
        anatomy: a name of `lib.catalog.anatomies`.
        networks: that segment, by name.
        modality: of the scans.

    Raises:
        ConfigError: the anatomy has no levels, a network is unknown, both kinds of networks share a name, or scans
            have no HU.
    """
    if not config.is_asked:
        return
    if not ANATOMIES[anatomy].has_levels:
        able = [name for name, known in ANATOMIES.items() if known.has_levels]
        raise ConfigError(
            f"regression.targets: crops are cut around levels, which the anatomy {anatomy} does not have; expected "
            f"anatomy: {', '.join(able)}, or regression: {{targets: null}}"
        )
    if config.network and config.network not in networks:
        raise ConfigError(
            f"regression.network: no network that segments is called {config.network!r}; the study's networks: "
            f"{', '.join(networks)}"
        )
    if not config.networks:
        raise ConfigError("regression.networks: no network is left; name at least one")
    if shared := [name for name in config.networks if name in networks]:
        raise ConfigError(
            f"regression.networks: {', '.join(shared)} is also the name of a network that segments; give each "
            "network a name of its own"
        )
    if modality != "CT":
        raise ConfigError(
            f"regression.targets: densities are read from HU, and screening.modality is {modality}; set "
            "regression: {targets: null}"
        )
