"""Effects of an MR scanner: chemical shift, blur, bias field, ghost, Rician noise, gain. Images are zyx.

Slices are coronal: y is the slice axis, z the readout and x the phase direction.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, shift

from lib.phantom.scanner.machines import MrProtocol, MrScanner
from lib.phantom.voxelize import VoxelGrid

SLOW_VESSEL, INFLOW_VESSEL = 0.3, 0.8
_HIGHEST_STORED = 4095
# the slice profile is 1.1 slices wide at half height: half of the variance that the slice's box lacks, slices squared
_PROFILE_TAIL = 0.5 * (1.1**2 / (8 * np.log(2)) - 1 / 12)
_COIL_AWAY_MM = 100.0
_BIAS = 0.12
_GHOST = 0.05


@dataclass(frozen=True, kw_only=True)
class MrDraw:
    """Properties of an acquisition.

    Shift of fat along the readout (pixels), SNR in muscle in the middle of the image, gain, signal of arteries, share
    of the ghost, direction of the coil from the middle (unit xyz), fall-off of its sensitivity (mm), and the waves of
    the remaining bias: three of (cycles in the field along x, y, z; phase).
    """

    shift_pixels: float
    snr: float
    gain: float
    artery: float
    ghost: float
    coil_xyz: np.ndarray
    fall_off_mm: float
    waves: np.ndarray


def draw_mr(rng: np.random.Generator, scanner: MrScanner, protocol: MrProtocol, variant: str) -> MrDraw:
    """Draw the properties of an acquisition; "hard" halves the SNR and adds a ghost."""
    share, snr, gain, fall_off_mm, inflow = rng.uniform((0, 0.65, 0.5, 90, 0), (1, 1.35, 1.5, 160, 1))
    angle = rng.uniform(0, 2 * np.pi)
    waves = np.concatenate([rng.uniform(-0.8, 0.8, (3, 3)), rng.uniform(0, 2 * np.pi, (3, 1))], axis=1)
    is_hard = variant == "hard"
    return MrDraw(
        shift_pixels=float(share) * protocol.water_fat_shift_pixels,
        snr=float(snr) * scanner.snr * (0.5 if is_hard else 1.0),
        gain=float(gain) * scanner.gain,
        artery=INFLOW_VESSEL if inflow > 0.5 else SLOW_VESSEL,
        ghost=_GHOST if is_hard else 0.0,
        coil_xyz=np.array([np.cos(angle), np.sin(angle), 0.0]),
        fall_off_mm=float(fall_off_mm),
        waves=waves,
    )


def shift_fat(fat: np.ndarray, pixels: float) -> np.ndarray:
    """Return the signal of fat, shifted along the readout toward the head by a number of pixels."""
    return shift(fat, (pixels, 0, 0), order=1, mode="nearest")


def blur_mr(signal: np.ndarray, grid: VoxelGrid, kernel_mm: float) -> None:
    """Blur an image in place: a Gaussian (sigma) in the slice, the tails of the slice profile across slices."""
    for axis in (0, 2):
        step_mm = grid.spacing_xyz_mm[2 - axis]
        gaussian_filter1d(signal, kernel_mm / step_mm, axis=axis, output=signal, mode="nearest")
    before, after = (np.roll(signal, step, axis=1) for step in (1, -1))
    before[:, 0], after[:, -1] = signal[:, 0], signal[:, -1]
    signal += np.float32(_PROFILE_TAIL) * (before - 2 * signal + after)


def bias_field(grid: VoxelGrid, draw: MrDraw) -> np.ndarray:
    """Return the factor on the signal, float32 zyx.

    It is the coil's sensitivity exp(-distance / fall-off), 1 in the image's middle, times slow waves of up to 12 %.
    """
    x, y, z = (grid.centers_mm(axis) - grid.centers_mm(axis).mean() for axis in range(3))
    to_coil = _COIL_AWAY_MM * draw.coil_xyz
    distance = np.sqrt(
        ((z - to_coil[2]) ** 2)[:, None, None] + ((y - to_coil[1]) ** 2)[:, None] + (x - to_coil[0]) ** 2
    )
    field = np.exp((_COIL_AWAY_MM - distance) / draw.fall_off_mm)
    half = [max(float(np.abs(axis).max()), 1.0) for axis in (x, y, z)]
    waves = sum(
        np.cos(
            np.pi * ((c * z / half[2])[:, None, None] + (b * y / half[1])[:, None] + a * x / half[0]) + phase
        )
        for a, b, c, phase in draw.waves
    )
    return (field * (1 + _BIAS / len(draw.waves) * waves)).astype(np.float32)


def add_ghost(signal: np.ndarray, share: float) -> None:
    """Add a copy of an image, shifted by half the field of view along the phase direction, in place."""
    signal += np.float32(share) * np.roll(signal, signal.shape[2] // 2, axis=2)


def with_rician_noise(signal: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return the magnitude of a signal with noise of SD `sigma` in its real and imaginary part."""
    real, imaginary = (
        np.float32(sigma) * rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2)
    )
    return np.hypot(signal + real, imaginary)


def to_stored_signal(values: np.ndarray) -> np.ndarray:
    """Return values as the scanner stores them: rounded, 12 bits, uint16."""
    return np.clip(np.rint(values), 0, _HIGHEST_STORED).astype(np.uint16)
