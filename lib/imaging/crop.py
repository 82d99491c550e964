"""The in-plane window of one hip: where it lies, what it cuts, and the record of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk

from lib.errors import ConfigError, ScanError
from lib.imaging.grid import SIDES, array_zyx, column_index
from lib.imaging.hip import HEAD_EVIDENCE, CropConfig, HipLocation, label_pieces, locate_hip

__all__ = [
    "CropCenter",
    "CropConfig",
    "CropRecord",
    "HipLocation",
    "crop_center",
    "crop_ct",
    "crop_mask",
    "head_slice",
    "kept_slices",
    "locate_hip",
    "window_start",
]

PADDING_HU = -1024

# A slice that ends where the window does belongs to it, whatever rounding makes of the position.
_SLICE_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class CropCenter:
    """Where a window is to be centred, and on whose word.

    Attributes:
        side: `left` or `right` of the patient.
        center_mm_xy: LPS mm, at the height of the image's centre.
        source: `automatic`, or `override` from the cohort table.
        uncertain: whether the automatic search had doubts.
        head_mm_xyz: the femoral head (LPS mm) where it is known; above it the pelvis may reach as far out as the
            femur.
    """

    side: str
    center_mm_xy: tuple[float, float]
    source: str = "automatic"
    uncertain: bool = False
    head_mm_xyz: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {self.side!r}")


@dataclass(frozen=True, kw_only=True)
class CropRecord:
    """What was cut: the content of crop.json.

    Attributes:
        side: `left` or `right` of the patient.
        center_mm_xy: the centre asked for, LPS mm.
        source: `automatic` or `override`.
        start_xy: index of the window's first voxel in the image; negative where the window leaves it.
        size_xyz: voxels of the window.
        spacing_mm_xyz: size of a voxel.
        padded_voxels: voxels of the window outside of the image, filled with -1024 HU.
        slices_cut_above: slices of the image above the window.
        margins_mm: free distance from the femur's bone to the `lateral`, `anterior` and `posterior` border.
        flags: of `crop_uncertain`, `bone_at_border`, `no_bone`, `padded`, `override`.
    """

    side: str
    center_mm_xy: tuple[float, float]
    source: str
    start_xy: tuple[int, int]
    size_xyz: tuple[int, int, int]
    spacing_mm_xyz: tuple[float, float, float]
    padded_voxels: int
    slices_cut_above: int
    margins_mm: Mapping[str, float]
    flags: tuple[str, ...]

    def to_json(self) -> dict:
        """Return the record as plain values."""
        return asdict(self)


def crop_center(side: str, hip: Mapping | None, override_mm_xy: Sequence[float] | None) -> CropCenter:
    """Return the centre that the cohort table gives, else the one that screening has found.

    Args:
        side: Requested side.
        hip: The entry `hip` of the screening file.
        override_mm_xy: Centre from the cohort table, LPS mm, or None.

    Raises:
        ScanError: `no_hip_in_view`, there is neither.
    """
    if override_mm_xy is not None:
        return CropCenter(side=side, center_mm_xy=tuple(override_mm_xy), source="override")
    if hip is None or hip["side"] != side:
        raise ScanError(
            "no_hip_in_view", f"screening has not found the {side} hip; run screen_scan again for this side"
        )
    return CropCenter(
        side=side,
        center_mm_xy=tuple(hip["center_mm_xy"]),
        uncertain=hip["uncertain"],
        head_mm_xyz=_head_place(hip),
    )


def head_slice(image: sitk.Image, hip: Mapping) -> float | None:
    """Return the (fractional) index of the slice through the head that screening has found; None: not known.

    Args:
        image: The scan, or what was resampled from it.
        hip: The entry `hip` of the screening file.
    """
    head_mm_xyz = _head_place(hip)
    return None if head_mm_xyz is None else _slice_index(image, head_mm_xyz)


def crop_ct(image: sitk.Image, center: CropCenter, config: CropConfig) -> tuple[sitk.Image, CropRecord]:
    """Cut the window out of a CT (int16 HU) and say what was cut.

    All slices are kept from the distal end up to `above_head_mm` above the femoral head: no femur lies higher,
    and a network that learnt hips knows nothing of an abdomen. Where the head's height is not known for sure,
    all slices are kept. Voxels keep their positions; outside of the image the window holds -1024 HU.
    """
    slices = image.GetSize()[2]
    start_xy = window_start(image, center.center_mm_xy, config.size_xy)
    size_xyz = (*config.size_xy, kept_slices(image, center, config))
    window = _cut(image, start_xy, size_xyz, PADDING_HU)
    in_view = _columns_in_view(image, start_xy, config.size_xy)
    margins_mm = _femur_margins(window, in_view, center, config.bone_hu)
    padded_voxels = window.GetSize()[2] * (
        math.prod(config.size_xy) - math.prod(n.stop - n.start for n in in_view)
    )
    raised = {
        "crop_uncertain": center.uncertain,
        "bone_at_border": min(margins_mm.values(), default=math.inf) < config.min_margin_mm,
        "no_bone": not margins_mm,
        "padded": padded_voxels > 0,
        "override": center.source == "override",
    }
    record = CropRecord(
        side=center.side,
        center_mm_xy=center.center_mm_xy,
        source=center.source,
        start_xy=start_xy,
        size_xyz=size_xyz,
        spacing_mm_xyz=window.GetSpacing(),
        padded_voxels=padded_voxels,
        slices_cut_above=slices - size_xyz[2],
        margins_mm=margins_mm,
        flags=tuple(flag for flag, is_raised in raised.items() if is_raised),
    )
    return window, record


def crop_mask(mask: sitk.Image, record: Mapping) -> sitk.Image:
    """Cut the window of `record` (content of crop.json) out of a mask on the grid of the image that was cropped."""
    return _cut(mask, tuple(record["start_xy"]), tuple(record["size_xyz"]), 0)


def kept_slices(image: sitk.Image, center: CropCenter, config: CropConfig) -> int:
    """Return how many slices of `image`, from the distal end on, belong to the window."""
    slices = image.GetSize()[2]
    if center.head_mm_xyz is None or center.uncertain:
        return slices
    last = _slice_index(image, center.head_mm_xyz) + config.above_head_mm / image.GetSpacing()[2]
    return min(max(math.floor(last + _SLICE_TOLERANCE) + 1, 1), slices)


def _head_place(hip: Mapping) -> tuple[float, float, float] | None:
    evidence = hip["evidence"]
    return tuple(evidence[name] for name in HEAD_EVIDENCE) if set(HEAD_EVIDENCE) <= set(evidence) else None


def _slice_index(image: sitk.Image, point_mm_xyz: Sequence[float]) -> float:
    """Return the (fractional) index of the slice through a point."""
    return image.TransformPhysicalPointToContinuousIndex(point_mm_xyz)[2]


def window_start(image: sitk.Image, center_mm_xy: Sequence[float], size_xy: Sequence[int]) -> tuple[int, int]:
    """Return the index (x, y) of the window's first voxel, so that its middle is nearest to `center_mm_xy`."""
    center_ij = column_index(image, center_mm_xy)
    x, y = (round(index - 0.5 * (n - 1)) for index, n in zip(center_ij, size_xy, strict=True))
    return x, y


