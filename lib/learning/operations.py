"""Multiply-accumulate operations of a network, counted layer by layer."""

from torch import nn

from lib.learning.vnet import CONVOLUTIONS, VNet


def gmac_per_voxel(network: VNet) -> float:
    """Return 1e9 multiply-accumulate operations for each voxel that a network predicts (forward pass).

    Only convolutions are counted: each weight is used once for every voxel of the layer's output (of its input, if
    it is transposed), zero padding included. Level l has 2^(-dimensions l) voxels for each voxel of the scan, whose
    size can be halved at every level. An update takes about three times as many operations.
    """
    deepest = len(network.config.channels) - 1
    parts: list[tuple[int, nn.Module]] = [*enumerate(network.encoder), (0, network.head)]
    for number, (rise, level) in enumerate(zip(network.rise, network.decoder, strict=True)):
        parts += [(deepest - number, rise), (deepest - number - 1, level)]
    operations = sum(
        layer.weight.numel() * 2.0 ** (-network.config.dimensions * level)
        for level, part in parts
        for layer in part.modules()
        if isinstance(layer, CONVOLUTIONS)
    )
    return operations / 1e9
