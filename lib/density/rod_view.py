"""The view along the rods of a phantom: the median of the slices, in which discs of a rod's size stand out."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import fft, ndimage

from lib.catalog.calibration import MAD_SD
from lib.imaging.grid import spacing_zyx
from lib.imaging.kernels import block_mean

_PIXEL_MM = 1.0
_SLICES = 24
# shares of the scan: its ends may lie beyond the phantom, and a phantom may fill little more than a quarter of it
WHOLE, PARTS = (0.05, 0.95), tuple((sixth / 6, (sixth + 2) / 6) for sixth in range(5))
_PADDING_HU = -1023  # what lies outside of the field of view
_LOW_HU = -200.0  # lower values count as this: what surrounds a phantom does not matter
_RING = (1.05, 1.35)  # radii around a rod, in radii of the rod
_CORE = 0.7
_SECTORS = 6  # of the ring: a disc stands out on all sides, the edge of a muscle on one


@dataclass(frozen=True, kw_only=True)
class RodView:
    """Slices of a scan laid over each other along the rods, y by x.

    Places are mm from the centre of the first voxel of the middle slice, along its columns (x) and rows (y).

    Attributes:
        hu_yx: median of the slices.
        outside_yx: pixels outside of the field of view.
        contrast_yx: of a disc of the rods' size around each pixel, its mean less that of the ring around it, HU: in
            the sector of the ring that is most like the disc, 0 if sectors differ in sign.
        core_sd_yx: SD inside the disc, HU.
        spread_yx: SD of the slices (robust), averaged in the disc.
        pixel_mm_yx: size of a pixel.
        first_mm_yx: place of the first pixel's centre.
        slices: first and last slice in which rods are measured.
    """

    hu_yx: np.ndarray
    outside_yx: np.ndarray
    contrast_yx: np.ndarray
    core_sd_yx: np.ndarray
    spread_yx: np.ndarray
    pixel_mm_yx: np.ndarray
    first_mm_yx: np.ndarray
    slices: tuple[int, int]

    def index(self, place_mm_yx: np.ndarray) -> tuple[int, int]:
        """Return the pixel nearest to a place; it may lie outside of the view."""
        row, column = np.rint((np.asarray(place_mm_yx) - self.first_mm_yx) / self.pixel_mm_yx).astype(int)
        return int(row), int(column)

    def place(self, index_yx: np.ndarray) -> np.ndarray:
        """Return the place (y, x) of a pixel, or of a position between pixels, mm."""
        return self.first_mm_yx + np.asarray(index_yx) * self.pixel_mm_yx

    def disc(self, place_mm_yx: np.ndarray, radius_mm: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Return rows and columns of the pixels of a disc; None if it is not wholly in the field of view."""
        center = (np.asarray(place_mm_yx) - self.first_mm_yx) / self.pixel_mm_yx
        reach = radius_mm / self.pixel_mm_yx
        low, high = np.floor(center - reach).astype(int), np.ceil(center + reach).astype(int)
        if (low < 0).any() or (high >= self.hu_yx.shape).any():
            return None
        rows, columns = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
        inside = ((rows - center[0]) / reach[0]) ** 2 + ((columns - center[1]) / reach[1]) ** 2 <= 1
        found = rows[inside], columns[inside]
        return None if self.outside_yx[found].any() else found


def rod_drift_mm_yx(image: sitk.Image) -> np.ndarray:
    """Return how far rods move (y, x) from slice to slice, mm: in oblique scans they lie along the patient's z."""
    along_xyz = np.reshape(image.GetDirection(), (3, 3))[2]
    return along_xyz[[1, 0]] / along_xyz[2] * image.GetSpacing()[2]


