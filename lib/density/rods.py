"""Detection of a density phantom: its rods look the same on every slice, which anatomy does not."""

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lib.imaging.grid import spacing_zyx
from lib.imaging.kernels import block_mean

_PIXEL_MM = 2.0
_SLICES = 12
# In blocks of 2 mm noise has an SD of about 10 HU; anatomy that moves by a pixel from slice to slice has hundreds.
_STEADY_SD_HU = 60.0
_ROD_HU = 120.0  # above muscle and plastic
_ROD_DIAMETER_MM = (7.0, 35.0)
_ROUND_FILL = (0.6, 0.95)  # a disc fills 0.785 of its box
_ROUND_ASPECT = 1.45
_ROW_OFFSET_MM, _ROW_LENGTH_MM = 20.0, 150.0
_ROD_STEP_HU = 50.0


@dataclass(frozen=True, kw_only=True)
class _Rod:
    x_mm: float
    y_mm: float
    mean_hu: float


def density_phantom_in_view(image: sitk.Image) -> bool:
    """Return whether at least two rods of different density lie in one row, at the same position on all slices.

    Rods are round discs of 7 to 35 mm above 120 HU that do not change along z in the middle 80 % of the scan. Two
    neighbouring ones must differ by 50 HU; a pair of vessels, table tubes or shafts does not. A phantom with only one
    bright insert (water and one density) is not recognised.
    """
    mean_yx, steady_yx, pixel_mm_yx = _steady_part(image)
    rods = _find_rods(mean_yx, steady_yx & (mean_yx > _ROD_HU), pixel_mm_yx)
    return any(_are_neighbours(a, b) for a, b in itertools.combinations(rods, 2))


def _steady_part(image: sitk.Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean over slices (HU), the pixels steady along z, and the pixel size (mm), on a coarse grid."""
    count = image.GetSize()[2]
    chosen = np.unique(np.linspace(0.1 * (count - 1), 0.9 * (count - 1), _SLICES).round().astype(int))
    fine_mm_yx = np.array(spacing_zyx(image)[1:])
    steps_yx = np.maximum(1, np.floor(_PIXEL_MM / fine_mm_yx + 0.01).astype(int))
    slices_zyx = block_mean(sitk.GetArrayViewFromImage(image)[chosen], np.array([1, *steps_yx]))
    return slices_zyx.mean(axis=0), slices_zyx.std(axis=0) < _STEADY_SD_HU, fine_mm_yx * steps_yx


def _find_rods(mean_yx: np.ndarray, bright_yx: np.ndarray, pixel_mm_yx: np.ndarray) -> list[_Rod]:
    labels_yx, _ = ndimage.label(bright_yx)
    rods = []
    for index, box in enumerate(ndimage.find_objects(labels_yx), start=1):
        disc_yx = labels_yx[box] == index
        height_mm, width_mm = np.array(disc_yx.shape) * pixel_mm_yx
        inside = (
            _ROD_DIAMETER_MM[0] <= min(height_mm, width_mm) <= max(height_mm, width_mm) <= _ROD_DIAMETER_MM[1]
        )
        is_round = max(height_mm, width_mm) <= _ROUND_ASPECT * min(height_mm, width_mm)
        if inside and is_round and _ROUND_FILL[0] <= disc_yx.mean() <= _ROUND_FILL[1]:
            y, x = ((part.start + part.stop) / 2 for part in box)
            mean_hu = float(np.median(mean_yx[box][disc_yx]))
            rods.append(_Rod(x_mm=x * pixel_mm_yx[1], y_mm=y * pixel_mm_yx[0], mean_hu=mean_hu))
    return rods


def _are_neighbours(a: _Rod, b: _Rod) -> bool:
    in_row = abs(a.y_mm - b.y_mm) <= _ROW_OFFSET_MM and abs(a.x_mm - b.x_mm) <= _ROW_LENGTH_MM
    return in_row and abs(a.mean_hu - b.mean_hu) >= _ROD_STEP_HU
