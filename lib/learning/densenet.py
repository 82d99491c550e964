"""DenseNets of MONAI that are reproducible bit for bit, and read volumes in 3-D or slice by slice.

Huang et al. 2017 (Densely connected convolutional networks, CVPR), as `monai.networks.nets.DenseNet` builds them.
Three of its pools have no deterministic gradient on CUDA in 3-D: the maximum after the first convolution, the means
of pairs of voxels in the transitions, and the adaptive mean at the end. They hold no weights; here they are replaced
by others with the same values. Importing MONAI takes more than a second, so only what needs a DenseNet may import
this module.
"""

import math

import torch
from monai.networks.nets.densenet import DenseNet
from torch import Tensor, nn
from torch.nn import functional

from lib.regression_settings import DenseNetConfig


class WindowMaximum(nn.Module):
    """The maximum over windows of 3 voxels along each axis, every 2 voxels, the border padded: max-pool 3/2/1."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C, ...) with each size halved and rounded up."""
        axes = range(2, features.ndim)
        features = functional.pad(features, (1, 1) * len(axes), value=-math.inf)
        for axis in axes:
            features = features.unfold(axis, 3, 2).amax(-1)
        return features


class PairMean(nn.Module):
    """The mean over windows of 2 voxels along each axis, without overlap; a last odd voxel is left out."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C, ...) with each size halved and rounded down."""
        for axis, size in enumerate(features.shape[2:], start=2):
            features = features.narrow(axis, 0, size - size % 2)
        sizes = [part for size in features.shape[2:] for part in (size // 2, 2)]
        pairs = features.reshape(*features.shape[:2], *sizes)
        return pairs.mean(tuple(range(3, pairs.ndim, 2)))


class SpatialMean(nn.Module):
    """The mean over all voxels."""

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, C, 1, ...)."""
        return features.mean(tuple(range(2, features.ndim)), keepdim=True)


class CropDenseNet(DenseNet):
    """MONAI's DenseNet with one output; its weights have MONAI's names, shapes and meaning.

    The output layer starts at 0: a network that was not trained returns 0, the mean of the standardised targets,
    whatever it sees. Random weights there would make of the image's mean value, which every feature follows, an
    output that correlates with the density by chance.
    """

    def __init__(self, config: DenseNetConfig, channels: int) -> None:
        """Build a new network for crops with so many channels."""
        super().__init__(
            spatial_dims=config.dimensions,
            in_channels=channels,
            out_channels=1,
            init_features=config.initial_maps,
            growth_rate=config.growth,
            block_config=tuple(config.blocks),
            bn_size=config.bottleneck,
        )
        self.config, self.channels = config, channels
        self.features.pool0 = WindowMaximum()
        for number in range(1, len(config.blocks)):
            self.features.get_submodule(f"transition{number}").pool = PairMean()
        self.class_layers.pool = SpatialMean()
        nn.init.zeros_(self.class_layers.out.weight)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the standardised value (N,) of crops (N, C, z, y, x); in 2-D the mean over slices."""
        if self.config.dimensions == 3:
            return super().forward(crops)[:, 0]
        slices = crops.movedim(2, 1)  # (N, z, C, y, x)
        return super().forward(slices.flatten(0, 1)).view(slices.shape[:2]).mean(1)


def gmac_per_crop_voxel(network: CropDenseNet, size_zyx: tuple[int, ...]) -> float:
    """Return 1e9 multiply-accumulate operations for each voxel of a crop of this size (forward pass).

    Convolutions and the last layer are counted, zero padding included, layer by layer from the sizes of their
    outputs.
    """
    operations = []

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        operations.append(layer.weight.numel() * output[:, :1].numel())

    counted = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in counted]
    device, was_training = next(network.parameters()).device, network.training
    with torch.no_grad():
        network.eval()(torch.zeros((1, network.channels, *size_zyx), device=device))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return sum(operations) / math.prod(size_zyx) / 1e9
