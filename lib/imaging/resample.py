"""Resampling to slices of one thickness and, if configured, pixels of one size; positions stay exact.

Source: Zhao et al. 2020: three contiguous 2 mm slices become two 3 mm slices by Fourier interpolation to six 1 mm
slices and averaging. The paper states neither where groups begin nor the phase of the interpolation. Here the 1 mm
slabs tile the 2 mm slabs and groups begin at the distal end, so that a remainder is dropped at the proximal one.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import array_zyx, image_like, laid_on, require_laid_on
from lib.imaging.kernels import apply_weights, fourier_weights, overlap_weights, weighted_slices
from lib.imaging.stored import to_int16
from lib.resample_settings import ResampleConfig

# Slices within this of the configured thickness keep their own spacing: over 100 slices, a change of 0.01 mm would
# move the last one by a millimetre.
THICKNESS_TOLERANCE_MM = 0.01
PIXEL_TOLERANCE_MM = 0.001

# Largest number of new slices in one repeating group of old and new ones; 0.625 mm to 3 mm is a group of 24 to 5.
MAX_GROUP = 32

THREE_TO_TWO = Fraction(3, 2)  # thickness of a new slice, in old slices, for which the paper's filter applies

# A voxel of a new label map gets the label that covers most of it. The slack decides ties for the smallest label,
# and against the background, despite rounding.
_SLACK = 1e-6

_log = logging.getLogger("osteoflow.resample")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The resampling of one axis.

    Attributes:
        count: new samples.
        start: outer edge of the first new sample, in old steps from the outer edge of the first old one.
        step: size of a new sample, in old steps.
        old_count: old samples.
        old_step_mm: distance of old samples.
    """

    count: int
    start: float
    step: float
    old_count: int
    old_step_mm: float

    @property
    def untouched(self) -> bool:
        """Whether the axis is not resampled."""
        return self.step == 1.0 and self.count == self.old_count

    @property
    def spacing_mm(self) -> float:
        """Distance of new samples."""
        return self.step * self.old_step_mm

    @property
    def shift_mm(self) -> float:
        """Position of the first new centre, from the first old centre."""
        return (self.start + 0.5 * self.step - 0.5) * self.old_step_mm

    @property
    def dropped(self) -> tuple[float, float]:
        """Number of old samples that no new one covers, at the low and at the high end."""
        return self.start, max(0.0, self.old_count - self.start - self.count * self.step)

    def weights(self, method: str) -> np.ndarray:
        """Return the weights (count, old_count) of `method`, `fourier` or `area`."""
        if method == "fourier" and self.step == THREE_TO_TWO:
            first = round(self.start)
            weights = np.zeros((self.count, self.old_count))
            groups = np.kron(np.eye(self.count // 2), fourier_weights(3, 2))
            weights[:, first : first + groups.shape[1]] = groups
            return weights
        return overlap_weights(self.old_count, self.count, start=self.start, step=self.step)


def resample_image(image: sitk.Image, config: ResampleConfig, lowest: int = -1024) -> sitk.Image:
    """Return an image on the slices and pixels of `config` as int16, clipped at `lowest` only (-1024: HU of a CT).

    An image that already has them is returned with unchanged voxels and geometry.

    Raises:
        ScanError: `too_short`, there are fewer slices than one group.
    """
    axes_xyz = resampled_axes(image, config)
    _log_slices(axes_xyz[2], config)
    if all(axis.untouched for axis in axes_xyz):
        return sitk.Cast(image, sitk.sitkInt16)
    grid = resampled_grid(image, axes_xyz)
    values_zyx = _resample(
        sitk.GetArrayViewFromImage(image), axes_xyz, config.method, partial(to_int16, lowest=lowest)
    )
    del image  # frees memory before the result is copied: a thousand slices are 0.5 GB
    return image_like(values_zyx, grid)


def resample_labels(labels: sitk.Image, image: sitk.Image, config: ResampleConfig) -> sitk.Image:
    """Return a label map (uint8) on the grid that `resample_image` gives `image`.

    For each label of a map on the grid of `image`, the coverage of every new voxel is computed (slab and pixel
    average, independent of the method for HU). A new voxel gets the label or the background with the largest
    coverage; in a tie the smallest label, and the background last. With one label this is a cut at one half. A map
    that is already on the new grid is unchanged. The map may be cropped (see `laid_on`). Volumes are unbiased on
    average, but with three slices to two a flat end inside a group moves by 1 mm up or down.

    Raises:
        ScanError: `mask_off_grid`, it lies on neither grid; `too_short` as in `resample_image`.
    """
    axes_xyz = resampled_axes(image, config)
    grid = resampled_grid(image, axes_xyz)
    resampled = laid_on(labels, grid)
    if resampled is not None:
        return image_like(array_zyx(resampled), grid)
    labels_zyx = array_zyx(require_laid_on(labels, image, "the mask", "its scan"))
    return image_like(_largest_coverage(labels_zyx, axes_xyz), grid)


def resampled_axes(image: sitk.Image, config: ResampleConfig) -> tuple[Axis, Axis, Axis]:
    """Return the resampling of each axis (x, y, z) of `image`.

    Raises:
        ScanError: `too_short`.
    """
    size, spacing_mm = image.GetSize(), image.GetSpacing()
    x, y = (_pixel_axis(size[axis], spacing_mm[axis], config) for axis in (0, 1))
    return x, y, _slice_axis(size[2], spacing_mm[2], config)


def resampled_grid(image: sitk.Image, axes_xyz: tuple[Axis, Axis, Axis]) -> sitk.Image:
    """Return an empty uint8 image on the grid of `image` resampled by `axes_xyz`."""
    grid = sitk.Image([axis.count for axis in axes_xyz], sitk.sitkUInt8)
    shifts = zip((axis.shift_mm for axis in axes_xyz), image.GetSpacing(), strict=True)
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([mm / edge for mm, edge in shifts]))
    grid.SetSpacing([axis.spacing_mm for axis in axes_xyz])
    grid.SetDirection(image.GetDirection())
    return grid


def _untouched(count: int, spacing_mm: float) -> Axis:
    return Axis(count=count, start=0.0, step=1.0, old_count=count, old_step_mm=spacing_mm)


def _pixel_axis(count: int, spacing_mm: float, config: ResampleConfig) -> Axis:
    """Return an axis of whole pixels, centred in the field of view."""
    if config.inplane_mm == "native" or abs(spacing_mm - config.inplane_mm) <= PIXEL_TOLERANCE_MM:
        return _untouched(count, spacing_mm)
    step = config.inplane_mm / spacing_mm
    new_count = max(1, math.floor(count / step + 1e-6))
    start = 0.5 * (count - new_count * step)
    return Axis(count=new_count, start=start, step=step, old_count=count, old_step_mm=spacing_mm)


def _slice_axis(count: int, spacing_mm: float, config: ResampleConfig) -> Axis:
    """Return an axis of whole groups or slabs, from the configured end of the scan."""
    if config.method == "none" or abs(spacing_mm - config.thickness_mm) <= THICKNESS_TOLERANCE_MM:
        return _untouched(count, spacing_mm)
    step = _slab_in_slices(spacing_mm, config.thickness_mm)
    # groups for every method, so that images and masks share one grid
    new_count = 2 * (count // 3) if step == THREE_TO_TWO else math.floor(count / step + 1e-6)
    if new_count < 1:
        raise ScanError(
            "too_short",
            f"{count} slices of {spacing_mm:.4g} mm do not fill one slice of {config.thickness_mm:g} mm",
        )
    start = 0.0 if config.group_start == "distal" else max(0.0, count - new_count * step)
    return Axis(count=new_count, start=start, step=step, old_count=count, old_step_mm=spacing_mm)


def _slab_in_slices(spacing_mm: float, thickness_mm: float) -> float:
    """Return the thickness of a new slice in old slices, as a ratio of small whole numbers if one is near.

    Such a ratio keeps groups whole: the new spacing follows the old one (2.001 mm becomes 3.0015 mm).
    """
    ratio = Fraction(spacing_mm / thickness_mm).limit_denominator(MAX_GROUP)
    if ratio > 0 and abs(spacing_mm / ratio - thickness_mm) <= THICKNESS_TOLERANCE_MM:
        return float(1 / ratio)
    return thickness_mm / spacing_mm


def _resample(
    values_zyx: np.ndarray,
    axes_xyz: tuple[Axis, Axis, Axis],
    method: str,
    finish: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    return apply_weights(values_zyx, *_weights_zyx(axes_xyz, method), finish)


def _weights_zyx(
    axes_xyz: tuple[Axis, Axis, Axis], method: str
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    x, y, z = axes_xyz
    # always area in the slice: pixels of a CT need no sharpening, and a filter with negative weights would ring
    in_plane = (None if axis.untouched else axis.weights("area") for axis in (y, x))
    return z.weights(method), *in_plane


def _largest_coverage(labels_zyx: np.ndarray, axes_xyz: tuple[Axis, Axis, Axis]) -> np.ndarray:
    """Return the label map of `resample_labels`; slice by slice, so that no coverage is held as a whole."""
    resampled_zyx = np.zeros([axis.count for axis in reversed(axes_xyz)], np.uint8)
    weights_zyx = _weights_zyx(axes_xyz, "area")
    present = np.array(
        [label for label in range(1, int(labels_zyx.max()) + 1) if (labels_zyx == label).any()]
    )
    coverages = [
        weighted_slices(lambda k, label=label: labels_zyx[k] == label, *weights_zyx) for label in present
    ]
    # without a label there is nothing to iterate over, and the map stays 0
    for resampled_yx, of_labels in zip(resampled_zyx, zip(*coverages, strict=True), strict=False):
        most_yx, total_yx = np.zeros((2, *resampled_yx.shape), np.float32)
        for label, coverage_yx in zip(present, of_labels, strict=True):
            is_more = coverage_yx > most_yx + _SLACK
            resampled_yx[is_more] = label
            most_yx[is_more] = coverage_yx[is_more]
            total_yx += coverage_yx
        # the background covers 1 - total: it has more than the label if (most + total) / 2 < 1 / 2
        resampled_yx[most_yx + 0.5 * (total_yx - most_yx) < 0.5 - _SLACK] = 0
    return resampled_zyx


def _log_slices(axis: Axis, config: ResampleConfig) -> None:
    if axis.untouched:
        _log.info("%d slices of %.4g mm are not resampled", axis.count, axis.spacing_mm)
        return
    distal, proximal = axis.dropped
    _log.info(
        "%d slices of %.4g mm -> %d of %.4g mm (%s); dropped: %.3g distal, %.3g proximal",
        *(axis.old_count, axis.old_step_mm, axis.count, axis.spacing_mm, config.method, distal, proximal),
    )
    if axis.step < 1.0:
        _log.warning("slices thicker than %g mm are only divided: no detail is gained", config.thickness_mm)
