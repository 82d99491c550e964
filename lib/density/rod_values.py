"""The values of rods, slice by slice, without slices that bubbles, streaks or the phantom's end disturb."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.catalog.calibration import MAD_SD
from lib.certificates import Rod
from lib.density.rod_line import fit_rods
from lib.density.rod_view import rod_drift_mm_yx
from lib.imaging.grid import spacing_zyx

STORED_HU = (-1024, 3071)  # what 12 bits hold
_LIMIT = 4.0  # robust SDs by which mean or SD of a slice may differ
_LEAST_SD_HU = 1.0
_LEAST_SHARE, _LEAST_SLICES = 0.25, 3  # of the slices, in which a rod must be undisturbed
_UNEVEN_HU, _UNEVEN_TIMES = 15.0, 2.5
_LONG_MM, _LONG_SLICES = 30.0, 10  # shorter phantoms have no slope along z
_JUDGED_MG_CM3 = (0.0, 200.0)  # densities for which a change along z is judged

CUT = "partly outside of the field of view"
DISTURBED = "disturbed in most slices"
UNEVEN = "uneven values, as by streaks or a bubble"
CLIPPED = "HU clipped at the lowest or highest value of the image"


@dataclass(frozen=True, kw_only=True)
class RodSlices:
    """What the discs of the rods show on each slice.

    Attributes:
        mean_hu: rods by slices; nan where the disc is not in the image.
        sd_hu: likewise.
        clipped: rods by slices, share of the disc's voxels with the lowest or highest value that the image has, or
            that 12 bits hold.
        disc_voxels: of each rod, voxels of the disc on a slice.
        kept: rods by slices, whether the slice is used.
        z_mm: of each slice.
    """

    mean_hu: np.ndarray
    sd_hu: np.ndarray
    clipped: np.ndarray
    disc_voxels: np.ndarray
    kept: np.ndarray
    z_mm: np.ndarray

    def hu(self, rod: int) -> float:
        """Return the value of a rod: the median of its slices."""
        return float(np.median(self.mean_hu[rod, self.kept[rod]]))

    def sd(self, rod: int) -> float:
        """Return the usual SD within the disc of a rod."""
        return float(np.median(self.sd_hu[rod, self.kept[rod]]))

    def clipped_share(self, rod: int) -> float:
        """Return the share of a rod's voxels whose HU were clipped."""
        return float(self.clipped[rod, self.kept[rod]].mean()) if self.kept[rod].any() else 0.0

    def disturbed(self, usable: np.ndarray) -> dict[int, str]:
        """Return the rods among the `usable` ones that cannot be used, with the reason."""
        count = self.kept.sum(axis=1)
        least = max(_LEAST_SLICES, _LEAST_SHARE * np.isfinite(self.mean_hu).sum(axis=1).max())
        why = {int(rod): DISTURBED for rod in np.flatnonzero(usable & (count < least))}
        sds = {int(rod): self.sd(rod) for rod in np.flatnonzero(usable) if rod not in why}
        usual = float(np.median(list(sds.values()))) if sds else 0.0
        limit = max(_UNEVEN_TIMES * usual, usual + _UNEVEN_HU)
        return why | {rod: UNEVEN for rod, sd in sds.items() if sd > limit}


