"""The length of shaft below the lesser trochanter, and the volume above a cut common to all femurs."""

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.landmarks import find_lesser_trochanter
from lib.imaging.grid import array_zyx, require_same_grid, spacing_zyx
from lib.imaging.volume import volume_above_mm3
from lib.measure_settings import DistalEndConfig

# Names of the values, for a prediction and for its reference.
_PREDICTED = ("lesser_trochanter_mm", "shaft_below_trochanter_mm", "predicted_cut_mm3")
_REFERENCE = ("reference_lesser_trochanter_mm", "reference_shaft_below_trochanter_mm", "reference_cut_mm3")


def measure_distal_end(
    mask: sitk.Image, reference: sitk.Image | None, side: str, config: DistalEndConfig
) -> dict:
    """Measure the length of shaft below the lesser trochanter, and the volume above a cut common to all femurs.

    Prediction and reference are each cut below their own trochanter, as two readers would.

    Args:
        mask: Predicted mask on the grid of the crop.
        reference: Reference mask on the same grid, or None.
        side: `left` or `right` of the patient.
        config: Where to cut.

    Returns:
        `lesser_trochanter_mm`: its height above the distal end of the scan; `shaft_below_trochanter_mm`: bone below
        it; `predicted_cut_mm3`: volume above the cut, None if no cut is configured. With a reference, the same values
        of it: `reference_lesser_trochanter_mm`, `reference_shaft_below_trochanter_mm`, `reference_cut_mm3`.
        `flags`: `no_lesser_trochanter` or `cut_not_reached` if the prediction cannot be cut.
        `undefined`: the reason for each configured value that is None.

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


def _distal_end(
    mask: sitk.Image, names: tuple[str, str, str], side: str, config: DistalEndConfig
) -> tuple[dict, dict[str, str]]:
    """Return trochanter, shaft below it and volume above the cut of a mask by `names`, and why values are missing."""
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
