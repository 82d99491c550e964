"""The network: a 3-D V-Net after Zhao et al. 2020 (METHODS 1), logits out.

With the default configuration (the preset `paper`) it has 8,601,409 parameters. Shapes below are for an input
of 32 x 192 x 192 voxels and that preset.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.learning.settings import is_count, require

NORMALISED_GROUPS = 8  # of channels, at most
START_LOGIT = -2.0  # of a new network: a probability of 0.12, about the share of bone in a window


@dataclass(frozen=True, kw_only=True)
class VNetConfig:
    """Shape of the network; the keys of one entry of config `models`.

    `normalisation` is none (the paper's) or group: group normalisation (Wu and He 2018) before each ReLU. With it
    a short training bears a learning rate at which the plain network collapses.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256)
    encoder_convolutions: tuple[int, ...] = (1, 2, 3, 3)
    decoder_convolutions: tuple[int, ...] = (2, 2, 2)
    kernel: int = 3
    dropout: float = 0.2
    normalisation: str = "none"

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make lists from YAML tuples."""
        for key in ("channels", "encoder_convolutions", "decoder_convolutions"):
            values = tuple(getattr(self, key))
            object.__setattr__(self, key, values)
            require(
                all(is_count(value) for value in values), f"models: {key}", values, "integers of at least 1"
            )
        levels = len(self.channels)
        require(levels >= 2, "models: channels", self.channels, "at least two levels")
        require(
            len(self.encoder_convolutions) == levels,
            "models: encoder_convolutions",
            self.encoder_convolutions,
            f"one number for each of the {levels} levels",
        )
        require(
            len(self.decoder_convolutions) == levels - 1,
            "models: decoder_convolutions",
            self.decoder_convolutions,
            f"one number for each of the {levels - 1} upper levels, deepest first",
        )
        require(
            is_count(self.kernel) and self.kernel % 2 == 1, "models: kernel", self.kernel, "an odd integer"
        )
        require(0 <= self.dropout < 1, "models: dropout", self.dropout, "at least 0 and less than 1")
        known = self.normalisation in ("none", "group")
        require(known, "models: normalisation", self.normalisation, "none or group")


class VNet(nn.Module):
    """Encoder with max-pooling, decoder with transposed convolutions, concatenated skips."""

    def __init__(self, config: VNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        entering = (1, *widths[:-1])
        self.encoder = nn.ModuleList(
            _convolutions(before, width, count, config)
            for before, width, count in zip(entering, widths, config.encoder_convolutions, strict=True)
        )
        upper = widths[-2::-1]  # widths of the decoder's levels, deepest first
        self.rise = nn.ModuleList(
            nn.ConvTranspose3d(deeper, width, kernel_size=3, stride=2, padding=1, output_padding=1)
            for deeper, width in zip(widths[:0:-1], upper, strict=True)
        )
        self.decoder = nn.ModuleList(
            _convolutions(2 * width, width, count, config)
            for width, count in zip(upper, config.decoder_convolutions, strict=True)
        )
        self.dropout = nn.Dropout3d(config.dropout)
        self.head = nn.Conv3d(widths[0], 1, kernel_size=1)
        self.apply(_he_initialise)

    def forward(self, intensity: Tensor) -> Tensor:
        """Return logits (N, 1, z, y, x) for intensities (N, 1, z, y, x) of any size."""
        size_zyx = intensity.shape[2:]
        x = self._pad(intensity)  # (N, 1, 32, 192, 192)
        skips = []
        for block in self.encoder[:-1]:
            skips.append(block(x))  # (N, 32, 32, 192, 192), (N, 64, 16, 96, 96), (N, 128, 8, 48, 48)
            x = halve(skips[-1])
        x = self.encoder[-1](x)  # (N, 256, 4, 24, 24)
        for rise, block in zip(self.rise, self.decoder, strict=True):
            x = block(torch.cat([rise(x), skips.pop()], dim=1))  # back up to (N, 32, 32, 192, 192)
        logits = self.head(self.dropout(x))
        return logits[:, :, : size_zyx[0], : size_zyx[1], : size_zyx[2]]

    def _pad(self, intensity: Tensor) -> Tensor:
        """Pad the far ends with intensity 0 (air) to sizes that can be halved at every level."""
        step = 2 ** (len(self.config.channels) - 1)
        missing = [-size % step for size in intensity.shape[2:]]
        if not any(missing):
            return intensity
        z, y, x = missing
        return functional.pad(intensity, (0, x, 0, y, 0, z))


def halve(features: Tensor) -> Tensor:
    """Max-pool by 2 along z, y and x; sizes must be even.

    The backward pass of `max_pool3d` adds atomically on CUDA and so differs from run to run; that of `amax`
    over a reshaped view does not. Elsewhere `max_pool3d` is both deterministic and faster.
    """
    if not (features.is_cuda and features.requires_grad):
        return functional.max_pool3d(features, 2)
    return halve_by_amax(features)


def halve_by_amax(features: Tensor) -> Tensor:
    """Max-pool by 2 along z, y and x with a deterministic gradient on every device."""
    n, c, z, y, x = features.shape
    return features.reshape(n, c, z // 2, 2, y // 2, 2, x // 2, 2).amax((3, 5, 7))


@torch.no_grad()
def initialise_on(network: VNet, intensity: Tensor) -> None:
    """Scale and shift every layer of a new network so that its outputs on `intensity` (N, 1, z, y, x) are standard.

    Layer by layer, each channel gets mean 0 and standard deviation 1 before the ReLU, the logits a mean of
    START_LOGIT (few voxels are bone). It does once what batch normalisation does always (Kraehenbuehl et al.
    2016, Mishkin and Matas 2016). Without it, and without normalisation, the mean of an image (never 0) grows
    through the layers, and soft Dice soon settles on "everything is bone".
    """

    def standardise(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        mean, deviation = output.mean((0, 2, 3, 4)), output.std((0, 2, 3, 4)).clamp_min(1e-6)
        target = START_LOGIT if layer is network.head else 0.0
        outgoing = 1 if isinstance(layer, nn.ConvTranspose3d) else 0  # axis of the weight
        layer.weight.div_(deviation.view([-1 if axis == outgoing else 1 for axis in range(5)]))
        layer.bias.copy_((layer.bias - mean) / deviation + target)
        return (output - mean.view(-1, 1, 1, 1)) / deviation.view(-1, 1, 1, 1) + target

    layers = [module for module in network.modules() if isinstance(module, nn.Conv3d | nn.ConvTranspose3d)]
    handles = [layer.register_forward_hook(standardise) for layer in layers]
    was_training = network.training
    network.eval()(intensity)
    network.train(was_training)
    for handle in handles:
        handle.remove()


def _convolutions(entering: int, width: int, count: int, config: VNetConfig) -> nn.Sequential:
    """`count` size-preserving convolutions, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for index in range(count):
        before = entering if index == 0 else width
        layers.append(nn.Conv3d(before, width, config.kernel, padding=config.kernel // 2))
        if config.normalisation == "group":
            layers.append(nn.GroupNorm(math.gcd(width, NORMALISED_GROUPS), width))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _he_initialise(module: nn.Module) -> None:
    """Draw weights as He et al. 2015 (fan in, ReLU), set biases to 0.

    A voxel after a transposed convolution of stride 2 sums over an eighth of the kernel on average; torch's
    own fan counts the wrong side of such a weight.
    """
    if not isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        return
    kernel_voxels = math.prod(module.kernel_size)
    fan_in = module.in_channels * kernel_voxels / math.prod(module.stride)
    nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
    nn.init.zeros_(module.bias)
