"""Random changes of training windows: drawn on the host, applied on the device.

A window is cut with extra slices at both ends and rotated before it is cut to its final length. What turns
into view is therefore tissue where the scan has it, and air only beyond the scan's own ends.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lib.learning.settings import require


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Keys of config `train.augment`: the largest change of each kind, and how often it is made."""

    probability: float = 0.5
    rotation_degrees: float = 15.0
    mirror_axes: tuple[str, ...] = ("y",)
    brightness: float = 0.1
    gamma: tuple[float, float] = (0.7, 1.5)
    noise_sd: float = 0.02

    def __post_init__(self) -> None:
        """Refuse values that cannot be used; make lists from YAML tuples."""
        object.__setattr__(self, "mirror_axes", tuple(self.mirror_axes))
        object.__setattr__(self, "gamma", tuple(self.gamma))
        key = "train.augment."
        require(0 <= self.probability <= 1, key + "probability", self.probability, "0 to 1")
        require(0 <= self.rotation_degrees <= 45, key + "rotation_degrees", self.rotation_degrees, "0 to 45")
        require(set(self.mirror_axes) <= set("xyz"), key + "mirror_axes", self.mirror_axes, "some of x, y, z")
        require(0 <= self.brightness < 1, key + "brightness", self.brightness, "at least 0, less than 1")
        gamma_ok = len(self.gamma) == 2 and 0 < self.gamma[0] <= self.gamma[1]
        require(gamma_ok, key + "gamma", self.gamma, "two exponents above 0, the smaller first")
        require(0 <= self.noise_sd < 1, key + "noise_sd", self.noise_sd, "at least 0, less than 1")


@dataclass(frozen=True, kw_only=True)
class Transform:
    """What is done to one window: the outcome of a draw."""

    rotation_degrees_xyz: tuple[float, float, float] = (0.0, 0.0, 0.0)
    mirrored_xyz: tuple[bool, bool, bool] = (False, False, False)
    brightness: float = 0.0
    gamma: float = 1.0
    noise_sd: float = 0.0
    noise_seed: int = 0

    @property
    def moves(self) -> bool:
        """Whether voxels change their place."""
        return any(self.rotation_degrees_xyz) or any(self.mirrored_xyz)


def draw_transform(config: AugmentConfig, generator: np.random.Generator) -> Transform:
    """Draw one transform; every call takes the same amount from `generator`, whatever `config` says."""
    happens = generator.random(7) < config.probability
    angles = generator.uniform(-1, 1, size=3) * config.rotation_degrees
    shift, strength = generator.uniform(-1, 1), generator.uniform(0, 1)
    log_gamma = generator.uniform(0, 1)
    low, high = np.log(config.gamma)
    mirrored = [bool(happens[axis]) and "xyz"[axis] in config.mirror_axes for axis in range(3)]
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
    intensity: Tensor,
    mask: Tensor,
    transforms: Sequence[Transform],
    spacings_mm_zyx: Sequence[Sequence[float]],
    slices: int,
) -> tuple[Tensor, Tensor]:
    """Apply one transform to each window of a batch, on the device the batch lies on.

    Args:
        intensity: (N, 1, slices + 2 * margin, y, x) float32 in 0...1, the windows with their margins.
        mask: the same shape, 0 or 1.
        transforms: one for each window.
        spacings_mm_zyx: the voxel spacing of each window, so that rotation is rigid in mm.
        slices: slices of the windows that are returned.

    Returns:
        Intensity and mask (both float32, the mask 0 or 1), each (N, 1, slices, y, x).
    """
    margin = (intensity.shape[2] - slices) // 2
    pair = torch.cat([intensity, mask.to(intensity.dtype)], dim=1)  # (N, 2, slices + 2 * margin, y, x)
    windows = pair[:, :, margin : margin + slices].clone()
    for index, transform in enumerate(transforms):
        if transform.moves:
            theta = _output_to_input(transform, pair.shape[2:], windows.shape[2:], spacings_mm_zyx[index])
            windows[index] = _resample(pair[index], theta, windows.shape[2:])
        windows[index, 0] = _recolour(windows[index, 0], transform)
    return windows[:, :1], (windows[:, 1:] >= 0.5).to(intensity.dtype)


def rotation_matrix(degrees_xyz: Sequence[float]) -> np.ndarray:
    """Return the 3 x 3 rotation, acting on (x, y, z), about x, then y, then z."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(np.radians(degrees_xyz)), np.cos(np.radians(degrees_xyz))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _output_to_input(
    transform: Transform,
    input_zyx: Sequence[int],
    output_zyx: Sequence[int],
    spacing_mm_zyx: Sequence[float],
) -> np.ndarray:
    """Return the 3 x 4 matrix that `affine_grid` wants: where in the input each output voxel comes from.

    Its coordinates run from -1 to 1 between the outer faces of the grid (align_corners=False), in the order
    (x, y, z); multiplied by half the extent in mm they are mm from the common centre.
    """
    spacing_mm_xyz = np.asarray(spacing_mm_zyx, float)[::-1]
    half_input_mm = np.asarray(tuple(input_zyx), float)[::-1] * spacing_mm_xyz / 2
    half_output_mm = np.asarray(tuple(output_zyx), float)[::-1] * spacing_mm_xyz / 2
    mirror = np.where(transform.mirrored_xyz, -1.0, 1.0)
    linear = (
        rotation_matrix(transform.rotation_degrees_xyz) * mirror
    )  # the mirrored picture of the rotated scan
    return np.hstack([linear * half_output_mm / half_input_mm[:, None], np.zeros((3, 1))])


def _resample(pair: Tensor, theta: np.ndarray, output_zyx: Sequence[int]) -> Tensor:
    """Sample (2, z, y, x) linearly at the output's voxels; beyond the input lies intensity 0, no mask."""
    matrix = torch.as_tensor(theta, dtype=pair.dtype).to(pair.device, non_blocking=True)[None]
    grid = functional.affine_grid(matrix, [1, 2, *output_zyx], align_corners=False)
    return functional.grid_sample(pair[None], grid, mode="bilinear", align_corners=False)[0]


def _recolour(intensity: Tensor, transform: Transform) -> Tensor:
    """Shift, bend and blur with noise the intensity (z, y, x), kept within 0...1."""
    if transform.brightness:
        intensity = (intensity + transform.brightness).clamp_(0, 1)
    if transform.gamma != 1:
        intensity = intensity.pow(transform.gamma)
    if transform.noise_sd:
        generator = torch.Generator(intensity.device).manual_seed(transform.noise_seed)
        noise = torch.randn(intensity.shape, generator=generator, device=intensity.device)
        intensity = (intensity + noise * transform.noise_sd).clamp_(0, 1)
    return intensity
