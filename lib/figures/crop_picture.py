"""The crop window in its whole scan: one picture per scan, to check the crop at a glance.

The picture shows the window on an axial slice and a coronal projection in radiological orientation: the patient's
left is at the right edge. If the window is wrong, the scales in LPS mm give the centre for the cohort table.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lib.catalog.anatomies import SOURCES
from lib.figures.contours import (
    GAP_PX,
    INK,
    PAPER,
    grey_levels,
    write_words,
)
from lib.figures.palette import FOUND, GIVEN, UNCERTAIN, Color

LINE_COLOR = (120, 130, 140)

PLANE_WIDTH_PX, PLANE_HEIGHT_PX = 460, 900
SCALE_PX, LINE_PX, LINE_CHARACTERS = 34, 19, 135
CROSS_PX = 7
TICK_MM = 50
_BRIGHT = 0.36  # part of the window from black to white: 200 HU in a CT


@dataclass(frozen=True, kw_only=True)
class CropSight:
    """A scan and the window that was cut out of it.

    Attributes:
        image_zyx: the whole scan, (z, y, x), index 0 of z distal, x to the patient's left.
        window: values drawn black and white in slices.
        projection_window: the same in projections.
        spacing_mm_zyx: voxel spacing.
        start_xyz: index of the window's first voxel; may lie outside the scan.
        size_xyz: size of the window in voxels.
        center_xy: index of the requested centre.
        head_z: index of the slice through a femoral head, or None if there is none.
        x_mm: LPS x of the first and last column, on the centre's row.
        y_mm: LPS y of the first and last row, on the centre's column.
    """

    image_zyx: np.ndarray
    window: tuple[float, float]
    projection_window: tuple[float, float]
    spacing_mm_zyx: tuple[float, float, float]
    start_xyz: tuple[int, int, int]
    size_xyz: tuple[int, int, int]
    center_xy: tuple[float, float]
    head_z: float | None
    x_mm: tuple[float, float]
    y_mm: tuple[float, float]

    @property
    def box_yx(self) -> tuple[slice, slice]:
        """Rows and columns of the scan that the window holds."""
        x, y = (
            slice(max(first, 0), max(first + n, 0))
            for first, n in zip(self.start_xyz[:2], self.size_xyz[:2], strict=True)
        )
        return y, x

    @property
    def axial_index(self) -> int:
        """The slice through the head; if that is unknown, the slice with the brightest tissue in the window."""
        if self.head_z is None:
            bright = self.image_zyx[:, *self.box_yx] > self.window[0] + _BRIGHT * np.ptp(self.window)
            return int(np.argmax(np.count_nonzero(bright, axis=(1, 2))))
        return int(np.clip(round(self.head_z), 0, len(self.image_zyx) - 1))

    @property
    def coronal_zx(self) -> np.ndarray:
        """The maximum intensity projection over the window's rows, because no single plane holds the whole bone."""
        depth_zyx = self.image_zyx[:, self.box_yx[0]]
        return depth_zyx.max(axis=1) if depth_zyx.shape[1] else self.image_zyx[:, 0]


