"""The window of one hip: its centre, the slice of the head, and the margins around the femur."""

from collections.abc import Mapping, Sequence

import numpy as np
import SimpleITK as sitk

from lib.anatomy.femur.location import HEAD_EVIDENCE
from lib.errors import ScanError
from lib.imaging.components import label_pieces
from lib.imaging.crop import CropCenter
from lib.imaging.grid import array_zyx, slice_index


def crop_center(side: str, hip: Mapping | None, override_mm_xy: Sequence[float] | None) -> CropCenter:
    """Return the centre from the cohort table, else the one that screening has found.

    Args:
        side: Requested side.
        hip: The entry `hip` of the screening file.
        override_mm_xy: Centre from the cohort table, LPS mm, or None.

    Raises:
        ScanError: `no_hip_in_view`, neither exists.
    """
    if override_mm_xy is not None:
        return CropCenter(side=side, center_mm_xy=tuple(override_mm_xy), source="override")
    if hip is None or hip["side"] != side:
        raise ScanError(
            "no_hip_in_view", f"screening has not found the {side} hip; rerun screen_scan for this side"
        )
    return CropCenter(
        side=side,
        center_mm_xy=tuple(hip["center_mm_xy"]),
        uncertain=hip["uncertain"],
        head_mm_xyz=_head_place(hip),
    )


def head_slice(image: sitk.Image, hip: Mapping) -> float | None:
    """Return the (fractional) index of the slice through the head that screening has found; None if unknown.

    Args:
        image: The scan, original or resampled.
        hip: The entry `hip` of the screening file.
    """
    head_mm_xyz = _head_place(hip)
    return None if head_mm_xyz is None else slice_index(image, head_mm_xyz)


def _head_place(hip: Mapping) -> tuple[float, float, float] | None:
    evidence = hip["evidence"]
    return tuple(evidence[name] for name in HEAD_EVIDENCE) if set(HEAD_EVIDENCE) <= set(evidence) else None


def femur_margins(
    window: sitk.Image, in_view: tuple[slice, slice], center: CropCenter, bone_hu: float
) -> dict[str, float]:
    """Return the distances in mm between the femur's bone and three borders of the window, or of the image in it.

    The femur is the largest piece of bone in the lateral half of the window, up to the head; the medial border
    always cuts the pelvis. The result is empty if there is no bone.
    """
    step_x_mm, step_y_mm, _ = window.GetSpacing()
    hu_zyx = array_zyx(window)[:, in_view[1], in_view[0]]
    if center.head_mm_xyz is not None:
        hu_zyx = hu_zyx[: max(round(slice_index(window, center.head_mm_xyz)) + 1, 1)]
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
