"""HU of a person's own tissues: air, subcutaneous fat, muscle and cortical bone."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lib.imaging.grid import spacing_zyx
from lib.imaging.kernels import block_mean

# HU that a sample may have (Ogo), lowest and highest
RANGES_HU: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "air": (-1030.0, -980.0),
        "adipose": (-130.0, -70.0),
        "muscle": (-5.0, 65.0),
        "cortical": (950.0, 1450.0),
    }
)
SOFT_TISSUES = ("air", "adipose", "muscle")
LEAST_MM3 = 500.0
_PIXEL_MM = 2.0
_SOFT_HU = -300.0  # above it lie body, table and phantom
_AIR_HU, _PADDING_HU, _LOWEST_HU = -900.0, -1023.0, -1024
_FROM_THINGS_MM, _INSIDE_MM = 10.0, 10.0
# lowest and highest HU of a voxel of the tissue, and by how much it is eroded, mm
_CORES = {"adipose": ((-140.0, -60.0), 2.0), "muscle": ((20.0, 90.0), 4.0)}
_SMOOTHED_MM = 2.0  # SD of the smoothing before a tissue is told by its HU
_CORTICAL_HU, _CORTICAL_CORE_MM = 700.0, 1.5
_BIN_HU, _SMOOTHED_BINS, _AROUND_HU = 4.0, 3.0, 20.0


class MissingTissue(Exception):  # noqa: N818 - an answer, not an error
    """A tissue was not found, or has HU that it cannot have; the text tells which and why."""


def measure_tissues(image: sitk.Image, names: tuple[str, ...] = tuple(RANGES_HU)) -> dict[str, float]:
    """Return the HU of tissues of the person in a CT.

    Air lies more than 10 mm from all things and within the field of view. Fat is the core of what lies between
    -140 and -60 HU in the body, eroded by 2 mm, muscle that of 20 to 90 HU, eroded by 4 mm, both by smoothed voxels
    of 2 mm. Cortical bone lies at least 1.5 mm inside of what exceeds 700 HU, on the scan's own voxels. The value is
    the mode of the sample.

    Args:
        image: HU on patient axes.
        names: keys of RANGES_HU.

    Raises:
        MissingTissue: less than 500 mm3 of a tissue, or a value outside of RANGES_HU.
    """
    fine_mm_zyx = np.array(spacing_zyx(image))
    steps = _steps(fine_mm_zyx)
    native_zyx = sitk.GetArrayViewFromImage(image)
    hu_zyx, spacing = block_mean(native_zyx, steps), fine_mm_zyx * steps
    body_zyx = _body(hu_zyx, spacing)
    found = {}
    for name in names:
        if name == "cortical":
            values, voxel_mm3 = _cortical(native_zyx, body_zyx, steps, fine_mm_zyx), np.prod(fine_mm_zyx)
        else:
            is_air = name == "air"
            sample = _air(hu_zyx, spacing) if is_air else _core(hu_zyx, body_zyx, spacing, _CORES[name])
            values, voxel_mm3 = hu_zyx[sample], np.prod(spacing)
        found[name] = _value(name, values, float(voxel_mm3))
    return found


def clipped_share_of_air(image: sitk.Image) -> float:
    """Return the share of voxels of -1024 HU, the lowest that 12 bits hold, in the air of a CT; 0 without air.

    Args:
        image: HU on patient axes.
    """
    native_zyx, fine_mm_zyx = sitk.GetArrayViewFromImage(image), np.array(spacing_zyx(image))
    steps = _steps(fine_mm_zyx)
    air_zyx = _air(block_mean(native_zyx, steps), fine_mm_zyx * steps)
    shares_zyx = block_mean((native_zyx <= _LOWEST_HU).astype(np.float32), steps)
    return float(shares_zyx[air_zyx].mean()) if air_zyx.any() else 0.0


def mode_hu(values: np.ndarray) -> float:
    """Return the mode of a sample: the mean within 20 HU of the peak of its smoothed histogram."""
    first = np.floor(values.min() / _BIN_HU)
    counts = np.bincount((np.floor(values / _BIN_HU) - first).astype(int))
    smooth = ndimage.gaussian_filter1d(counts.astype(float), _SMOOTHED_BINS, mode="constant")
    peak = (first + smooth.argmax() + 0.5) * _BIN_HU
    return float(values[np.abs(values - peak) <= _AROUND_HU].mean())


def _steps(fine_mm_zyx: np.ndarray) -> np.ndarray:
    """Return how many voxels (z, y, x) become one in which tissues are told."""
    return np.array([1, *np.maximum(1, np.floor(_PIXEL_MM / fine_mm_zyx[1:] + 0.01).astype(int))])


def _value(name: str, values: np.ndarray, voxel_mm3: float) -> float:
    volume_mm3 = values.size * voxel_mm3
    if volume_mm3 < LEAST_MM3:
        raise MissingTissue(f"{volume_mm3 / 1000:.2f} cm³ of {name}; {LEAST_MM3 / 1000:g} are needed")
    found, (low, high) = mode_hu(values), RANGES_HU[name]
    if not low <= found <= high:
        raise MissingTissue(f"{name} has {found:.0f} HU; expected are {low:.0f} to {high:.0f}")
    return found


def _body(hu_zyx: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the person: the largest thing that is 20 mm thick in the slice, without thinner ones that touch it."""
    things = hu_zyx > _SOFT_HU
    inner = np.array([_inside(thing, spacing[1:], _INSIDE_MM) for thing in things])
    labels, count = ndimage.label(inner)
    if not count:
        return np.zeros_like(things)
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    near = [
        ndimage.distance_transform_edt(~core, sampling=spacing[1:]) <= _INSIDE_MM if core.any() else core
        for core in largest
    ]
    return np.array(near) & things


def _air(hu_zyx: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    free = [_inside(empty, spacing[1:], _FROM_THINGS_MM) for empty in hu_zyx < _AIR_HU]
    return np.array(free) & (hu_zyx > _PADDING_HU)


def _core(
    hu_zyx: np.ndarray, body_zyx: np.ndarray, spacing: np.ndarray, tissue: tuple[tuple[float, float], float]
) -> np.ndarray:
    (low, high), core_mm = tissue
    sigma = (0.0, *(_SMOOTHED_MM / spacing[1:]))
    smooth_zyx = ndimage.gaussian_filter(hu_zyx, sigma)  # else noise alone would erode the tissue away
    fits = body_zyx & (smooth_zyx >= low) & (smooth_zyx <= high)
    return np.array([_inside(slice_yx, spacing[1:], core_mm) for slice_yx in fits])


def _inside(mask_yx: np.ndarray, pixel_mm_yx: np.ndarray, depth_mm: float) -> np.ndarray:
    """Return the pixels of a mask further than a depth from its border; the image's border is none."""
    return ndimage.distance_transform_edt(mask_yx, sampling=pixel_mm_yx) > depth_mm


def _cortical(
    native_zyx: np.ndarray, body_zyx: np.ndarray, steps: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """Return the values of compact bone within the body, on the scan's own voxels."""
    values = []
    for slice_yx, body_yx in zip(native_zyx, body_zyx, strict=True):
        own = np.repeat(np.repeat(body_yx, steps[1], axis=0), steps[2], axis=1)
        dense = slice_yx[: own.shape[0], : own.shape[1]] > _CORTICAL_HU
        if (dense & own).any():
            core = _inside(dense & own, spacing[1:], _CORTICAL_CORE_MM)
            values.append(slice_yx[: own.shape[0], : own.shape[1]][core])
    return np.concatenate(values).astype(float) if values else np.zeros(0)