@dataclass(frozen=True, kw_only=True)
class _Plane:
    """A plane of the scan with the window in it; indices are (column, row), to the right and downward.

    Attributes:
        values_yx: intensities.
        window: intensities drawn black and white.
        px: width and height of a voxel in the picture.
        start: index of the window's first voxel.
        size: size of the window in voxels.
        center: index of the window's centre.
        line_row: row of the other view, or None if that view is a projection.
        ends_mm: LPS mm of the first and last column and row; None for no scale.
    """

    values_yx: np.ndarray
    window: tuple[float, float]
    px: tuple[float, float]
    start: tuple[int, int]
    size: tuple[int, int]
    center: tuple[float, float]
    line_row: int | None
    ends_mm: tuple[tuple[float, float] | None, ...]

    @property
    def shown(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The first and last column and row that are shown, extended to the whole window if it leaves the scan."""
        columns, rows = (
            (min(0, start), max(count, start + n) - 1)
            for count, start, n in zip(self.values_yx.shape[::-1], self.start, self.size, strict=True)
        )
        return columns, rows

    @property
    def size_px(self) -> tuple[int, int]:
        """Size of the view in the picture."""
        return tuple(
            round((last + 1 - first) * step) for (first, last), step in zip(self.shown, self.px, strict=True)
        )

    def place(self, column: float, row: float) -> tuple[float, float]:
        """Return the position of an index in the picture; the centre of voxel 0 is half a voxel from its edge."""
        return tuple(
            (index + 0.5 - first) * step
            for index, (first, _), step in zip((column, row), self.shown, self.px, strict=True)
        )


def describe_crop(scan: str, record: Mapping, located: Mapping | None, part: str) -> list[str]:
    """Return the lines above the views: scan, side, source of the centre, doubts, margins and flags.

    Args:
        scan: a pseudonym, never a name.
        record: content of crop.json.
        located: what screening has located, with its doubts; None: nothing.
        part: what the window shows, such as "left hip".
    """
    x_mm, y_mm = record["center_mm_xy"]
    uncertain = "crop_uncertain" in record["flags"]
    lines = [
        f"{scan}   {part}   centre ({x_mm:.1f}, {y_mm:.1f}) mm LPS, {SOURCES[record['source']]}"
        + (", UNCERTAIN" if uncertain else "")
    ]
    if uncertain:
        lines += [f"doubt: {doubt}" for doubt in located["doubts"]]
        lines.append(
            "If the window is wrong, give its centre in the cohort table: crop_x_mm, crop_y_mm (scales: LPS)."
        )
    margins = ", ".join(f"{border} {margin:.0f} mm" for border, margin in record["margins_mm"].items())
    margins = margins or ("no bone found" if "no_bone" in record["flags"] else "")
    flags = f"flags: {', '.join(record['flags']) or 'none'}"
    lines.append(f"bone to border: {margins}   {flags}" if margins else flags)
    return [part for line in lines for part in textwrap.wrap(line, LINE_CHARACTERS, break_on_hyphens=False)]


def window_color(record: Mapping) -> Color:
    """Return the colour of the window, which tells whether its centre was given, found, or is uncertain."""
    if record["source"] == "override":
        return GIVEN
    return UNCERTAIN if "crop_uncertain" in record["flags"] else FOUND


def draw_crop(sight: CropSight, lines: Sequence[str], color: Color) -> Image.Image:
    """Return the axial and coronal views of the whole scan with the window in `color`, below lines of text."""
    views = [_draw_plane(plane, color) for plane in _planes(sight)]
    top = GAP_PX + LINE_PX * len(lines) + GAP_PX
    width = sum(view.width + GAP_PX for view in views) + GAP_PX
    picture = Image.new("RGB", (width, top + max(view.height for view in views) + GAP_PX), PAPER)
    for number, line in enumerate(lines):
        write_words(
            picture, (GAP_PX + 4, GAP_PX + LINE_PX * number), line, size=14, color=INK if number else color
        )
    left = GAP_PX
    for view in views:
        picture.paste(view, (left, top))
        left += view.width + GAP_PX
    return picture


def _planes(sight: CropSight) -> tuple[_Plane, _Plane]:
    """Return the axial and coronal views of the scan; the coronal view has the head on top."""
    slices, rows, columns = sight.image_zyx.shape
    (start_x, start_y, start_z), (size_x, size_y, size_z) = sight.start_xyz, sight.size_xyz
    center_x, center_y = sight.center_xy
    step_z, step_y, step_x = sight.spacing_mm_zyx
    px_per_mm = min(
        PLANE_WIDTH_PX / (columns * step_x), PLANE_HEIGHT_PX / max(rows * step_y, slices * step_z)
    )
    axial_row = slices - 1 - sight.axial_index
    axial = _Plane(
        values_yx=sight.image_zyx[sight.axial_index],
        window=sight.window,
        px=(step_x * px_per_mm, step_y * px_per_mm),
        start=(start_x, start_y),
        size=(size_x, size_y),
        center=(center_x, center_y),
        line_row=None,
        ends_mm=(sight.x_mm, sight.y_mm),
    )
    coronal = _Plane(
        values_yx=sight.coronal_zx[::-1],
        window=sight.projection_window,
        px=(step_x * px_per_mm, step_z * px_per_mm),
        start=(start_x, slices - start_z - size_z),
        size=(size_x, size_z),
        center=(center_x, axial_row),
        line_row=axial_row,
        ends_mm=(sight.x_mm, None),
    )
    return axial, coronal


def _draw_plane(plane: _Plane, color: Color) -> Image.Image:
    """Return the picture of a plane with the window, its centre, the position of the other view and scales in mm."""
    width, height = plane.size_px
    picture = Image.new("RGB", (width + SCALE_PX, height + SCALE_PX), PAPER)
    rows, columns = plane.values_yx.shape
    size = (round(columns * plane.px[0]), round(rows * plane.px[1]))
    corner = tuple(round(edge) for edge in plane.place(-0.5, -0.5))
    shown = Image.fromarray(grey_levels(plane.values_yx, plane.window))
    picture.paste(shown.resize(size, Image.Resampling.BICUBIC), corner)
    pen = ImageDraw.Draw(picture)
    if plane.line_row is not None:
        _, line_y = plane.place(0, plane.line_row)
        for x in range(0, width, 12):
            pen.line([(x, line_y), (x + 5, line_y)], fill=LINE_COLOR)
    low = plane.place(plane.start[0] - 0.5, plane.start[1] - 0.5)
    high = plane.place(*(first + n - 0.5 for first, n in zip(plane.start, plane.size, strict=True)))
    pen.rectangle((*low, *(edge - 1 for edge in high)), outline=color, width=2)
    x, y = plane.place(*plane.center)
    pen.line([(x - CROSS_PX, y), (x + CROSS_PX, y)], fill=color, width=2)
    pen.line([(x, y - CROSS_PX), (x, y + CROSS_PX)], fill=color, width=2)
    for letter, edge in (("R", 6), ("L", width - 16)):
        write_words(picture, (edge, 6), letter)
    _draw_scales(picture, plane)
    return picture


def _draw_scales(picture: Image.Image, plane: _Plane) -> None:
    """Draw the scales in LPS mm below and to the right of a plane."""
    pen, (width, height) = ImageDraw.Draw(picture), plane.size_px
    write_words(picture, (width + 7, height + 7), "mm")
    counts = plane.values_yx.shape[::-1]
    for axis, (ends_mm, count) in enumerate(zip(plane.ends_mm, counts, strict=True)):
        for mm, index in _ticks(ends_mm, count, plane.shown[axis]) if ends_mm else ():
            if axis == 0:
                x, _ = plane.place(index, 0)
                pen.line([(x, height), (x, height + 5)], fill=INK)
                write_words(picture, (max(round(x) - 12, 0), height + 7), str(mm))
            else:
                _, y = plane.place(0, index)
                pen.line([(width, y), (width + 5, y)], fill=INK)
                write_words(picture, (width + 9, round(y) - 8), str(mm))


def _ticks(ends_mm: tuple[float, float], count: int, shown: tuple[int, int]) -> Iterator[tuple[int, float]]:
    """Yield the multiples of TICK_MM and their voxel index among `count`, for the indices that are shown."""
    step_mm = (ends_mm[1] - ends_mm[0]) / max(count - 1, 1)
    low_mm, high_mm = (ends_mm[0] + step_mm * index for index in shown)
    for mm in range(math.ceil(low_mm / TICK_MM) * TICK_MM, math.floor(high_mm) + 1, TICK_MM):
        yield mm, (mm - ends_mm[0]) / step_mm
