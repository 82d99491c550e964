"""The window of a scan that networks see: its position, the cropping, and the record of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk

from lib.crop_settings import WHOLE, CropConfig
from lib.errors import ConfigError
from lib.imaging.grid import SIDES, column_index, column_mm, slice_index
from lib.imaging.model_frame import ModelFrame
from lib.intensity_scale import IntensityRange

# Tolerance in slices, so that rounding does not exclude a slice that ends at the window's border.
_SLICE_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class UpperEnd:
    """Where a window ends above: slices further than `above_mm` above a point of the bone (LPS mm) are cut off."""

    point_mm_xyz: tuple[float, float, float]
    above_mm: float


@dataclass(frozen=True, kw_only=True)
class CropCenter:
    """The requested centre of a window, and its source.

    Attributes:
        side: `left` or `right` of the patient; empty for an anatomy without sides.
        center_mm_xy: LPS mm, at the height of the image's centre.
        source: `automatic` (found in the image), `middle` (of the image), or `override` from the cohort table.
        uncertain: whether the automatic search had doubts.
        upper_end: where the window ends above; None: with the image.
    """

    side: str
    center_mm_xy: tuple[float, float]
    source: str = "automatic"
    uncertain: bool = False
    upper_end: UpperEnd | None = None

    def __post_init__(self) -> None:
        if self.side and self.side not in SIDES:
            raise ConfigError(f"side must be one of {', '.join(SIDES)}; got {self.side!r}")


@dataclass(frozen=True, kw_only=True)
class CropRecord:
    """The record of a crop: the content of crop.json.

    Attributes:
        side: `left` or `right` of the patient; empty for an anatomy without sides.
        center_mm_xy: the requested centre, LPS mm.
        source: `automatic`, `middle` or `override`.
        start_xyz: index of the window's first voxel in the image; negative where the window leaves it.
        size_xyz: voxels of the window.
        spacing_mm_xyz: size of a voxel.
        padded_voxels: voxels of the window outside the image, filled with the padding of `intensity`.
        slices_cut_above: slices of the image above the window.
        margins_mm: distance from the bone to borders of the window, by their names, such as `lateral`; empty if the
            anatomy measures none.
        intensity: the scan's intensity range.
        frame: how the crop is turned for a network.
        flags: any of `crop_uncertain`, `bone_at_border`, `no_bone`, `padded`, `override`.
    """

    side: str
    center_mm_xy: tuple[float, float]
    source: str
    start_xyz: tuple[int, int, int]
    size_xyz: tuple[int, int, int]
    spacing_mm_xyz: tuple[float, float, float]
    padded_voxels: int
    slices_cut_above: int
    margins_mm: Mapping[str, float]
    intensity: IntensityRange
    frame: ModelFrame
    flags: tuple[str, ...]

    def to_json(self) -> dict:
        """Return the record as a JSON object."""
        return asdict(self)


# (window, its index ranges (x, y) that lie in the image, its centre) -> mm to each border; empty: no bone
FindMargins = Callable[[sitk.Image, tuple[slice, slice], CropCenter], Mapping[str, float]]


def crop_image(
    image: sitk.Image,
    center: CropCenter,
    config: CropConfig,
    find_margins: FindMargins | None,
    intensity: IntensityRange,
    frame: ModelFrame,
) -> tuple[sitk.Image, CropRecord]:
    """Cut the window out of an image (int16) and return a record of it.

    Axial slices are kept from the distal end up to the upper end of `center`, or all if the centre is uncertain.
    Voxels keep their positions; outside the image the window holds the padding of `intensity`. `find_margins` comes
    from the anatomy (`lib.anatomy.locate.margins_of`); None: margins are not measured.
    """
    start_xyz, size_xyz = find_window(image, center, config, frame)
    window = _cut(image, start_xyz, size_xyz, intensity.padding)
    in_view = _in_view(image, start_xyz, size_xyz)
    margins_mm = find_margins(window, in_view[:2], center) if find_margins else {}
    padded_voxels = math.prod(size_xyz) - math.prod(n.stop - n.start for n in in_view)
    raised = {
        "crop_uncertain": center.uncertain,
        "bone_at_border": min(margins_mm.values(), default=math.inf) < config.min_margin_mm,
        "no_bone": find_margins is not None and not margins_mm,
        "padded": padded_voxels > 0,
        "override": center.source == "override",
    }
    record = CropRecord(
        side=center.side,
        center_mm_xy=center.center_mm_xy,
        source=center.source,
        start_xyz=start_xyz,
        size_xyz=size_xyz,
        spacing_mm_xyz=window.GetSpacing(),
        padded_voxels=padded_voxels,
        slices_cut_above=max(image.GetSize()[2] - start_xyz[2] - size_xyz[2], 0),
        margins_mm=margins_mm,
        intensity=intensity,
        frame=frame,
        flags=tuple(flag for flag, is_raised in raised.items() if is_raised),
    )
    return window, record


def crop_labels(mask: sitk.Image, record: Mapping) -> sitk.Image:
    """Cut the window of `record` (content of crop.json) out of a label map on the grid of the uncropped image."""
    return _cut(mask, tuple(record["start_xyz"]), tuple(record["size_xyz"]), 0)


def middle_of(image: sitk.Image, side: str, override_mm_xy: Sequence[float] | None) -> CropCenter:
    """Return the table's centre, else the middle of the image."""
    if override_mm_xy is not None:
        return CropCenter(side=side, center_mm_xy=tuple(override_mm_xy), source="override")
    middle_ij = [0.5 * (count - 1) for count in image.GetSize()[:2]]
    return CropCenter(side=side, center_mm_xy=column_mm(image, middle_ij), source="middle")


