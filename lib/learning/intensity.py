"""From HU to the network's intensity scale."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.learning.allowed_values import require

PADDING_HU = -1024  # what lies outside of a scan; at or below every sensible `low_hu`, so intensity 0


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """Keys of config `intensity`: the HU range that is mapped linearly to 0...1."""

    low_hu: float = -1000.0
    high_hu: float = 2000.0

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        require(self.low_hu >= PADDING_HU, "intensity.low_hu", self.low_hu, f"at least {PADDING_HU}")
        require(self.high_hu > self.low_hu, "intensity.high_hu", self.high_hu, f"more than {self.low_hu}")


def to_intensity(image_hu: Tensor, config: IntensityConfig) -> Tensor:
    """Clip HU (any shape, int16) to the range of `config` and scale it to 0...1 (float32)."""
    clipped = image_hu.to(torch.float32).clamp_(config.low_hu, config.high_hu)
    return clipped.sub_(config.low_hu).div_(config.high_hu - config.low_hu)
