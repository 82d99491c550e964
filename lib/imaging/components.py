"""Connected components of a mask."""

import numpy as np
import SimpleITK as sitk


def label_pieces(mask_zyx: np.ndarray, *, corners: bool) -> np.ndarray:
    """Label connected components from 1, by faces or also by edges and corners; 0 outside the mask."""
    image = sitk.GetImageFromArray(mask_zyx.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.ConnectedComponent(image, corners))
