"""The in-plane window of one hip: where it lies, what it cuts, and the record of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lib.errors import ConfigError, ScanError
from lib.imaging.grid import SIDES, array_zyx
from lib.imaging.hip import CropConfig, HipLocation, locate_hip

__all__ = [
    "CropCenter",
    "CropConfig",
    "CropRecord",
    "HipLocation",
    "crop_center",
    "crop_ct",
    "crop_mask",
    "locate_hip",
    "window_start",
]

PADDING_HU = -1024


@dataclass(frozen=True, kw_only=True)
class CropCenter:
    """Where a window is to be centred, and on whose word.

    Attributes:
        side: `left` or `right` of the patient.
        center_mm_xy: LPS mm.
        source: `automatic`, or `override` from the cohort table.
        uncertain: whether the automatic search had doubts.
        head_z_mm: height of the femoral head where it is known; above it the pelvis may reach as far out as the
            femur.
    """

    side: str
    center_mm_xy: tuple[float, float]
    source: str = "automatic"
    uncertain: bool = False
    head_z_mm: float | None = None

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
        head_z_mm=hip["evidence"].get("head_z_mm"),
    )


def crop_ct(image: sitk.Image, center: CropCenter, config: CropConfig) -> tuple[sitk.Image, CropRecord]:
    """Cut the window out of a CT (int16 HU) and say what was cut.

    All slices are kept from the distal end up to `above_head_mm` above the femoral head: no femur lies higher,
    and a network that learnt hips knows nothing of an abdomen. Where the head's height is not known for sure,
    all slices are kept. Voxels keep their positions; outside of the image the window holds -1024 HU.
    """
    slices = image.GetSize()[2]
    image = image[:, :, : _kept_slices(image, center, config)]
    start_xy = window_start(image, center.center_mm_xy, config.size_xy)
    window = _cut(image, start_xy, config.size_xy, PADDING_HU)
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
        size_xyz=window.GetSize(),
        spacing_mm_xyz=window.GetSpacing(),
        padded_voxels=padded_voxels,
        slices_cut_above=slices - image.GetSize()[2],
        margins_mm=margins_mm,
        flags=tuple(flag for flag, is_raised in raised.items() if is_raised),
    )
    return window, record


def crop_mask(mask: sitk.Image, record: Mapping) -> sitk.Image:
    """Cut the window of `record` (content of crop.json) out of a mask on the grid of the image that was cropped."""
    size_x, size_y, slices = record["size_xyz"]
    return _cut(mask[:, :, :slices], tuple(record["start_xy"]), (size_x, size_y), 0)


def _kept_slices(image: sitk.Image, center: CropCenter, config: CropConfig) -> int:
    """Return how many slices, from the distal end on, belong to the window."""
    slices = image.GetSize()[2]
    if center.head_z_mm is None or center.uncertain:
        return slices
    above_first_mm = center.head_z_mm + config.above_head_mm - image.GetOrigin()[2]
    return min(max(math.floor(above_first_mm / image.GetSpacing()[2]) + 1, 1), slices)


def window_start(image: sitk.Image, center_mm_xy: Sequence[float], size_xy: Sequence[int]) -> tuple[int, int]:
    """Return the index (x, y) of the window's first voxel, so that its middle is nearest to `center_mm_xy`."""
    geometry = zip(center_mm_xy, image.GetOrigin(), image.GetSpacing(), size_xy, strict=False)
    x, y = (round((center - origin) / step - 0.5 * (n - 1)) for center, origin, step, n in geometry)
    return x, y


def _cut(image: sitk.Image, start_xy: tuple[int, int], size_xy: tuple[int, int], outside: int) -> sitk.Image:
    size = image.GetSize()
    low = [max(0, -start) for start in start_xy]
    high = [max(0, start + n - count) for start, n, count in zip(start_xy, size_xy, size, strict=False)]
    padded = sitk.ConstantPad(image, [*low, 0], [*high, 0], outside)
    index = [start + pad for start, pad in zip(start_xy, low, strict=True)]
    return sitk.RegionOfInterest(padded, [*size_xy, size[2]], [*index, 0])


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
    """Return the free distance in mm of the femur's bone from three borders of the window or of the image.

    The femur is the largest piece of bone in the lateral half of the window, up to the head; the medial border
    always cuts the pelvis. Empty where there is no bone.
    """
    step_x_mm, step_y_mm, step_z_mm = window.GetSpacing()
    hu_zyx = array_zyx(window)[:, in_view[1], in_view[0]]
    if center.head_z_mm is not None:
        height = round((center.head_z_mm - window.GetOrigin()[2]) / step_z_mm) + 1
        hu_zyx = hu_zyx[: max(height, 1)]
    # the patient's left is at high x: mirror a right hip so that lateral is at high x for both
    lateral_half = hu_zyx[:, :, ::-1] if center.side == "right" else hu_zyx
    lateral_half = lateral_half[:, :, lateral_half.shape[2] // 2 :]
    labels_zyx, count = ndimage.label(lateral_half > bone_hu)
    if not count:
        return {}
    pieces = ndimage.find_objects(labels_zyx)
    largest = pieces[int(np.argmax(np.bincount(labels_zyx.ravel())[1:]))]
    _, rows, columns = largest
    _, height_y, width_x = lateral_half.shape
    return {
        "lateral": (width_x - columns.stop) * step_x_mm,
        "anterior": rows.start * step_y_mm,
        "posterior": (height_y - rows.stop) * step_y_mm,
    }
