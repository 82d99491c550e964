"""What a mask measures: volume, length, whether the scan cuts it, the volume above a standard cut, HU inside."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.errors import ConfigError
from lib.imaging.femur import find_lesser_trochanter
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx, volume_mm3, voxel_mm3
from lib.imaging.otsu import OtsuConfig, mask_at

__all__ = [
    "MeasureConfig",
    "gather_flags",
    "length_mm",
    "measure_distal_end",
    "measure_volume",
    "volume_above_mm3",
]

# Names of the same values, for a prediction and for its reference.
_PREDICTED = ("lesser_trochanter_mm", "shaft_below_trochanter_mm", "predicted_cut_mm3")
_REFERENCE = ("reference_lesser_trochanter_mm", "reference_shaft_below_trochanter_mm", "reference_cut_mm3")


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How femurs are made comparable.

    Attributes:
        distal_cut_mm: volumes are also measured above the plane (across the scan's axis) this far below the lesser
            trochanter; None: without.
    """

    distal_cut_mm: float | None = None

    def __post_init__(self) -> None:
        """Refuse a length that cannot be used."""
        cut_mm = self.distal_cut_mm
        if cut_mm is not None and not (math.isfinite(cut_mm) and cut_mm >= 0):
            raise ConfigError(f"measure.distal_cut_mm must be null or a number >= 0 (mm), got {cut_mm!r}")


def measure_volume(
    image: sitk.Image,
    probability: sitk.Image,
    mask: sitk.Image,
    full: sitk.Image,
    otsu: Mapping,
    config: OtsuConfig,
) -> dict:
    """Measure one mask.

    Args:
        image: Cropped CT, HU.
        probability: Probability map on the grid of `image`.
        mask: Mask on the grid of `image`.
        full: The same mask on the grid of the converted scan.
        otsu: Content of otsu.json.
        config: How the mask was made.

    Returns:
        Volumes in mm3 (of `mask`, of `full`, and at probability 0.5 with components chosen alike); mean and standard
        deviation (over voxels, ddof 0) of HU in the mask, None where it is empty; whether the mask reaches the most
        distal slice, so that only the part of the bone that was scanned is measured; its length along z; `undefined`,
        the reasons for values that are None.

    Raises:
        ScanError: `mask_off_grid`, image, probability and mask do not lie on one grid.
    """
    require_same_grid(mask, image, "the mask", "the cropped scan")
    require_same_grid(probability, image, "the probability map", "the cropped scan")
    mask_zyx = array_zyx(mask) > 0
    hu = array_zyx(image)[mask_zyx].astype(np.float64)
    at_half_zyx, _ = mask_at(array_zyx(probability), 0.5, keep_largest=config.keep_largest)
    return {
        "predicted_mm3": volume_mm3(mask),
        "predicted_full_mm3": volume_mm3(full),
        "predicted_at_half_mm3": int(np.count_nonzero(at_half_zyx)) * voxel_mm3(image),
        "otsu_threshold": otsu["threshold"],
        "hu_mean": float(hu.mean()) if hu.size else None,
        "hu_sd": float(hu.std()) if hu.size else None,
        "truncated_distally": bool(mask_zyx[0].any()),
        "length_mm": length_mm(mask_zyx, image.GetSpacing()[2]),
        "undefined": {} if hu.size else dict.fromkeys(("hu_mean", "hu_sd"), "the predicted mask is empty"),
    }


def volume_above_mm3(mask: sitk.Image, height_mm: float) -> float:
    """Return the volume of `mask` above the plane that lies `height_mm` above the lower face of its first slice.

    The slice that the plane cuts counts with the part of its thickness that lies above.
    """
    voxels = np.count_nonzero(array_zyx(mask), axis=(1, 2))
    shares = np.clip(np.arange(1, len(voxels) + 1) - height_mm / mask.GetSpacing()[2], 0.0, 1.0)
    return float(voxels @ shares) * voxel_mm3(mask)


