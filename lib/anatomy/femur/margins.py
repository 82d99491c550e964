"""The margins around the femur in its window."""

import numpy as np
import SimpleITK as sitk

from lib.imaging.components import label_pieces
from lib.imaging.crop import CropCenter
from lib.imaging.grid import array_zyx, slice_index


def femur_margins(
    window: sitk.Image, in_view: tuple[slice, slice], center: CropCenter, bone_hu: float
) -> dict[str, float]:
    """Return the distances in mm between the femur's bone and three borders of the window, or of the image in it.

    The femur is the largest piece of bone in the lateral half of the window, up to the head: above it the pelvis may
    reach as far laterally as the femur. The medial border always cuts the pelvis. The result is empty if there is no
    bone.

    Args:
        window: The cropped scan, HU.
        in_view: Its index ranges (x, y) that lie in the scan.
        center: The window's centre; the point of its upper end is the femoral head.
        bone_hu: Intensity above which a voxel counts as bone, HU.
    """
    step_x_mm, step_y_mm, _ = window.GetSpacing()
    hu_zyx = array_zyx(window)[:, in_view[1], in_view[0]]
    if center.upper_end is not None:
        hu_zyx = hu_zyx[: max(round(slice_index(window, center.upper_end.point_mm_xyz)) + 1, 1)]
    # lateral is at high x for a left hip; a right hip is mirrored
    lateral_half = hu_zyx[:, :, ::-1] if center.side == "right" else hu_zyx
    lateral_half = lateral_half[:, :, lateral_half.shape[2] // 2 :]
    bone_zyx = lateral_half > bone_hu
    if not bone_zyx.any():
        return {}
    labels_zyx = label_pieces(bone_zyx, corners=False)
    femur_zyx = labels_zyx == 1 + np.argmax(np.bincount(labels_zyx.ravel())[1:])
    rows, columns = (np.flatnonzero(femur_zyx.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    _, height_y, width_x = lateral_half.shape
    return {
        "lateral": (width_x - 1 - int(columns[-1])) * step_x_mm,
        "anterior": int(rows[0]) * step_y_mm,
        "posterior": (height_y - 1 - int(rows[-1])) * step_y_mm,
    }
