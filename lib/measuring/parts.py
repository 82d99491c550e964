"""What an anatomy adds to the measurements of a structure: its distal end, and its regions."""

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.distal_end import DistalEndConfig, measure_distal_end
from lib.anatomy.femur.landmarks import FemurLevels, femur_levels
from lib.imaging.grid import array_zyx, spacing_zyx, voxel_mm3

FEMUR = "proximal-femur"


def measure_end(
    anatomy: str, mask: sitk.Image, reference: sitk.Image | None, side: str, config: DistalEndConfig
) -> dict:
    """Return what the anatomy measures at the end of a structure (see `measure_distal_end`); nothing for `generic`.

    Args:
        anatomy: config `anatomy`.
        mask: Predicted mask on the grid of the crop.
        reference: Reference mask on the same grid, or None.
        side: `left` or `right` of the patient.
        config: Where to cut.
    """
    return measure_distal_end(mask, reference, side, config) if anatomy == FEMUR else {}


def measure_regions(mask: sitk.Image, regions: FemurLevels, whose: str) -> dict:
    """Return the volume of each region of a mask, such as `predicted_head_mm3`, and `undefined`.

    Args:
        mask: Predicted or reference mask on the grid of the crop.
        regions: Its regions (`find_regions`).
        whose: `predicted` or `reference`.
    """
    mask_zyx = array_zyx(mask)
    volumes = {
        f"{whose}_{region}_mm3": int(np.count_nonzero(mask_zyx[slices])) * voxel_mm3(mask)
        for region, slices in regions.slices.items()
    }
    missing = {f"{whose}_{region}_mm3": why for region, why in regions.missing.items()}
    return dict.fromkeys(missing) | volumes | {"undefined": missing}


def find_regions(anatomy: str, mask: sitk.Image, side: str) -> FemurLevels:
    """Return the slices of the anatomy's regions in a mask, and why others are missing; none for `generic`."""
    if anatomy == FEMUR:
        return femur_levels(array_zyx(mask), spacing_zyx(mask), side)
    return FemurLevels(slices={}, missing={})
