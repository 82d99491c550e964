"""The network: an encoder and decoder after Zhao et al. 2020 and its relatives, logits out.

With the default configuration (the preset `paper`) it is a 3-D V-Net of 8,601,409 parameters. Shapes below are
for an input of 32 x 192 x 192 voxels and that preset.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.learning.architecture import VNetConfig
from lib.learning.layers import Convolution, GroupNorm, InstanceNorm, TransposedConvolution

NORMALISED_GROUPS = 8  # of channels, at most
START_LOGIT = -2.0  # of a new network: a probability of 0.12, about the share of bone in a window


class VNet(nn.Module):
    """Encoder with max-pooling, decoder with transposed convolutions, skips between them."""

    def __init__(self, config: VNetConfig) -> None:
        super().__init__()
        self.config = config
        kinds = _KINDS[config.dimensions]
        widths = config.channels
        dilations = [1] * (len(widths) - 1) + [config.bottleneck_dilation]
        self.encoder = nn.ModuleList(
            _level(before, width, count, config, dilation)
            for before, width, count, dilation in zip(
                (1, *widths[:-1]), widths, config.encoder_convolutions, dilations, strict=True
            )
        )
        upper = widths[-2::-1]  # widths of the decoder's levels, deepest first
        edge = config.transposed_kernel
        self.rise = nn.ModuleList(
            kinds.transposed(deeper, width, edge, stride=2, padding=(edge - 1) // 2, output_padding=edge % 2)
            for deeper, width in zip(widths[:0:-1], upper, strict=True)
        )
        joined = 2 if config.skip == "concat" else 1
        self.decoder = nn.ModuleList(
            _level(joined * width, width, count, config)
            for width, count in zip(upper, config.decoder_convolutions, strict=True)
        )
        self.dropout = kinds.dropout(config.dropout)
        self.head = kinds.convolution(widths[0], config.maps, kernel_size=1)
        self.apply(_he_initialise)

    def forward(self, intensity: Tensor) -> Tensor:
        """Return logits (N, maps, z, y, x) for intensities (N, 1, z, y, x) of any size."""
        if self.config.dimensions == 3:
            return self._logits(intensity)
        slices = intensity.transpose(1, 2).flatten(0, 1)  # (N * z, 1, y, x)
        logits = self._logits(slices).unflatten(0, (intensity.shape[0], intensity.shape[2]))
        return logits.transpose(1, 2)

    def _logits(self, intensity: Tensor) -> Tensor:
        """Return logits (N, maps, ...) for intensities (N, 1, ...) with as many axes as the network has."""
        x = self._pad(intensity)  # (N, 1, 32, 192, 192)
        skips = []
        for level in self.encoder[:-1]:
            skips.append(level(x))  # (N, 32, 32, 192, 192), (N, 64, 16, 96, 96), (N, 128, 8, 48, 48)
            x = halve(skips[-1])
        x = self.encoder[-1](x)  # (N, 256, 4, 24, 24)
        for rise, level in zip(self.rise, self.decoder, strict=True):
            x = level(self._join(rise(x), skips.pop()))  # back up to (N, 32, 32, 192, 192)
        logits = self.head(self.dropout(x))
        return logits[(..., *(slice(size) for size in intensity.shape[2:]))]

    def _join(self, risen: Tensor, skipped: Tensor) -> Tensor:
        return torch.cat([risen, skipped], dim=1) if self.config.skip == "concat" else risen.add_(skipped)

    def _pad(self, intensity: Tensor) -> Tensor:
        """Pad the far ends with intensity 0 (air) to sizes that can be halved at every level."""
        step = 2 ** (len(self.config.channels) - 1)
        missing = [-size % step for size in intensity.shape[2:]]
        if not any(missing):
            return intensity
        return functional.pad(intensity, [pad for size in reversed(missing) for pad in (0, size)])


def halve(features: Tensor) -> Tensor:
    """Max-pool by 2 along z, y and x, or y and x, of (N, C, ...); sizes must be even.

    The backward pass of max-pooling adds atomically on CUDA and so differs from run to run; that of `amax`
    over a reshaped view does not. Elsewhere max-pooling is both deterministic and faster. Autocast would run it
    in float32 on the CPU, at several times the cost.
    """
    if features.is_cuda and features.requires_grad:
        return halve_by_amax(features)
    pool = functional.max_pool2d if features.ndim == 4 else functional.max_pool3d
    with torch.autocast(features.device.type, enabled=False):
        return pool(features, 2)


def halve_by_amax(features: Tensor) -> Tensor:
    """Max-pool by 2 as `halve` does, with a deterministic gradient on every device.

    It leaves the channels-last layout; the next convolution converts back an eighth of the voxels.
    """
    maps, sizes = features.shape[:2], features.shape[2:]
    pairs = features.reshape(*maps, *(part for size in sizes for part in (size // 2, 2)))
    return pairs.amax(tuple(range(3, pairs.ndim, 2)))


@torch.no_grad()
def initialise_on(network: VNet, intensity: Tensor) -> None:
    """Scale and shift every layer of a new network so that its outputs on `intensity` (N, 1, z, y, x) are standard.

    Layer by layer, each channel of a convolution's output gets mean 0 and standard deviation 1, the logits of
    bone a mean of START_LOGIT (few voxels are bone). It does once what batch normalisation does in every update
    (Kraehenbuehl et al. 2016, Mishkin and Matas 2016). Without it, and without normalisation, the mean of an
    image (never 0) grows through the layers, and soft Dice soon settles on "everything is bone".
    """
    classes, maps = network.config.classes, network.config.maps
    first_logits = torch.tensor([0.0] * (maps - classes) + [START_LOGIT] * classes, device=intensity.device)

    def standardise(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        over = [axis for axis in range(output.ndim) if axis != 1]
        mean, deviation = output.mean(over), output.std(over).clamp_min(1e-6)
        target = first_logits if layer is network.head else torch.zeros_like(mean)
        outgoing = 1 if isinstance(layer, _TRANSPOSED) else 0  # axis of the weight
        layer.weight.div_(_along(outgoing, deviation, output.ndim))
        layer.bias.copy_((layer.bias - mean) / deviation + target)
        mean, deviation, target = (_along(1, values, output.ndim) for values in (mean, deviation, target))
        return output.sub_(mean).div_(deviation).add_(target)

    layers = [module for module in network.modules() if isinstance(module, CONVOLUTIONS)]
    handles = [layer.register_forward_hook(standardise) for layer in layers]
    was_training = network.training
    network.eval()(intensity)
    network.train(was_training)
    for handle in handles:
        handle.remove()


def _along(axis: int, values: Tensor, axes: int) -> Tensor:
    """Return a vector as a tensor of `axes` axes, along one of them."""
    return values.view([-1 if other == axis else 1 for other in range(axes)])


class _Residual(nn.Module):
    """Convolutions with a shortcut from their input; the sum is activated (Milletari et al. 2016)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps (N, width, ...) for (N, entering, ...)."""
        return self.activation(self.body(x).add_(self.shortcut(x)))


class _Kinds(NamedTuple):
    """Layers for one number of dimensions."""

    convolution: type[nn.Module]
    transposed: type[nn.Module]
    dropout: type[nn.Module]
    batch_norm: type[nn.Module]


_KINDS = {
    2: _Kinds(nn.Conv2d, nn.ConvTranspose2d, nn.Dropout2d, nn.BatchNorm2d),
    3: _Kinds(Convolution, TransposedConvolution, nn.Dropout3d, nn.BatchNorm3d),
}
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, *_TRANSPOSED)
_ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU}


def _level(entering: int, width: int, count: int, config: VNetConfig, dilation: int = 1) -> nn.Module:
    """Return `count` size-preserving convolutions, each normalised and activated, with their shortcut if any."""
    layers: list[nn.Module] = []
    for before in (entering, *[width] * (count - 1)):
        layers.append(_convolution(before, width, config.kernel, dilation, config.dimensions))
        layers += _normalisation(width, config)
        layers.append(_ACTIVATIONS[config.activation](inplace=True))
    if not config.residual:
        return nn.Sequential(*layers)
    same = entering == width
    shortcut = nn.Identity() if same else _convolution(entering, width, 1, 1, config.dimensions)
    return _Residual(nn.Sequential(*layers[:-1]), shortcut, layers[-1])


def _convolution(entering: int, width: int, kernel: int, dilation: int, dimensions: int) -> nn.Module:
    return _KINDS[dimensions].convolution(
        entering, width, kernel, padding=dilation * (kernel // 2), dilation=dilation
    )


def _normalisation(width: int, config: VNetConfig) -> list[nn.Module]:
    """Return the normalisation of `width` feature maps: a layer or none."""
    if config.normalisation == "none":
        return []
    if config.normalisation == "batch":
        return [_KINDS[config.dimensions].batch_norm(width)]
    if config.normalisation == "instance":
        return [InstanceNorm(width)]
    return [GroupNorm(math.gcd(width, NORMALISED_GROUPS), width)]


def _he_initialise(module: nn.Module) -> None:
    """Draw weights as He et al. 2015 (fan in, ReLU), set biases to 0.

    A voxel after a transposed convolution of stride 2 sums over an eighth of the kernel on average (in 2-D a
    quarter); torch's own fan counts the wrong side of such a weight.
    """
    if not isinstance(module, CONVOLUTIONS):
        return
    kernel_voxels = math.prod(module.kernel_size)
    fan_in = module.in_channels * kernel_voxels / math.prod(module.stride)
    nn.init.normal_(module.weight, std=math.sqrt(2 / fan_in))
    nn.init.zeros_(module.bias)
