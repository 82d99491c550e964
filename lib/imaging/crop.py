"""The in-plane window of one hip: its position, the cropping, and the record of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk

from lib.errors import ConfigError
from lib.imaging.grid import SIDES, column_index, slice_index
from lib.intensity_scale import IntensityRange

# Tolerance in slices, so that rounding does not exclude a slice that ends at the window's border.
_SLICE_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """Keys of config `crop`.

    Attributes:
        size_xy: voxels of the in-plane window.
        bone_hu: intensity above which a voxel counts as bone.
        min_margin_mm: a femur nearer than this to the window's border is flagged.
        above_head_mm: slices further than this above the centre of the femoral head are cut off.
    """

    size_xy: tuple[int, int] = (192, 192)
    bone_hu: float = 200.0
    min_margin_mm: float = 10.0
    above_head_mm: float = 60.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_xy", tuple(self.size_xy))
        if len(self.size_xy) != 2 or not all(isinstance(n, int) and n >= 1 for n in self.size_xy):
            raise ConfigError(
                f"crop.size_xy must be two whole numbers >= 1 (voxels); got {list(self.size_xy)}"
            )
        if not self.bone_hu > 0:
            raise ConfigError(f"crop.bone_hu must be a number > 0 (HU); got {self.bone_hu!r}")
        if not self.min_margin_mm >= 0:
            raise ConfigError(f"crop.min_margin_mm must be a number >= 0 (mm); got {self.min_margin_mm!r}")
        if not self.above_head_mm >= 40:  # the largest heads have a radius of 30 mm
            raise ConfigError(f"crop.above_head_mm must be a number >= 40 (mm); got {self.above_head_mm!r}")


@dataclass(frozen=True, kw_only=True)
class CropCenter:
    """The requested centre of a window, and its source.

    Attributes:
        side: `left` or `right` of the patient.
        center_mm_xy: LPS mm, at the height of the image's centre.
        source: `automatic`, or `override` from the cohort table.
        uncertain: whether the automatic search had doubts.
        head_mm_xyz: the femoral head (LPS mm) if known; above it the pelvis may reach as far laterally as the
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
    """The record of a crop: the content of crop.json.

    Attributes:
        side: `left` or `right` of the patient.
        center_mm_xy: the requested centre, LPS mm.
        source: `automatic` or `override`.
        start_xy: index of the window's first voxel in the image; negative where the window leaves it.
        size_xyz: voxels of the window.
        spacing_mm_xyz: size of a voxel.
        padded_voxels: voxels of the window outside the image, filled with the padding of `intensity`.
        slices_cut_above: slices of the image above the window.
        margins_mm: distance from the femur's bone to the `lateral`, `anterior` and `posterior` border.
        intensity: the scan's intensity range.
        flags: any of `crop_uncertain`, `bone_at_border`, `no_bone`, `padded`, `override`.
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
    intensity: IntensityRange
    flags: tuple[str, ...]

    def to_json(self) -> dict:
        """Return the record as a JSON object."""
        return asdict(self)


# (window, its index ranges in the image (x, y), its centre, intensity of bone in HU) -> mm to each border
FindMargins = Callable[[sitk.Image, tuple[slice, slice], CropCenter, float], Mapping[str, float]]


def crop_image(
    image: sitk.Image,
    center: CropCenter,
    config: CropConfig,
    find_margins: FindMargins,
    intensity: IntensityRange,
) -> tuple[sitk.Image, CropRecord]:
    """Cut the window out of a CT (int16 HU) and return a record of it.

    Slices are kept from the distal end up to `above_head_mm` above the femoral head: no femur lies higher, and the
    network was not trained on the abdomen. All slices are kept if the head's height is uncertain. Voxels keep their
    positions; outside the image the window holds the padding of `intensity`. `find_margins` comes from the anatomy,
    for example `lib.anatomy.femur.window.femur_margins`.
    """
    slices = image.GetSize()[2]
    start_xy = window_start(image, center.center_mm_xy, config.size_xy)
    size_xyz = (*config.size_xy, kept_slices(image, center, config))
    window = _cut(image, start_xy, size_xyz, intensity.padding)
    in_view = _columns_in_view(image, start_xy, config.size_xy)
    margins_mm = find_margins(window, in_view, center, config.bone_hu)
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
        intensity=intensity,
        flags=tuple(flag for flag, is_raised in raised.items() if is_raised),
    )
    return window, record


def crop_labels(mask: sitk.Image, record: Mapping) -> sitk.Image:
    """Cut the window of `record` (content of crop.json) out of a mask on the grid of the uncropped image."""
    return _cut(mask, tuple(record["start_xy"]), tuple(record["size_xyz"]), 0)


def kept_slices(image: sitk.Image, center: CropCenter, config: CropConfig) -> int:
    """Return the number of slices of `image`, from the distal end, that belong to the window."""
    slices = image.GetSize()[2]
    if center.head_mm_xyz is None or center.uncertain:
        return slices
    last = slice_index(image, center.head_mm_xyz) + config.above_head_mm / image.GetSpacing()[2]
    return min(max(math.floor(last + _SLICE_TOLERANCE) + 1, 1), slices)


def window_start(image: sitk.Image, center_mm_xy: Sequence[float], size_xy: Sequence[int]) -> tuple[int, int]:
    """Return the index (x, y) of the window's first voxel, so that its middle is nearest to `center_mm_xy`."""
    center_ij = column_index(image, center_mm_xy)
    x, y = (round(index - 0.5 * (n - 1)) for index, n in zip(center_ij, size_xy, strict=True))
    return x, y


def _cut(
    image: sitk.Image, start_xy: tuple[int, int], size_xyz: tuple[int, int, int], outside: int
) -> sitk.Image:
    """Return the window of `image` from its first slice; only the window's voxels are copied."""
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