def view_along_rods(image: sitk.Image, radius_mm: float, part: tuple[float, float] = WHOLE) -> RodView:
    """Lay the slices of a CT over each other and look for discs of a radius.

    Args:
        image: HU on patient axes.
        radius_mm: that of the rods.
        part: WHOLE, or one of PARTS.
    """
    count = image.GetSize()[2]
    chosen = np.unique(np.linspace(*(share * (count - 1) for share in part), _SLICES).round().astype(int))
    fine_mm_yx = np.array(spacing_zyx(image)[1:])
    steps_yx = np.maximum(1, np.floor(_PIXEL_MM / fine_mm_yx + 0.01).astype(int))
    slices_zyx = block_mean(sitk.GetArrayViewFromImage(image)[chosen], np.array([1, *steps_yx]))
    pixel_mm_yx = fine_mm_yx * steps_yx
    drift_mm_yx = rod_drift_mm_yx(image)
    if np.abs(drift_mm_yx).max() * count > 0.5:
        for slice_yx, k in zip(slices_zyx, chosen, strict=True):
            moved = -drift_mm_yx * (k - 0.5 * (count - 1)) / pixel_mm_yx
            slice_yx[:] = ndimage.shift(slice_yx, moved, order=1, mode="constant", cval=_PADDING_HU - 1)
    hu_yx = np.median(slices_zyx, axis=0)
    spread_yx = MAD_SD * np.median(np.abs(slices_zyx - hu_yx), axis=0)
    contrast_yx, core_sd_yx, spread_yx = _discs(hu_yx, spread_yx, radius_mm / pixel_mm_yx)
    return RodView(
        hu_yx=hu_yx,
        outside_yx=(slices_zyx <= _PADDING_HU).all(axis=0),
        contrast_yx=contrast_yx,
        core_sd_yx=core_sd_yx,
        spread_yx=spread_yx,
        pixel_mm_yx=pixel_mm_yx,
        first_mm_yx=0.5 * (steps_yx - 1) * fine_mm_yx,
        slices=(0, count - 1) if part == WHOLE else (int(chosen[0]), int(chosen[-1])),
    )


def _discs(
    hu_yx: np.ndarray, spread_yx: np.ndarray, radius_yx: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return contrast, SD and spread of the disc around each pixel (see RodView); the radius is in pixels."""
    clipped = np.maximum(hu_yx, _LOW_HU)
    disc, core = _ring_kernel(radius_yx, 0.0, 1.0), _ring_kernel(radius_yx, 0.0, _CORE)
    mean, inner, squares, spread = _convolved(
        [(clipped, disc), (clipped, core), (clipped**2, core), (spread_yx, core)]
    )
    around = _convolved([(clipped, _sector_kernel(radius_yx, sector)) for sector in range(_SECTORS)])
    least, most = mean - np.max(around, axis=0), mean - np.min(around, axis=0)
    contrast = np.where(least > 0, least, np.where(most < 0, most, 0.0))
    return contrast, np.sqrt(np.maximum(squares - inner**2, 0.0)), spread


def _ring_kernel(radius_yx: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Return weights that average over a ring; radii are multiples of `radius_yx` (pixels)."""
    reach = np.ceil(outer * radius_yx).astype(int)
    rows, columns = np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1]
    distance = np.hypot(rows / radius_yx[0], columns / radius_yx[1])
    kernel = ((distance <= outer) & (distance >= inner)).astype(float)
    return kernel / kernel.sum()


def _sector_kernel(radius_yx: np.ndarray, sector: int) -> np.ndarray:
    """Return weights that average over a sector of the ring; they are 0 elsewhere."""
    ring = _ring_kernel(radius_yx, *_RING)
    rows, columns = np.indices(ring.shape) - (np.array(ring.shape) // 2)[:, None, None]
    turn = np.arctan2(rows / radius_yx[0], columns / radius_yx[1]) / (2 * np.pi)
    kernel = np.where(np.floor(turn * _SECTORS).astype(int) % _SECTORS == sector, ring, 0.0)
    return kernel / kernel.sum()


def _convolved(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Return each image averaged with its kernel (turned by 180 degrees); the border continues beyond the image."""
    results = []
    for values, kernel in pairs:
        pad = [(size // 2, size // 2) for size in kernel.shape]
        padded = np.pad(values, pad, mode="edge")
        shape = [fft.next_fast_len(size, real=True) for size in padded.shape]
        product = fft.rfft2(padded, shape) * fft.rfft2(kernel, shape)
        whole = fft.irfft2(product, shape)
        rows, columns = (size - 1 for size in kernel.shape)
        results.append(whole[rows : rows + values.shape[0], columns : columns + values.shape[1]])
    return results
