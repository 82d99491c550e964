"""From the values of scans to the network's intensity scale."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lib.intensity_scale import IntensityRange


def to_intensity(image: Tensor, scale: IntensityRange) -> Tensor:
    """Clip values (any shape, int16) to a scan's range and scale them to 0...1 (float32)."""
    clipped = image.to(torch.float32).clamp_(scale.low, scale.high)
    return clipped.sub_(scale.low).div_(scale.high - scale.low)


def windows_to_intensity(windows: Tensor, scales: Sequence[IntensityRange]) -> Tensor:
    """Do what `to_intensity` does for windows (N, ...) of N scans, each with the range of its scan."""
    if len(set(scales)) == 1:
        return to_intensity(windows, scales[0])
    return torch.stack([to_intensity(*pair) for pair in zip(windows, scales, strict=True)])