def find_window(
    image: sitk.Image, center: CropCenter, config: CropConfig, frame: ModelFrame
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return index (x, y, z) of the window's first voxel, which may lie outside the image, and its size."""
    start, size = [0, 0, 0], list(image.GetSize())
    if config.method != WHOLE:
        middle = [*column_index(image, center.center_mm_xy), 0.5 * (size[2] - 1)]
        across = [axis for axis in range(3) if "xyz"[axis] != frame.slice_axis]
        for axis, count in zip(across, config.size, strict=True):
            start[axis], size[axis] = round(middle[axis] - 0.5 * (count - 1)), count
    if frame.slice_axis == "z":
        size[2] = kept_slices(image, center)
    return tuple(start), tuple(size)


def kept_slices(image: sitk.Image, center: CropCenter) -> int:
    """Return the number of slices of `image`, from the distal end, that belong to the window."""
    slices, end = image.GetSize()[2], center.upper_end
    if end is None or center.uncertain:
        return slices
    last = slice_index(image, end.point_mm_xyz) + end.above_mm / image.GetSpacing()[2]
    return min(max(math.floor(last + _SLICE_TOLERANCE) + 1, 1), slices)


def ranges_around(
    image: sitk.Image, center_mm_xy: Sequence[float], size_mm_xy: Sequence[float]
) -> tuple[slice, slice]:
    """Return the index ranges (x, y) of a box of this size (mm) around a centre (LPS mm), clipped to the image."""
    ranges = []
    for index, size_mm, edge_mm in zip(
        column_index(image, center_mm_xy), size_mm_xy, image.GetSpacing(), strict=False
    ):
        count = round(size_mm / edge_mm)
        first = round(index - 0.5 * (count - 1))
        ranges.append(slice(max(first, 0), max(first + count, 0)))
    return tuple(ranges)


def _cut(
    image: sitk.Image, start_xyz: tuple[int, int, int], size_xyz: tuple[int, int, int], outside: int
) -> sitk.Image:
    """Return the window of `image`; only the window's voxels are copied."""
    inside = _in_view(image, start_xyz, size_xyz)
    source = [slice(n.start + first, n.stop + first) for n, first in zip(inside, start_xyz, strict=True)]
    values_zyx = np.full(size_xyz[::-1], outside, sitk.GetArrayViewFromImage(image).dtype)
    values_zyx[*inside[::-1]] = sitk.GetArrayViewFromImage(image)[*source[::-1]]
    window = sitk.GetImageFromArray(values_zyx)
    window.SetOrigin(image.TransformIndexToPhysicalPoint(start_xyz))
    window.SetSpacing(image.GetSpacing())
    window.SetDirection(image.GetDirection())
    return window


def _in_view(image: sitk.Image, start_xyz: Sequence[int], size_xyz: Sequence[int]) -> tuple[slice, ...]:
    """Return the index ranges (x, y, z) of the window that lie in the image."""
    ranges = []
    for start, n, count in zip(start_xyz, size_xyz, image.GetSize(), strict=True):
        first = min(max(0, -start), n)
        ranges.append(slice(first, max(first, min(n, count - start))))
    return tuple(ranges)