def measure_slices(
    image: sitk.Image, places_mm_yx: np.ndarray, radius_mm: float, within: tuple[int, int]
) -> RodSlices:
    """Measure discs around the rods on the slices of a CT.

    Args:
        image: HU on patient axes.
        places_mm_yx: centre of each rod on the middle slice (see RodView).
        radius_mm: of the discs.
        within: first and last slice that are measured.
    """
    hu_zyx, (step_mm, *pixel_mm_yx) = sitk.GetArrayViewFromImage(image), spacing_zyx(image)
    slices, drift_mm_yx = len(hu_zyx), rod_drift_mm_yx(image)
    shape = len(places_mm_yx), slices
    lowest, highest = max(STORED_HU[0], hu_zyx.min()), min(STORED_HU[1], hu_zyx.max())
    mean, sd = np.full(shape, np.nan), np.full(shape, np.nan)
    clipped, voxels = np.zeros(shape), np.zeros(len(places_mm_yx), int)
    for rod, place in enumerate(places_mm_yx):
        for k in range(within[0], within[1] + 1):
            center = (place + drift_mm_yx * (k - 0.5 * (slices - 1))) / pixel_mm_yx
            values = _disc_values(hu_zyx[k], center, radius_mm / np.array(pixel_mm_yx))
            if values is not None:
                mean[rod, k], sd[rod, k] = values.mean(), values.std()
                clipped[rod, k] = ((values <= lowest) | (values >= highest)).mean()
                voxels[rod] = max(voxels[rod], values.size)
    kept = np.array([_undisturbed(means, sds) for means, sds in zip(mean, sd, strict=True)])
    return RodSlices(
        mean_hu=mean,
        sd_hu=sd,
        clipped=clipped,
        disc_voxels=voxels,
        kept=kept.reshape(shape),
        z_mm=np.arange(slices) * step_mm,
    )


def change_along_z(slices: RodSlices, rods: Sequence[Rod], used: Sequence[int]) -> float | None:
    """Return how much the calibration changes from the first slice to the last one, mg/cm3.

    A line through the values of each rod along z gives them at both ends, and the rods' two lines there the density
    of one HU. Of the changes at 0 and at 200 mg/cm3 the larger one is returned.

    Args:
        slices: of all rods.
        rods: of the certificate.
        used: numbers of the rods of the calibration, from 0.

    Returns:
        None if a rod was measured on fewer than 10 slices or less than 30 mm.
    """
    shown = [np.flatnonzero(slices.kept[rod]) for rod in used]
    start, end = (
        max(slices.z_mm[found[0]] for found in shown),
        min(slices.z_mm[found[-1]] for found in shown),
    )
    if end - start < _LONG_MM or min(map(len, shown)) < _LONG_SLICES:
        return None
    fits = [np.polyfit(slices.z_mm[k], slices.mean_hu[rod, k], 1) for rod, k in zip(used, shown, strict=True)]
    low, high = (
        fit_rods([np.polyval(fit, z_mm) for fit in fits], [rods[rod] for rod in used])
        for z_mm in (start, end)
    )
    changes = [
        ((high.slope - low.slope) * density + high.intercept_hu - low.intercept_hu)
        / (0.5 * (high.slope + low.slope))
        for density in _JUDGED_MG_CM3
    ]
    return max(changes, key=abs)


def _disc_values(slice_yx: np.ndarray, center: np.ndarray, reach: np.ndarray) -> np.ndarray | None:
    """Return the values of a disc (centre and radius in pixels) on a slice; None if it is not wholly in it."""
    low, high = np.ceil(center - reach).astype(int), np.floor(center + reach).astype(int)
    if (low < 0).any() or (high >= slice_yx.shape).any():
        return None
    rows, columns = np.ogrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
    inside = ((rows - center[0]) / reach[0]) ** 2 + ((columns - center[1]) / reach[1]) ** 2 <= 1
    return slice_yx[low[0] : high[0] + 1, low[1] : high[1] + 1][inside].astype(float)


def _undisturbed(means: np.ndarray, sds: np.ndarray) -> np.ndarray:
    """Return the slices whose mean and SD are like those of the other slices of the rod."""
    known = np.isfinite(means)
    if not known.any():
        return known
    kept = known.copy()
    for values, is_upper in ((means, False), (sds, True)):
        middle = np.median(values[known])
        limit = _LIMIT * max(MAD_SD * np.median(np.abs(values[known] - middle)), _LEAST_SD_HU)
        off = np.where(known, values - middle, np.inf)
        kept &= (off if is_upper else np.abs(off)) <= limit
    return kept
