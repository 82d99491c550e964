"""Random changes of training windows: drawn on the host, applied on the device.

A window is cut with extra slices at both ends and rotated before it is cut to its final length. Its corners
therefore hold tissue where the scan has tissue, and air only beyond the ends of the scan.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.learning.intensity import windows_to_intensity
from lib.learning.scan_store import StoredScan
from lib.learning.train_settings import AugmentConfig
from lib.rotations import rotation_matrix


@dataclass(frozen=True, kw_only=True)
class Transform:
    """The changes of one window, as drawn."""

    rotation_degrees_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mirrored_xyz: tuple[bool, bool, bool] = (False, False, False)
    brightness: float = 0.0
    gamma: float = 1.0
    noise_sd: float = 0.0
    noise_seed: int = 0

    def within_slices(self) -> "Transform":
        """Return the transform without the rotations that mix slices: what a 2-D network sees of it."""
        return replace(self, rotation_degrees_xyz=(0.0, 0.0, self.rotation_degrees_xyz[2]))

    @property
    def rotates(self) -> bool:
        """Whether new voxels lie between old ones; mirroring alone only reorders them."""
        return any(self.rotation_degrees_xyz)


def draw_transform(
    config: AugmentConfig, generator: np.random.Generator, axes: Sequence[str] = ("z", "y", "x")
) -> Transform:
    """Draw one transform; every call draws equally many numbers from `generator`, whatever `config` is.

    Args:
        config: the changes; its mirror axes are those of the patient.
        generator: of random numbers.
        axes: patient axes of the windows (z, y, x of a Transform are those of the array).
    """
    happens = generator.random(7) < config.probability
    angles = generator.uniform(-1, 1, size=3) * config.rotation_degrees
    shift, strength = generator.uniform(-1, 1), generator.uniform(0, 1)
    log_gamma = generator.uniform(0, 1)
    low, high = np.log(config.gamma)
    mirrored = [bool(happens[place]) and axes[-1 - place] in config.mirror_axes for place in range(3)]
    return Transform(
        rotation_degrees_xyz=tuple(float(angle) for angle in angles) if happens[3] else (0.0, 0.0, 0.0),
        mirrored_xyz=tuple(mirrored),
        brightness=float(shift * config.brightness) if happens[4] else 0.0,
        gamma=float(np.exp(low + log_gamma * (high - low))) if happens[5] else 1.0,
        noise_sd=float(strength * config.noise_sd) if happens[6] else 0.0,
        noise_seed=int(generator.integers(2**62)),
    )


def margin_slices(config: AugmentConfig, size_zyx: Sequence[int], spacing_mm_zyx: Sequence[float]) -> int:
    """Return how many slices beyond a window (size (z, y, x)) its corners can reach when it is rotated."""
    sine = math.sin(math.radians(config.rotation_degrees))
    half_y_mm, half_x_mm = (size_zyx[axis] * spacing_mm_zyx[axis] / 2 for axis in (1, 2))
    return math.ceil(sine * (half_y_mm + half_x_mm) / spacing_mm_zyx[0])


def apply_transforms(
    image: Tensor,
    labels: Tensor,
    transforms: Sequence[Transform],
    scans: Sequence[StoredScan],
    slices: int,
    structures: int,
) -> tuple[Tensor, Tensor]:
    """Apply one transform to each window of a batch, on the batch's device, without waiting for that device.

    The result for a window does not depend on the other windows of its batch. Only rotated windows are resampled: the
    image linearly; the mask of one structure linearly too, and cut at one half; several labels by nearest neighbour.

    Args:
        image: (N, 1, slices + 2 * margin, y, x) int16, the windows with their margins.
        labels: the same shape, 0...structures.
        transforms: one for each window.
        scans: the scan of each window: its voxel spacing, so that rotation is rigid in mm, and its intensity range.
        slices: slices of the windows that are returned.
        structures: the highest label.

    Returns:
        Intensity in 0...1 and labels, each (N, 1, slices, y, x) float32.
    """
    size_zyx = (slices, *image.shape[3:])
    rotated = [row for row, transform in enumerate(transforms) if transform.rotates]
    upright = [row for row, transform in enumerate(transforms) if not transform.rotates]
    pairs: dict[int, Tensor] = {}  # of each row: intensity and labels (2, slices, y, x)
    if rotated:
        with_margins = _pairs(
            *([batch[row] for row in rotated] for batch in (image, labels)), [scans[row] for row in rotated]
        )
        matrices = [
            output_to_input(transforms[row], image.shape[2:], size_zyx, scans[row].spacing_mm_zyx)
            for row in rotated
        ]
        resampled = _resample(with_margins, np.stack(matrices), size_zyx, structures)
        pairs |= zip(rotated, resampled, strict=True)
    if upright:
        cut = [[_cut(batch[row], transforms[row], slices) for row in upright] for batch in (image, labels)]
        pairs |= zip(upright, _pairs(*cut, [scans[row] for row in upright]), strict=True)
    windows = torch.stack([pairs[row] for row in range(len(transforms))])
    chosen = (windows[:, 1:] >= 0.5).to(windows.dtype) if structures == 1 else windows[:, 1:]
    return _recolour(windows[:, :1], transforms), chosen


def _pairs(images: Sequence[Tensor], labels: Sequence[Tensor], scans: Sequence[StoredScan]) -> Tensor:
    """Return windows, each (1, z, y, x), as one batch of intensity and labels, (n, 2, z, y, x) float32."""
    intensity = windows_to_intensity(torch.stack(images), [scan.intensity for scan in scans])
    return torch.cat([intensity, torch.stack(labels).to(intensity.dtype)], dim=1)


def _cut(window: Tensor, transform: Transform, slices: int) -> Tensor:
    """Cut the margins off a window (1, z, y, x) that is not rotated, and mirror it."""
    margin = (window.shape[1] - slices) // 2
    axes = [-1 - axis for axis, mirrored in enumerate(transform.mirrored_xyz) if mirrored]
    return window[:, margin : margin + slices].flip(axes)


class Turn(Protocol):
    """A rotation and mirroring of an image."""

    rotation_degrees_xyz: tuple[float, float, float]
    mirrored_xyz: tuple[bool, bool, bool]


def output_to_input(
    transform: Turn,
    input_zyx: Sequence[int],
    output_zyx: Sequence[int],
    spacing_mm_zyx: Sequence[float],
) -> np.ndarray:
    """Return the 3 x 3 matrix that maps each output voxel to its place in the input.

    Its coordinates are those of `grid_sample` with align_corners=False: from -1 to 1 between the outer faces
    of the grid, in the order (x, y, z). Multiplied by half the extent in mm they are mm from the common centre.
    """
    spacing_mm_xyz = np.asarray(spacing_mm_zyx, float)[::-1]
    half_input_mm = np.asarray(tuple(input_zyx), float)[::-1] * spacing_mm_xyz / 2
    half_output_mm = np.asarray(tuple(output_zyx), float)[::-1] * spacing_mm_xyz / 2
    mirror = np.where(transform.mirrored_xyz, -1.0, 1.0)
    # columns times `mirror`: the mirrored picture of the rotated scan
    linear = rotation_matrix(transform.rotation_degrees_xyz) * mirror
    return linear * half_output_mm / half_input_mm[:, None]


def _resample(pairs: Tensor, matrices: np.ndarray, output_zyx: Sequence[int], structures: int) -> Tensor:
    """Sample (n, 2, z, y, x) at the points of `matrices` (n, 3, 3); outside are intensity 0 and background.

    The labels of several structures are those of the nearest voxel; everything else is linear.
    """
    grid = sampling_grid(matrices, output_zyx, pairs)
    if structures == 1:
        return functional.grid_sample(pairs, grid, mode="bilinear", align_corners=False)
    sampled = [
        functional.grid_sample(part, grid, mode=mode, align_corners=False)
        for part, mode in zip(pairs.split(1, dim=1), ("bilinear", "nearest"), strict=True)
    ]
    return torch.cat(sampled, dim=1)


def sampling_grid(matrices: np.ndarray, output_zyx: Sequence[int], like: Tensor) -> Tensor:
    """Return the places (n, z, y, x, 3) of the output's voxels in the input, for matrices of `output_to_input`.

    It is a sum of three ramps. `affine_grid` uses a matrix product, which is 20 times slower on a CPU and whose
    precision depends on the settings for such products.
    """
    z, y, x = ((torch.arange(n, device=like.device) * 2 + 1) / n - 1 for n in output_zyx)
    columns = to_device(matrices, like)[:, None, None, None]  # (n, 1, 1, 1, 3, 3)
    ramps = (x[:, None], y[:, None, None], z[:, None, None, None])
    return sum(columns[..., axis] * ramp for axis, ramp in enumerate(ramps))


def _recolour(intensity: Tensor, transforms: Sequence[Transform]) -> Tensor:
    """Shift, bend and add noise to the intensity (N, 1, z, y, x), kept within 0...1."""
    if any(transform.brightness for transform in transforms):
        shift = _for_each_window([transform.brightness for transform in transforms], intensity)
        intensity = (intensity + shift).clamp_(0, 1)
    if any(transform.gamma != 1 for transform in transforms):
        gamma = _for_each_window([transform.gamma for transform in transforms], intensity)
        # with exponent 1, pow may still round
        intensity = torch.where(gamma == 1, intensity, intensity.pow(gamma))
    if any(transform.noise_sd for transform in transforms):
        drawn = [(transform.noise_sd, transform.noise_seed) for transform in transforms]
        intensity = (intensity + gaussian_noise(intensity, drawn)).clamp_(0, 1)
    return intensity


def gaussian_noise(like: Tensor, drawn: Sequence[tuple[float, int]]) -> Tensor:
    """Return normal noise of the shape of `like` (N, 1, z, y, x), for a standard deviation and a seed a sample."""
    noise = torch.zeros_like(like)
    for sample, (deviation, seed) in zip(noise, drawn, strict=True):
        if deviation:
            generator = torch.Generator(like.device).manual_seed(seed)
            sample.normal_(std=deviation, generator=generator)
    return noise


def _for_each_window(values: Sequence[float], batch: Tensor) -> Tensor:
    """Return one value for each window of `batch`, (N, 1, 1, 1, 1)."""
    return to_device(np.asarray(values), batch).reshape(-1, 1, 1, 1, 1)


def to_device(values: np.ndarray, like: Tensor) -> Tensor:
    """Return `values` in the type of `like` and on its device, without waiting for that device."""
    return torch.as_tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)
