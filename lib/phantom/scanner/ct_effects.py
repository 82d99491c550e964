"""Effects of a CT scanner: table and density phantom, blur, beam hardening, streaks, coloured noise, metal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter1d

from lib.phantom.scanner.machines import USUAL_NOISE_HU, CtScanner
from lib.phantom.voxelize import VoxelGrid

LOW_HU, HIGH_HU = -1024, 3071
AIR_HU, METAL_HU, CEMENT_HU = -1000.0, 9000.0, 1700.0
DENSITY_RODS_HU = (-71.0, -29.0, 198.0, 371.0, 525.0)
"""What the rods of the usual density phantom show at 120 kV."""

# widens the 2 mm box of a slice to a FWHM of about 2.1 mm, with tails into its neighbours
_SLICE_SIGMA_MM = 0.4

_PHANTOM_HALF_WIDTH_MM, _PHANTOM_THICKNESS_MM, _PHANTOM_BODY_HU = 92.0, 27.0, 25.0
_PAD_MM, _FOAM_HU, _CARBON_HU, _TABLE_FOAM_HU = 4.0, -930.0, 120.0, -880.0
_TABLE_HALF_WIDTH_MM, _TABLE_RADIUS_MM, _TABLE_THICKNESS_MM, _CARBON_MM = 210.0, 520.0, 24.0, 2.0


@dataclass(frozen=True, kw_only=True)
class LyingRods:
    """A density phantom beneath the body: its rods (HU before the scanner's line) in the order of x, sizes in mm.

    `shift_mm` moves the phantom to the patient's left.
    """

    hu: Sequence[float] = DENSITY_RODS_HU
    radius_mm: float = 9.0
    distance_mm: float = 32.0
    shift_mm: float = 0.0

    def places_mm(self) -> list[float]:
        """Return where the rods' centres lie along x, from the middle of the body."""
        return [self.shift_mm + (k - (len(self.hu) - 1) / 2) * self.distance_mm for k in range(len(self.hu))]


USUAL_RODS = LyingRods()


@dataclass(frozen=True, kw_only=True)
class CtDraw:
    """Properties of an acquisition, HU: noise SD at the body's centre, dark band between two bones, streaks."""

    noise_hu: float
    hardening_hu: float
    streak_hu: float


def draw_ct(rng: np.random.Generator, scanner: CtScanner, variant: str) -> CtDraw:
    """Draw noise (within 35 % of the scanner's), beam hardening and streaks, HU; "hard" doubles noise and streaks."""
    noise, hardening, streak = rng.uniform((12, 10, 2), (25, 30, 5))
    factor = 2.0 if variant == "hard" else 1.0
    return CtDraw(
        noise_hu=float(noise) * factor * (scanner.noise_hu / USUAL_NOISE_HU),
        hardening_hu=float(hardening),
        streak_hu=float(streak) * factor,
    )


def image_hardware(
    grid: VoxelGrid,
    middle_mm: float,
    back_mm: float,
    rods: LyingRods | None = USUAL_RODS,
    air_hu: float = AIR_HU,
) -> np.ndarray:
    """Return HU (y, x) outside the body, equal in all slices: air, density phantom, pad, table.

    These are HU before `calibrated`, which changes the whole image: the scanner shows rods and bone by one line.
    Without the phantom the pad takes its place.

    Args:
        grid: The image's grid.
        middle_mm: Where the density phantom is centred (LPS x).
        back_mm: Height of the person's back (LPS y).
        rods: The density phantom; None: there is none.
        air_hu: HU of air.
    """
    x = (grid.centers_mm(0) - middle_mm)[None, :]
    y = (grid.centers_mm(1) - back_mm - _PAD_MM)[:, None]
    pixel_mm = grid.spacing_xyz_mm[0]
    hu = np.full(grid.shape_zyx[1:], air_hu)
    edge_rise_mm = _PHANTOM_HALF_WIDTH_MM**2 / (2 * _TABLE_RADIUS_MM)
    below_table = y - _PHANTOM_THICKNESS_MM - edge_rise_mm - 1.0 + x**2 / (2 * _TABLE_RADIUS_MM)
    across = _TABLE_HALF_WIDTH_MM - np.abs(x)
    inside_table = np.minimum(np.minimum(below_table, _TABLE_THICKNESS_MM - below_table), across)
    inside_pad = np.minimum(np.minimum(y + _PAD_MM, -below_table), across - 40)
    for inside_mm, part_hu in (
        (inside_pad, _FOAM_HU),
        (inside_table, _CARBON_HU),
        (inside_table - _CARBON_MM, _TABLE_FOAM_HU),
        *(_phantom_parts(x, y, rods) if rods else ()),
    ):
        hu += np.clip(0.5 + inside_mm / pixel_mm, 0, 1) * (part_hu - hu)
    return hu.astype(np.float32)


def rods_back_mm(back_mm: float) -> float:
    """Return the height of the rods' centres (LPS y) beneath a back."""
    return back_mm + _PAD_MM + _PHANTOM_THICKNESS_MM / 2


def _phantom_parts(x: np.ndarray, y: np.ndarray, rods: LyingRods) -> Iterator[tuple[np.ndarray, float]]:
    """Yield depth (mm) within the body of a density phantom and within its rods, and the HU of each."""
    half = _PHANTOM_THICKNESS_MM / 2
    aside = np.abs(x - rods.shift_mm) - _PHANTOM_HALF_WIDTH_MM + half
    yield half - np.hypot(np.clip(aside, 0, None), y - half), _PHANTOM_BODY_HU
    for place_mm, rod_hu in zip(rods.places_mm(), rods.hu, strict=True):
        yield rods.radius_mm - np.hypot(x - place_mm, y - half), rod_hu


def blur(hu: np.ndarray, grid: VoxelGrid, kernel_mm: float) -> None:
    """Blur an image zyx in place, by a kernel (sigma) in plane and by the tails of the slice profile along z."""
    for axis, sigma_mm in ((0, _SLICE_SIGMA_MM), (1, kernel_mm), (2, kernel_mm)):
        step_mm = grid.spacing_xyz_mm[2 - axis]
        if axis == 0:
            _blur_along_z(hu, 0.5 * (sigma_mm / step_mm) ** 2)
        else:
            gaussian_filter1d(hu, sigma_mm / step_mm, axis=axis, output=hu, mode="nearest", truncate=3.5)


@dataclass(frozen=True, kw_only=True)
class CtField:
    """What artefacts depend on: the grid, the reconstruction kernel (sigma), two dense places (LPS mm) or none."""

    grid: VoxelGrid
    kernel_mm: float
    dense_xyz_mm: tuple[np.ndarray, np.ndarray] | None


def add_artefacts(
    hu: np.ndarray, body: np.ndarray, field: CtField, draw: CtDraw, rng: np.random.Generator
) -> None:
    """Add beam hardening between dense places, lateral streaks and noise to an image zyx, in place, by slices."""
    grid = field.grid
    if field.dense_xyz_mm is None:
        band_yx, along_z = np.zeros(grid.shape_zyx[1:], np.float32), np.zeros(grid.size_xyz[2], np.float32)
    else:
        band_yx, along_z = _hardening(grid, field.dense_xyz_mm)
    spectrum = noise_filter(grid, field.kernel_mm)
    sd_yx = _noise_profile(grid)
    for k in range(len(hu)):
        added = -draw.hardening_hu * along_z[k] * band_yx
        added += draw.streak_hu * (0.25 + along_z[k]) * _streaks(grid, rng)
        # rays that miss the body have little noise
        added *= body[k]
        added += draw.noise_hu * (0.3 + 0.7 * body[k]) * sd_yx * _noise(spectrum, rng)
        hu[k] += added


def noise_filter(grid: VoxelGrid, kernel_mm: float) -> np.ndarray:
    """Return the factor that turns the Fourier transform of white noise into that of filtered back-projection noise.

    Power is proportional to f * MTF**2 (ramp and soft kernel), MTF = exp(-2 (pi sigma f)**2); it peaks at
    1 / (2 pi sigma sqrt 2). The scale gives unit SD if the pixels resolve the spectrum; larger pixels average some of
    the noise out.

    Args:
        grid: The image's grid.
        kernel_mm: The kernel's sigma.
    """
    step_mm = grid.spacing_xyz_mm[0]
    n_x, n_y = grid.size_xyz[:2]
    f = np.hypot(np.fft.fftfreq(n_y, step_mm)[:, None], np.fft.rfftfreq(n_x, step_mm)[None, :])
    a = (2 * np.pi * kernel_mm) ** 2
    power = f * np.exp(-a * f**2)
    # integral of f exp(-a f^2) over the plane = 2 pi sqrt(pi) / (4 a^1.5)
    whole = 2 * np.pi * np.sqrt(np.pi) / (4 * a**1.5)
    return np.sqrt(power / whole).astype(np.float32) / np.float32(step_mm)


def calibrated(hu: np.ndarray, scanner: CtScanner, years: float, order: int = 0) -> np.ndarray:
    """Return HU as a scanner shows them: gain about water, which drifts, and offset.

    The scan is made `years` after the scanner's calibration and is the `order`-th on it, see `CtScanner.gain`.
    """
    return scanner.gain(years, order) * hu + scanner.offset_hu


def to_stored_hu(hu: np.ndarray) -> np.ndarray:
    """Return HU as the scanner stores it: rounded, 12 bits from -1024, int16."""
    return np.clip(np.rint(hu), LOW_HU, HIGH_HU).astype(np.int16)


def add_metal_streaks(hu: np.ndarray, metal: np.ndarray, grid: VoxelGrid, rng: np.random.Generator) -> None:
    """Add dark and bright streaks around the metal of each slice (share per voxel, zyx), in place."""
    phase = rng.uniform(0, 2 * np.pi, 3)
    x, y = grid.centers_mm(0)[None, :], grid.centers_mm(1)[:, None]
    for k in np.flatnonzero(metal.any(axis=(1, 2))):
        rows, columns = np.nonzero(metal[k] > 0.1)
        if len(rows) == 0:
            continue
        dx, dy = x - x[0, columns].mean(), y - y[rows, 0].mean()
        angle = np.arctan2(dy, dx)
        rays = sum(np.cos(n * angle + p) for n, p in zip((2, 9, 17), phase, strict=True))
        hu[k] += (1 - metal[k]) * 260 * rays / (1 + np.hypot(dx, dy) / 14)


def _blur_along_z(hu: np.ndarray, tail: float) -> None:
    before = hu[0].copy()
    for k in range(len(hu)):
        here = hu[k].copy()
        after = hu[min(k + 1, len(hu) - 1)]
        hu[k] = here + tail * (before - 2 * here + after)
        before = here


def _hardening(grid: VoxelGrid, dense_xyz_mm: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the dark band between two dense places, in plane (y, x) and along z."""
    left, right = dense_xyz_mm
    center = (left + right) / 2
    half_mm = np.linalg.norm(left - right) / 2
    x, y, z = (grid.centers_mm(axis) - center[axis] for axis in range(3))
    between = 1 / (1 + np.exp((np.abs(x) - 0.75 * half_mm) / 6.0))
    band = np.exp(-0.5 * (y / 14.0) ** 2)[:, None] * between[None, :]
    return band.astype(np.float32), np.exp(-0.5 * ((z + 5.0) / 28.0) ** 2).astype(np.float32)


def _streaks(grid: VoxelGrid, rng: np.random.Generator) -> np.ndarray:
    """Return thin lines along x of unit SD that change slowly from side to side, (y, x)."""
    n_x, n_y = grid.size_xyz[:2]
    knots = rng.standard_normal((n_y, 5)).astype(np.float32)
    knots = gaussian_filter1d(knots, 1.0 / grid.spacing_xyz_mm[1], axis=0)
    place = np.linspace(0, 4, n_x)
    left = np.minimum(place.astype(int), 3)
    right = (place - left).astype(np.float32)
    lines = knots[:, left] * (1 - right) + knots[:, left + 1] * right
    return lines / knots.std()


def _noise_profile(grid: VoxelGrid) -> np.ndarray:
    """Return the noise SD (y, x) relative to the centre, where paths through the body are longest."""
    x, y = (grid.centers_mm(axis) - grid.centers_mm(axis).mean() for axis in (0, 1))
    return (0.7 + 0.3 * np.exp(-0.5 * ((x / 130)[None, :] ** 2 + (y / 90)[:, None] ** 2))).astype(np.float32)


def _noise(spectrum: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n_y = spectrum.shape[0]
    white = rng.standard_normal((n_y, n_y), dtype=np.float32)
    return irfft2(rfft2(white) * spectrum, s=white.shape)
