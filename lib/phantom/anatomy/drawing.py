"""How soft tissue is drawn: depths inside simple outlines, on coarse pixels that are interpolated to the image's."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

_BEND_MM = 2.6
# fat streaks between the fibres of muscle are about this long and this wide (Gaussian sigma)
_FIBRE_MM, _STREAK_MM = 6.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Pencil:
    """How soft tissue is drawn: the pixel of the drawing (mm), and whether with what MR shows and CT does not.

    That is: muscles that end in a tip, streaks of fat along their fibres, tendons, and the fascia of the thigh.
    """

    step_mm: float = 1.6
    fine: bool = False

    def edge(self, depth_mm: np.ndarray) -> np.ndarray:
        """Return the share of a pixel of the drawing inside a border at depth 0."""
        return np.clip(0.5 + depth_mm / self.step_mm, 0, 1)


CT_PENCIL, MR_PENCIL = Pencil(), Pencil(step_mm=0.7, fine=True)


def depth_in_ellipse(
    x: np.ndarray, y: np.ndarray, a: float, b: float, turn_degrees: float = 0.0
) -> np.ndarray:
    """Return the approximate depth (mm) inside an ellipse of half axes a, b around the origin; negative outside."""
    c, s = math.cos(math.radians(turn_degrees)), math.sin(math.radians(turn_degrees))
    # along the ellipse's axes, in half axes; np.hypot takes ten times as long as squares and root
    u = x * (c / a) + y * (s / a)
    v = y * (c / b) - x * (s / b)
    return (1 - np.sqrt(u * u + v * v)) * math.sqrt(a * b)


def depth_in_superellipse(x: np.ndarray, y: np.ndarray, a: float, b: float, power: float) -> np.ndarray:
    """Return the approximate depth (mm) inside a superellipse of half axes a, b around the origin."""
    rho = (np.abs(x / a) ** power + np.abs(y / b) ** power) ** (1 / power)
    return (1 - rho) * min(a, b)


def depth_in_ball(x: np.ndarray, y: np.ndarray, z: float, center: tuple, half_axes: tuple) -> np.ndarray:
    """Return the approximate depth (mm) inside an ellipsoid."""
    rho = np.sqrt(sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), center, half_axes, strict=True)))
    return (1 - rho) * min(half_axes)


def grain_of(
    shape_zyx: tuple[int, int, int], slice_mm: float, rng: np.random.Generator, pencil: Pencil
) -> np.ndarray:
    """Return a smooth random texture of unit variance for fat between fibres and for small vessels."""
    if pencil.fine:
        sigma = (_FIBRE_MM / slice_mm, _STREAK_MM / pencil.step_mm, _STREAK_MM / pencil.step_mm)
    else:
        sigma = (1.0, 1.2, 1.2)
    smooth = gaussian_filter(rng.standard_normal(shape_zyx, dtype=np.float32), sigma, truncate=2.5)
    return smooth / smooth.std()


def bends_of(
    coarse_x: np.ndarray, coarse_y: np.ndarray, z_mm: np.ndarray, rng: np.random.Generator
) -> Callable[[int], np.ndarray]:
    """Return a function slice -> (x, y) displacement in mm, smooth and random, so that no muscle is an ellipse."""
    bases = [_bumps(axis) for axis in (z_mm, coarse_y, coarse_x)]
    knots = _BEND_MM * rng.standard_normal((2, *(basis.shape[1] for basis in bases)))
    return lambda k: (bases[1] @ np.tensordot(bases[0][k], knots, axes=(0, 1)) @ bases[2].T).astype(
        np.float32
    )


def _bumps(positions_mm: np.ndarray) -> np.ndarray:
    """Return Gaussian bumps every 22 mm at some positions, (positions, bumps), of about unit sum of squares."""
    knots = np.arange(positions_mm[0] - 22, positions_mm[-1] + 44, 22.0)
    return 0.8 * np.exp(-0.5 * ((positions_mm[:, None] - knots) / 14.0) ** 2)


def interpolation(coarse: np.ndarray, fine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return index and weight of the upper neighbour for linear interpolation onto `fine`."""
    position = (fine - coarse[0]) / (coarse[1] - coarse[0])
    index = np.minimum(position.astype(int), len(coarse) - 2)
    return index, (position - index).astype(np.float32)


def resize(coarse: np.ndarray, to_y: tuple, to_x: tuple) -> np.ndarray:
    """Interpolate a coarse slice linearly onto the image's pixels."""
    (row, down), (column, right) = to_y, to_x
    coarse = coarse.astype(np.float32)
    rows = coarse[row] + down[:, None] * (coarse[row + 1] - coarse[row])
    return rows[:, column] + right * (rows[:, column + 1] - rows[:, column])
