"""What hangs together in a mask."""

import numpy as np
import SimpleITK as sitk


def label_pieces(mask_zyx: np.ndarray, *, corners: bool) -> np.ndarray:
    """Return numbers from 1 for what hangs together, by faces or also by edges and corners; 0 outside of the mask."""
    image = sitk.GetImageFromArray(mask_zyx.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.ConnectedComponent(image, corners))
