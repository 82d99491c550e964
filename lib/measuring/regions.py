"""The volume of each region of a structure."""

import numpy as np
import SimpleITK as sitk

from lib.anatomy.protocol import Regions
from lib.imaging.grid import array_zyx, voxel_mm3


def measure_regions(mask: sitk.Image, regions: Regions, whose: str) -> dict:
    """Return the volume of each region of a mask, such as `predicted_head_mm3`, and `undefined`.

    Args:
        mask: Predicted or reference mask on the grid of the crop.
        regions: Its regions.
        whose: `predicted` or `reference`.
    """
    mask_zyx = array_zyx(mask)
    volumes = {
        f"{whose}_{region}_mm3": int(np.count_nonzero(mask_zyx[part])) * voxel_mm3(mask)
        for region, part in regions.parts.items()
    }
    missing = {f"{whose}_{region}_mm3": why for region, why in regions.missing.items()}
    return dict.fromkeys(missing) | volumes | {"undefined": missing}
