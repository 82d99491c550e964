"""From a probability map to a mask: Otsu's threshold with guards, and the largest component.

Source: Otsu 1979; Zhao et al. 2020 apply it to the mean probability. The guards are ours: on a nearly binary map the
criterion is flat between the two peaks, and its first maximum lies beside the lower one.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.errors import ModelError
from lib.otsu_guards import OtsuConfig

HISTOGRAM_BINS = 256

# Criteria that differ by less count as equal: sums over a million voxels have rounding errors.
PLATEAU_TOLERANCE = 1e-9

# Dropped components larger than this share of the mask are flagged.
DROPPED_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class OtsuMask:
    """A mask, its threshold and its flags.

    Attributes:
        mask_zyx: uint8 (z, y, x).
        threshold: voxels of at least this probability belong to the mask.
        otsu_raw: Otsu's threshold before the guards; None if the map has only one value.
        flags: any of `otsu_undefined`, `otsu_out_of_range`, `components_dropped`, `empty_mask`.
        dropped_voxels: voxels of the components that were not kept.
        keep_largest: whether only the largest component was kept.
    """

    mask_zyx: np.ndarray
    threshold: float
    otsu_raw: float | None
    flags: tuple[str, ...]
    dropped_voxels: int
    keep_largest: bool

    @property
    def fallback(self) -> bool:
        """Whether the threshold is the fallback instead of Otsu's."""
        return "otsu_undefined" in self.flags or "otsu_out_of_range" in self.flags

    def to_json(self, voxel_mm3: float) -> dict:
        """Return all but the mask as plain values; `voxel_mm3` is the volume of a voxel of the map."""
        return {
            "threshold": self.threshold,
            "otsu_raw": self.otsu_raw,
            "fallback": self.fallback,
            "flags": list(self.flags),
            "dropped_voxels": self.dropped_voxels,
            "dropped_mm3": self.dropped_voxels * voxel_mm3,
        }


def otsu_threshold(probability: np.ndarray) -> float | None:
    """Return Otsu's threshold of probabilities in [0, 1] (any shape); None if all lie in one of 256 bins.

    If several thresholds separate equally well (no voxel lies between them), it is the middle of that plateau.

    Raises:
        ModelError: a value is not a number or lies outside [0, 1].
    """
    counts = _histogram(probability)
    centers = (np.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
    # the classes below and above the upper edge of each bin except the last
    below, total = np.cumsum(counts)[:-1], counts.sum()
    above = total - below
    sum_below = np.cumsum(counts * centers)[:-1]
    sum_above = (counts * centers).sum() - sum_below
    split = (below > 0) & (above > 0)
    if not split.any():
        return None
    means_apart = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
    between_class = np.where(split, below * above * means_apart**2, 0.0)
    best = np.flatnonzero(between_class >= between_class.max() * (1.0 - PLATEAU_TOLERANCE))
    return float(0.5 * (best[0] + best[-1]) + 1.0) / HISTOGRAM_BINS


def otsu_mask(probability_zyx: np.ndarray, config: OtsuConfig) -> OtsuMask:
    """Return the mask of a probability map (z, y, x) at Otsu's threshold, or at the fallback if that fails.

    Raises:
        ModelError: as `otsu_threshold`.
    """
    raw = otsu_threshold(probability_zyx)
    trusted = raw is not None and config.low <= raw <= config.high
    threshold = raw if trusted else config.fallback
    mask_zyx, dropped_voxels = mask_at(probability_zyx, threshold, keep_largest=config.keep_largest)
    kept_voxels = int(np.count_nonzero(mask_zyx))
    raised = {
        "otsu_undefined": raw is None,
        "otsu_out_of_range": raw is not None and not trusted,
        "components_dropped": dropped_voxels > DROPPED_SHARE * kept_voxels,
        "empty_mask": kept_voxels == 0,
    }
    return OtsuMask(
        mask_zyx=mask_zyx,
        threshold=threshold,
        otsu_raw=raw,
        flags=tuple(flag for flag, is_raised in raised.items() if is_raised),
        dropped_voxels=dropped_voxels,
        keep_largest=config.keep_largest,
    )


def mask_at(probability_zyx: np.ndarray, threshold: float, *, keep_largest: bool) -> tuple[np.ndarray, int]:
    """Return the mask (uint8) of voxels of at least `threshold`, and the number of voxels in dropped components."""
    above_zyx = probability_zyx >= threshold
    if not keep_largest:
        return above_zyx.astype(np.uint8), 0
    labels_zyx, count = ndimage.label(above_zyx)
    if count <= 1:
        return above_zyx.astype(np.uint8), 0
    sizes = np.bincount(labels_zyx.ravel())[1:]
    largest = int(sizes.argmax())
    return (labels_zyx == largest + 1).astype(np.uint8), int(sizes.sum() - sizes[largest])


def _histogram(probability: np.ndarray) -> np.ndarray:
    # this form also refuses NaN
    if probability.size and not (probability.min() >= 0.0 and probability.max() <= 1.0):
        raise ModelError(
            "a probability map holds values that are not numbers from 0 to 1; train the model again"
        )
    bins = np.minimum((probability * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
    return np.bincount(bins.ravel(), minlength=HISTOGRAM_BINS).astype(np.float64)
