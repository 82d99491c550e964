"""Shapes of networks: entries of config `networks`. Imports little, because each parse reads it."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lib.errors import ConfigError
from lib.learning.allowed_values import is_count, require

CHOICES = {
    "skip": ("concat", "add"),
    "normalisation": ("none", "batch", "instance", "group"),
    "activation": ("relu", "leaky_relu", "elu"),
    "residual": (False, True),
    "dimensions": (3, 2),
}


@dataclass(frozen=True, kw_only=True)
class VNetConfig:
    """Shape of the network: the keys of one entry of config `networks`, and `classes`.

    The defaults are the preset `paper`.

    Attributes:
        channels: feature maps of each level.
        encoder_convolutions: convolutions of each encoder level; the last is the bottleneck.
        decoder_convolutions: convolutions of each decoder level, deepest first.
        kernel: edge of each convolution, voxels, odd.
        transposed_kernel: edge of the transposed convolutions, voxels; their output is always twice as large.
        skip: the decoder meets the encoder's feature maps by concat (Zhao) or add.
        residual: each level's convolutions get a shortcut from their input (Milletari et al. 2016).
        normalisation: none (the paper's), batch, instance or group (Wu and He 2018), before each activation.
            With it a short training tolerates a learning rate at which the plain network collapses.
        activation: relu, leaky_relu (slope 0.01) or elu.
        bottleneck_dilation: spacing of the kernel's voxels in the bottleneck's convolutions.
        dropout: share of feature maps dropped before the last convolution.
        classes: the number of the study's structures, which no entry gives. One structure has one logit; n > 1 have
            n + 1, background first.
        dimensions: 3, or 2 for a network that sees each slice (y, x) alone.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256)
    encoder_convolutions: tuple[int, ...] = (1, 2, 3, 3)
    decoder_convolutions: tuple[int, ...] = (2, 2, 2)
    kernel: int = 3
    transposed_kernel: int = 3
    skip: str = "concat"
    residual: bool = False
    normalisation: str = "none"
    activation: str = "relu"
    bottleneck_dilation: int = 1
    dropout: float = 0.2
    classes: int = 1
    dimensions: int = 3

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make lists from YAML tuples."""
        for key in ("channels", "encoder_convolutions", "decoder_convolutions"):
            values = tuple(getattr(self, key))
            object.__setattr__(self, key, values)
            counts = all(is_count(value) for value in values)
            require(counts, f"networks: {key}", values, "integers of at least 1")
        self._check_levels()
        odd = is_count(self.kernel) and self.kernel % 2 == 1
        require(odd, "networks: kernel", self.kernel, "an odd integer")
        for key, least in (("transposed_kernel", 2), ("bottleneck_dilation", 1), ("classes", 1)):
            value = getattr(self, key)
            require(is_count(value, least), f"networks: {key}", value, f"an integer of at least {least}")
        require(0 <= self.dropout < 1, "networks: dropout", self.dropout, "at least 0 and less than 1")
        for key, allowed in CHOICES.items():
            value = getattr(self, key)
            known = any(value == choice and type(value) is type(choice) for choice in allowed)
            require(known, f"networks: {key}", value, " or ".join(str(choice) for choice in allowed))

    def _check_levels(self) -> None:
        levels = len(self.channels)
        require(levels >= 2, "networks: channels", self.channels, "at least two levels")
        require(
            len(self.encoder_convolutions) == levels,
            "networks: encoder_convolutions",
            self.encoder_convolutions,
            f"one number for each of the {levels} levels",
        )
        require(
            len(self.decoder_convolutions) == levels - 1,
            "networks: decoder_convolutions",
            self.decoder_convolutions,
            f"one number for each of the {levels - 1} upper levels, deepest first",
        )

    @property
    def maps(self) -> int:
        """The number of logits of a voxel."""
        return 1 if self.classes == 1 else self.classes + 1


def unet_config(
    *,
    initial_maps: int,
    levels: int,
    dimensions: int = 3,
    bottleneck_dilation: int = 1,
    normalisation: str = "none",
    dropout: float = 0.0,
) -> VNetConfig:
    """Return a U-Net as Deniz et al. 2018 compare them, after Ronneberger et al. 2015.

    Feature maps double from level to level, each level has two convolutions, transposed kernels have an edge of 2.

    Args:
        initial_maps: feature maps of the first level.
        levels: sizes at which feature maps are computed, the bottleneck included; at least 2.
        dimensions: as in `VNetConfig`, like the further arguments.
        bottleneck_dilation: spacing of the kernel's voxels in the bottleneck.
        normalisation: before each activation.
        dropout: share of feature maps dropped before the last convolution.

    Raises:
        ConfigError: a value cannot be used.
    """
    require(is_count(initial_maps), "networks: unet.initial_maps", initial_maps, "an integer of at least 1")
    require(is_count(levels, 2), "networks: unet.levels", levels, "an integer of at least 2")
    return VNetConfig(
        channels=tuple(initial_maps * 2**level for level in range(levels)),
        encoder_convolutions=(2,) * levels,
        decoder_convolutions=(2,) * (levels - 1),
        transposed_kernel=2,
        normalisation=normalisation,
        bottleneck_dilation=bottleneck_dilation,
        dropout=dropout,
        dimensions=dimensions,
    )


def read_network(entry: Mapping[str, Any], structures: int) -> VNetConfig:
    """Return the network that an entry of config `networks` describes, for a number of structures.

    Args:
        entry: the fields of `VNetConfig` but `classes`, or the short form: `unet` alone, with the arguments of
            `unet_config`.
        structures: how many the study has.

    Raises:
        ConfigError: unknown or missing keys, both forms in one entry, or a value that cannot be used.
    """
    if "unet" not in entry:
        known = [field.name for field in fields(VNetConfig) if field.name != "classes"]
        _require_keys(entry, "networks", known=known)
        return VNetConfig(**entry, classes=structures)
    others = sorted(set(entry) - {"unet"})
    if others:
        raise ConfigError(
            f"networks: `unet` is written together with {', '.join(others)}; expected `unet` alone, or the fields "
            "of a network without it"
        )
    short = entry["unet"]
    require(isinstance(short, Mapping), "networks: unet", short, "keys and values, such as levels: 4")
    arguments = inspect.signature(unet_config).parameters.values()
    needed = [argument.name for argument in arguments if argument.default is argument.empty]
    _require_keys(short, "networks: unet", known=[argument.name for argument in arguments], needed=needed)
    return replace(unet_config(**short), classes=structures)


def _require_keys(
    given: Mapping[str, Any], where: str, *, known: Collection[str], needed: Collection[str] = ()
) -> None:
    """Raise a `ConfigError` that names unknown and missing keys."""
    unknown, missing = sorted(set(given) - set(known)), sorted(set(needed) - set(given))
    if unknown:
        raise ConfigError(f"{where}: unknown key {', '.join(unknown)}; known keys: {', '.join(known)}")
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} is missing; expected a value for it")
