"""From a network's prediction to masks: a threshold of the probability, or the labels; the largest component.

Source of the threshold: Otsu 1979; Zhao et al. 2020 apply it to the mean probability. The guards are ours: on a
nearly binary map the criterion is flat between the two peaks, and its first maximum lies beside the lower one.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.errors import ModelError
from lib.mask_settings import MaskConfig

HISTOGRAM_BINS = 256

# Criteria that differ by less count as equal: sums over a million voxels have rounding errors.
PLATEAU_TOLERANCE = 1e-9

HALF = 0.5

# Dropped components larger than this share of the mask are flagged.
DROPPED_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class BinaryMask:
    """The mask of one structure, how it was made, and its flags.

    Attributes:
        mask_zyx: uint8 (z, y, x), 0 or 1.
        raw_zyx: bool (z, y, x), the mask before its largest component was chosen.
        half_zyx: uint8 (z, y, x), the mask that a threshold of one half makes; None: it is a label of several.
        threshold: voxels of at least this probability belong to the mask; None: it is a label of several.
        otsu_raw: Otsu's threshold before the guards; None if the map has only one value, or without a threshold.
        flags: any of `otsu_undefined`, `otsu_out_of_range`, `components_dropped`, `empty_mask`.
        dropped_voxels: voxels of the components that were not kept.
        keep_largest: whether only the largest component was kept.
    """

    mask_zyx: np.ndarray
    raw_zyx: np.ndarray
    half_zyx: np.ndarray | None
    threshold: float | None
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


def label_masks(labels_zyx: np.ndarray, count: int, config: MaskConfig) -> list[BinaryMask]:
    """Return the masks of labels 1 to `count` of a label map (z, y, x); with `keep_largest`, each in one piece.

    Raises:
        ModelError: the map holds a value above `count`.
    """
    if labels_zyx.max(initial=0) > count:
        raise ModelError(
            f"a predicted label map holds the value {labels_zyx.max()}, but the study has {count} structures; "
            "predict with models of this study's structures"
        )
    masks = []
    for label in range(1, count + 1):
        raw_zyx = labels_zyx == label
        mask_zyx, dropped_voxels = largest_piece(raw_zyx, wanted=config.keep_largest)
        flags = _flags_of_pieces(mask_zyx, dropped_voxels)
        masks.append(
            BinaryMask(
                mask_zyx=mask_zyx,
                raw_zyx=raw_zyx,
                half_zyx=None,
                threshold=None,
                otsu_raw=None,
                flags=tuple(flag for flag, is_raised in flags.items() if is_raised),
                dropped_voxels=dropped_voxels,
                keep_largest=config.keep_largest,
            )
        )
    return masks


def threshold_mask(probability_zyx: np.ndarray, config: MaskConfig) -> BinaryMask:
    """Return the mask of the probability map (z, y, x) of one structure.

    The threshold is Otsu's, or the fallback if that fails; with the method `half` it is one half.

    Raises:
        ModelError: as `otsu_threshold`.
    """
    raw = otsu_threshold(probability_zyx)
    by_otsu = config.method == "otsu"
    trusted = raw is not None and config.low <= raw <= config.high
    threshold = (raw if trusted else config.fallback) if by_otsu else HALF
    raw_zyx = probability_zyx >= threshold
    mask_zyx, dropped_voxels = largest_piece(raw_zyx, wanted=config.keep_largest)
    half_zyx = mask_zyx
    if threshold != HALF:
        half_zyx, _ = largest_piece(probability_zyx >= HALF, wanted=config.keep_largest)
    raised = {
        "otsu_undefined": by_otsu and raw is None,
        "otsu_out_of_range": by_otsu and raw is not None and not trusted,
        **_flags_of_pieces(mask_zyx, dropped_voxels),
    }
    return BinaryMask(
        mask_zyx=mask_zyx,
        raw_zyx=raw_zyx,
        half_zyx=half_zyx,
        threshold=threshold,
        otsu_raw=raw,
        flags=tuple(flag for flag, is_raised in raised.items() if is_raised),
        dropped_voxels=dropped_voxels,
        keep_largest=config.keep_largest,
    )


def largest_piece(mask_zyx: np.ndarray, *, wanted: bool) -> tuple[np.ndarray, int]:
    """Return a mask (bool) as uint8, if `wanted` only its largest component, and the number of dropped voxels."""
    if not wanted:
        return mask_zyx.astype(np.uint8), 0
    pieces_zyx, count = ndimage.label(mask_zyx)
    if count <= 1:
        return mask_zyx.astype(np.uint8), 0
    sizes = np.bincount(pieces_zyx.ravel())[1:]
    largest = int(sizes.argmax())
    return (pieces_zyx == largest + 1).astype(np.uint8), int(sizes.sum() - sizes[largest])


def _flags_of_pieces(mask_zyx: np.ndarray, dropped_voxels: int) -> dict[str, bool]:
    kept_voxels = int(np.count_nonzero(mask_zyx))
    raised = {
        "components_dropped": dropped_voxels > DROPPED_SHARE * kept_voxels,
        "empty_mask": kept_voxels == 0,
    }
    return raised


def _histogram(probability: np.ndarray) -> np.ndarray:
    # this form also refuses NaN
    if probability.size and not (probability.min() >= 0.0 and probability.max() <= 1.0):
        raise ModelError(
            "a probability map holds values that are not numbers from 0 to 1; train the model again"
        )
    bins = np.minimum((probability * HISTOGRAM_BINS).astype(np.int64), HISTOGRAM_BINS - 1)
    return np.bincount(bins.ravel(), minlength=HISTOGRAM_BINS).astype(np.float64)