def _cut(
    image: sitk.Image, start_xy: tuple[int, int], size_xyz: tuple[int, int, int], outside: int
) -> sitk.Image:
    """Return the window of `image` from its first slice on; only the voxels of the window are copied."""
    x, y = _columns_in_view(image, start_xy, size_xyz[:2])
    values_zyx = np.full(size_xyz[::-1], outside, sitk.GetArrayViewFromImage(image).dtype)
    rows, columns = (
        slice(r.start + first, r.stop + first) for r, first in ((y, start_xy[1]), (x, start_xy[0]))
    )
    values_zyx[:, y, x] = sitk.GetArrayViewFromImage(image)[: size_xyz[2], rows, columns]
    window = sitk.GetImageFromArray(values_zyx)
    window.SetOrigin(image.TransformIndexToPhysicalPoint([*start_xy, 0]))
    window.SetSpacing(image.GetSpacing())
    window.SetDirection(image.GetDirection())
    return window


def _columns_in_view(
    image: sitk.Image, start_xy: tuple[int, int], size_xy: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the index ranges (x, y) of the window that lie in the image."""
    ranges = []
    for start, n, count in zip(start_xy, size_xy, image.GetSize(), strict=False):
        first = min(max(0, -start), n)
        ranges.append(slice(first, max(first, min(n, count - start))))
    return ranges[0], ranges[1]


def _femur_margins(
    window: sitk.Image, in_view: tuple[slice, slice], center: CropCenter, bone_hu: float
) -> dict[str, float]:
    """Return the free distance in mm of the femur's bone from three borders of the window, or of the image in it.

    The femur is the largest piece of bone in the lateral half of the window, up to the head; the medial border
    always cuts the pelvis. Empty where there is no bone.
    """
    step_x_mm, step_y_mm, _ = window.GetSpacing()
    hu_zyx = array_zyx(window)[:, in_view[1], in_view[0]]
    if center.head_mm_xyz is not None:
        hu_zyx = hu_zyx[: max(round(_slice_index(window, center.head_mm_xyz)) + 1, 1)]
    # the patient's left is at high x: mirror a right hip so that lateral is at high x for both
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