def measure_distal_end(
    mask: sitk.Image, reference: sitk.Image | None, side: str, config: MeasureConfig
) -> dict:
    """Measure how far a femur goes on below its lesser trochanter, and its volume above a cut that all femurs share.

    Prediction and reference are each cut below their own trochanter, as two readers would.

    Args:
        mask: Predicted mask on the grid of the crop.
        reference: Reference mask on the same grid, or None.
        side: `left` or `right` of the patient.
        config: Where to cut.

    Returns:
        `lesser_trochanter_mm`: its height above the distal end of the scan; `shaft_below_trochanter_mm`: bone below
        it; `predicted_cut_mm3`: volume above the cut, None where no cut is asked for. With a reference the same of
        it as `reference_lesser_trochanter_mm`, `reference_shaft_below_trochanter_mm`, `reference_cut_mm3`.
        `flags`: `no_lesser_trochanter` or `cut_not_reached` where the prediction cannot be cut as asked.
        `undefined`: reason for each value that is None although it was asked for.

    Raises:
        ScanError: `mask_off_grid`, the masks do not lie on one grid.
    """
    measured, undefined = _distal_end(mask, _PREDICTED, side, config)
    flags = []
    if config.distal_cut_mm is not None and measured["predicted_cut_mm3"] is None:
        seen = measured["lesser_trochanter_mm"] is not None
        flags = ["cut_not_reached" if seen else "no_lesser_trochanter"]
    if reference is not None:
        require_same_grid(reference, mask, "the reference mask", "the predicted mask")
        of_reference, missing = _distal_end(reference, _REFERENCE, side, config)
        measured, undefined = measured | of_reference, undefined | missing
    return measured | {"flags": flags, "undefined": undefined}


def gather_flags(
    otsu: Mapping, crop: Mapping, screened: Mapping, uncertainty: Mapping, review_member_dice: float
) -> list[str]:
    """Return all that is to be looked at.

    Flags of otsu.json and crop.json, warnings of the screening file, and `members_disagree` where uncertainty.json
    holds a `member_dice` below `review_member_dice`.
    """
    warnings = {reason["code"] for reason in screened["reasons"] if reason["severity"] == "warning"}
    member_dice = uncertainty["member_dice"]
    disagree = member_dice is not None and member_dice < review_member_dice
    return sorted({*warnings, *otsu["flags"], *crop["flags"], *(["members_disagree"] if disagree else [])})


def _distal_end(
    mask: sitk.Image, names: tuple[str, str, str], side: str, config: MeasureConfig
) -> tuple[dict, dict[str, str]]:
    """Return a mask's trochanter, shaft below it and volume above the cut by `names`, and what is missing why."""
    trochanter_mm, shaft_mm, cut_mm3 = names
    mask_zyx = array_zyx(mask)
    found = find_lesser_trochanter(mask_zyx, spacing_zyx(mask), side)
    asked = names if config.distal_cut_mm is not None else names[:2]
    if found.height_mm is None:
        return dict.fromkeys(names), dict.fromkeys(asked, found.missing)
    end_mm = int(np.flatnonzero(mask_zyx.any(axis=(1, 2)))[0]) * mask.GetSpacing()[2]
    measured = {trochanter_mm: found.height_mm, shaft_mm: found.height_mm - end_mm, cut_mm3: None}
    if config.distal_cut_mm is None:
        return measured, {}
    if measured[shaft_mm] < config.distal_cut_mm:
        reason = (
            f"the mask ends {measured[shaft_mm]:.1f} mm below the lesser trochanter, above the cut at "
            f"{config.distal_cut_mm:g} mm"
        )
        return measured, {cut_mm3: reason}
    return measured | {cut_mm3: volume_above_mm3(mask, found.height_mm - config.distal_cut_mm)}, {}


def length_mm(mask_zyx: np.ndarray, step_mm: float) -> float:
    """Return how far a mask (z, y, x) reaches along z, from its first to its last slice; 0 if it is empty."""
    slices = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    return float((slices[-1] - slices[0] + 1) * step_mm) if slices.size else 0.0
