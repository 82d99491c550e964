"""Random changes of crops around structures: drawn on the host, applied on the device.

They move a crop and add noise. None changes the HU of a tissue, from which a density is learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.learning.augment import gaussian_noise, output_to_input, sampling_grid, to_device
from lib.regression_settings import RegressionCropConfig, RegressionTrainConfig


@dataclass(frozen=True, kw_only=True)
class CropTransform:
    """The changes of one crop, as drawn. Axes are the patient's, which are those of the array."""

    rotation_degrees_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mirrored_xyz: tuple[bool, bool, bool] = (False, False, False)
    noise_hu: float = 0.0
    noise_seed: int = 0

    def unmoved(self) -> "CropTransform":
        """Return the same mirroring and noise without rotation and shift."""
        return replace(self, rotation_degrees_xyz=(0.0, 0.0, 0.0), shift_mm_xyz=(0.0, 0.0, 0.0))

    @property
    def moves(self) -> bool:
        """Whether new voxels lie between old ones, or elsewhere."""
        return any((*self.rotation_degrees_xyz, *self.shift_mm_xyz, *self.mirrored_xyz))


def draw_crop_transform(config: RegressionTrainConfig, generator: np.random.Generator) -> CropTransform:
    """Draw one transform; every call draws equally many numbers from `generator`, whatever `config` is.

    Angles, shifts and the standard deviation of the noise are uniform up to their largest values; each mirror axis is
    mirrored half of the time.
    """
    angles = generator.uniform(-1, 1, size=3) * config.rotation_degrees
    shifts = generator.uniform(-1, 1, size=3) * config.shift_mm
    mirrored = generator.random(3) < 0.5
    strength = generator.uniform(0, 1)
    return CropTransform(
        rotation_degrees_xyz=tuple(float(angle) for angle in angles),
        shift_mm_xyz=tuple(float(shift) for shift in shifts),
        mirrored_xyz=tuple(
            bool(turned) and axis in config.mirror_axes for axis, turned in zip("xyz", mirrored, strict=True)
        ),
        noise_hu=float(strength * config.noise_hu),
        noise_seed=int(generator.integers(2**62)),
    )


def apply_crop_transforms(
    image: Tensor, mask: Tensor, transforms: Sequence[CropTransform], voxel_mm: float
) -> tuple[Tensor, Tensor]:
    """Apply one transform to each crop of a batch, on the batch's device.

    Crops that move are sampled linearly, the mask too, and it is cut at one half; beyond the crop lie the values of
    its border.

    Args:
        image: (N, 1, z, y, x) int16, HU.
        mask: the same shape, 0 or 1.
        transforms: one for each crop.
        voxel_mm: edge of the voxels, mm.

    Returns:
        HU and mask, each (N, 1, z, y, x) float32.
    """
    pairs = torch.cat([image.float(), mask.float()], dim=1)
    if any(transform.moves for transform in transforms):
        pairs = functional.grid_sample(
            pairs, _places(transforms, pairs, voxel_mm), padding_mode="border", align_corners=False
        )
    hu, mask = pairs.split(1, dim=1)
    drawn = [(transform.noise_hu, transform.noise_seed) for transform in transforms]
    return hu + gaussian_noise(hu, drawn), (mask >= 0.5).float()


def network_input(hu: Tensor, mask: Tensor, crop: RegressionCropConfig) -> Tensor:
    """Return what a network sees of crops: HU clipped to the fixed range and scaled to 0...1, and the mask if wanted.

    Args:
        hu: (N, 1, z, y, x) float32.
        mask: the same shape, 0 or 1.
        crop: settings of the crops.

    Returns:
        (N, channels, z, y, x) float32.
    """
    scaled = (hu.clamp(crop.low_hu, crop.high_hu) - crop.low_hu) / (crop.high_hu - crop.low_hu)
    return torch.cat([scaled, mask], dim=1) if crop.mask_channel else scaled


def _places(transforms: Sequence[CropTransform], pairs: Tensor, voxel_mm: float) -> Tensor:
    """Return for each voxel of the moved crops its place in the crops as they are (n, z, y, x, 3)."""
    size_zyx = pairs.shape[2:]
    spacing = (voxel_mm,) * 3
    matrices = np.stack([output_to_input(turn, size_zyx, size_zyx, spacing) for turn in transforms])
    half_mm_xyz = np.asarray(tuple(size_zyx), float)[::-1] * voxel_mm / 2
    shifts = np.asarray([transform.shift_mm_xyz for transform in transforms]) / half_mm_xyz
    return sampling_grid(matrices, size_zyx, pairs) + to_device(shifts, pairs)[:, None, None, None]
