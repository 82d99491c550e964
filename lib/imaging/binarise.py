"""From a network's prediction to masks: a threshold of the probability, or the labels; the largest component.

Source of the threshold: Otsu 1979; Zhao et al. 2020 apply it to the mean probability. The guards are ours: on a
nearly binary map the criterion is flat between the two peaks, and its first maximum lies beside the lower one.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.errors import ModelError
from lib.imaging.otsu import otsu_threshold
from lib.mask_settings import MaskConfig

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
