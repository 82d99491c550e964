"""Contours of masks on slices: a montage and a thumbnail of a scan, and functions that other pictures share.

Axial slices are shown in radiological orientation: anterior on top, the patient's left at the right edge; of other
slices, see `lib.figures.slice_planes`. The predicted contour is solid, the reference is dashed on top of it, so that
both are visible where they coincide.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contourpy import contour_generator
from PIL import Image, ImageDraw, ImageFont

from lib.atomic import whole_file
from lib.figures.palette import REFERENCE, Color, structure_color
from lib.figures.slice_planes import AXIAL, SlicePlane

_REFERENCE = "reference"
INK, PAPER = (233, 238, 242), (17, 21, 25)

TILE_PX, THUMBNAIL_PX = 216, 112
COLUMNS, ROWS = 5, 2
_PLAIN = str.maketrans("₀₁₂₃₄₅₆₇₈₉²³−", "012345678923-")
GAP_PX, HEADER_PX = 4, 30
MARGIN_MM = 15.0
DASH_PX, DASH_GAP_PX = 5.0, 4.0
LINE_PX = 1.5
# contours are drawn on a picture this much larger and then reduced: Pillow does not smooth lines
_OVERSAMPLING = 2


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The part of every slice that is shown: first pixel (y, x) and edge, in pixels of the scan."""

    start_yx: tuple[int, int]
    edge: int


@dataclass(frozen=True, kw_only=True)
class View:
    """A plane of a scan as it is drawn.

    Attributes:
        plane: grey levels (`grey_levels`), (rows, columns), the first row on top.
        masks: masks on the same plane whose contours are drawn, by name (`named_masks`), in drawing order.
        start: first row and column that are shown; may lie outside the plane.
        count: rows and columns that are shown.
        size_px: width and height of the picture.
    """

    plane: np.ndarray
    masks: Mapping[str, np.ndarray]
    start: tuple[int, int]
    count: tuple[int, int]
    size_px: tuple[int, int]

    def place(self, points: np.ndarray) -> np.ndarray:
        """Return the position in the picture of points (n, 2), given as (column, row); pixel centres are integers."""
        scale = np.divide(self.size_px, self.count[::-1])
        return (points + 0.5 - self.start[::-1]) * scale


def draw_contours(
    grey: np.ndarray,
    masks: Mapping[str, np.ndarray],
    spacing_mm: tuple[float, float, float],
    caption: str,
    plane: SlicePlane = AXIAL,
) -> Image.Image:
    """Return ten slices from the first one with bone to the last one with the contours of the masks.

    Args:
        grey: grey levels (`grey_levels`) of the slices of a plane, (slice, row, column): see `SlicePlane.turn`.
        masks: masks on the same grid (`named_masks`).
        spacing_mm: distance of slices, rows and columns.
        caption: written above the slices; a pseudonym, never a name.
        plane: of the slices, whose letters are written at the edges.
    """
    bone = np.logical_or.reduce(list(masks.values()))
    sight = find_sight(bone, spacing_mm)
    tiles = []
    for index in choose_slices(bone, COLUMNS * ROWS):
        tile = _draw_tile((grey[index], _on_slice(masks, int(index))), sight, spacing_mm[1:], TILE_PX)
        write_words(tile, (6, 4), f"{index * spacing_mm[0]:.0f} mm")
        tiles.append(tile)
    return _montage(tiles, caption, list(masks), plane)


def draw_thumbnail(
    grey: np.ndarray,
    masks: Mapping[str, np.ndarray],
    spacing_mm: tuple[float, float, float],
    plane: SlicePlane = AXIAL,
) -> Image.Image:
    """Return one small slice with the contours (arguments as in `draw_contours`).

    It is an axial slice of the upper bone; of other planes, the slice with most bone.
    """
    bone = np.logical_or.reduce(list(masks.values()))
    largest = int(np.argmax(np.count_nonzero(bone, axis=(1, 2))))
    index = int(choose_slices(bone, 5)[3]) if plane == AXIAL or not bone.any() else largest
    shown = grey[index], _on_slice(masks, index)
    return _draw_tile(shown, find_sight(bone, spacing_mm), spacing_mm[1:], THUMBNAIL_PX)


def named_masks(
    predicted_zyx: np.ndarray, reference_zyx: np.ndarray | None, structures: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return masks as booleans by name, in drawing order.

    Names are `predicted` and `reference`; of several structures, the structure and `reference` with the structure.
    """
    if len(structures) < 2:
        masks = {"predicted": predicted_zyx > 0}
        return masks if reference_zyx is None else masks | {"reference": reference_zyx > 0}
    labelled = list(enumerate(structures, start=1))
    masks = {name: predicted_zyx == label for label, name in labelled}
    if reference_zyx is None:
        return masks
    return masks | {f"{_REFERENCE} {name}": reference_zyx == label for label, name in labelled}


def look_of(name: str, names: Iterable[str]) -> tuple[Color, bool]:
    """Return the colour of a mask among `names` (see `named_masks`), and whether its contour is dashed."""
    if name.split()[0] == _REFERENCE:
        return REFERENCE, True
    return structure_color([other for other in names if other.split()[0] != _REFERENCE].index(name)), False


def choose_slices(mask_zyx: np.ndarray, count: int) -> np.ndarray:
    """Return `count` slice indices spread evenly over the slices with bone (over all slices if there is none)."""
    slices = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    if not len(slices):
        slices = np.arange(len(mask_zyx))
    return slices[np.linspace(0, len(slices) - 1, count).round().astype(int)]


def find_sight(bone_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> Sight:
    """Return the square that holds the bone of all slices with a margin; the whole slice if there is no bone."""
    flat = bone_zyx.any(axis=0)
    if not flat.any():
        return Sight(start_yx=(0, 0), edge=max(flat.shape))
    ranges = [np.flatnonzero(flat.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
    margin = MARGIN_MM / min(spacing_mm_zyx[1:])
    edge = int(max(last - first for first, last in ranges) + 1 + 2 * margin)
    starts = [int((first + last + 1 - edge) // 2) for first, last in ranges]
    return Sight(start_yx=(starts[0], starts[1]), edge=edge)


def mask_contours(mask_yx: np.ndarray) -> list[np.ndarray]:
    """Return the closed contours (n, 2) of a mask (y, x) as (x, y) in pixels; pixel centres are integers."""
    padded = np.pad(mask_yx.astype(np.float32), 1)
    return [line - 1.0 for line in contour_generator(z=padded).lines(0.5)]


def draw_view(view: View) -> Image.Image:
    """Return a plane as a picture with the contours of its masks."""
    large = View(
        plane=view.plane,
        masks=view.masks,
        start=view.start,
        count=view.count,
        size_px=tuple(_OVERSAMPLING * edge for edge in view.size_px),
    )
    (top, left), (rows, columns) = view.start, view.count
    shown = Image.fromarray(view.plane).crop((left, top, left + columns, top + rows))
    picture = shown.resize(large.size_px, Image.Resampling.BICUBIC).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for name, mask in view.masks.items():
        color, dashed = look_of(name, view.masks)
        for line in mask_contours(mask):
            points = large.place(line)
            for part in dashes(points, _OVERSAMPLING) if dashed else (points,):
                corners = list(map(tuple, part.tolist()))
                pen.line(corners, fill=color, width=round(LINE_PX * _OVERSAMPLING), joint="curve")
    return picture.reduce(_OVERSAMPLING)


def grey_levels(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Return intensities as grey levels (uint8) of the same shape: black (0) to white (255) over `window`."""
    low, high = window
    return np.clip((values.astype(np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)


def write_picture(picture: Image.Image, path: str | Path, *, quality: int = 82, method: int = 4) -> None:
    """Write a picture atomically in the format of the suffix, without metadata.

    `quality` (0 to 100) and `method` (0: fast, 6: small) are WebP options.
    """
    with whole_file(path) as temporary:
        picture.save(temporary, quality=quality, method=method)


def write_words(
    picture: Image.Image,
    corner: tuple[int, int],
    text: str,
    size: int = 12,
    color: tuple[int, int, int] = INK,
) -> None:
    """Write a text with a dark outline onto a picture, its upper left corner at `corner`."""
    pen = ImageDraw.Draw(picture)
    pen.text(corner, _as_drawn(text), fill=color, font=_font(size), stroke_width=1, stroke_fill=PAPER)


def dashes(line: np.ndarray, scale: int) -> Iterator[np.ndarray]:
    """Yield a line (n, 2) in dashes of DASH_PX with gaps of DASH_GAP_PX, `scale` times as long."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    dash, period = (scale * px for px in (DASH_PX, DASH_PX + DASH_GAP_PX))
    for start in np.arange(0.0, along[-1], period):
        stop = min(start + dash, along[-1])
        inside = line[(along > start) & (along < stop)]
        ends = [[np.interp(end, along, line[:, axis]) for axis in (0, 1)] for end in (start, stop)]
        yield np.vstack([ends[0], inside, ends[1]])


def words_width(text: str, size: int) -> float:
    """Return the width of a text that `write_words` writes, in pixels."""
    return _font(size).getlength(_as_drawn(text))


def write_legend(picture: Image.Image, right_px: int, names: Sequence[str]) -> None:
    """Write the names of the masks in their colours at the top, ending at `right_px`, each with a sample line."""
    pen = ImageDraw.Draw(picture)
    told = {_REFERENCE if name.split()[0] == _REFERENCE else name: look_of(name, names) for name in names}
    # leftwards: the predicted masks, the last one first, then the reference
    predicted = [name for name in reversed(told) if name != _REFERENCE]
    for name in (*predicted, *[_REFERENCE][: _REFERENCE in told]):
        color, dashed = told[name]
        right_px -= round(words_width(name, 14))
        write_words(picture, (right_px, 7), name, size=14, color=color)
        sample = np.array([(right_px - 34.0, 16.0), (right_px - 6.0, 16.0)])
        for part in dashes(sample, 1) if dashed else (sample,):
            pen.line(list(map(tuple, part.tolist())), fill=color, width=2)
        right_px -= 52


def _on_slice(masks: Mapping[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    return {name: mask[index] for name, mask in masks.items()}


def _draw_tile(
    shown: tuple[np.ndarray, Mapping[str, np.ndarray]],
    sight: Sight,
    spacing_mm_yx: tuple[float, float],
    edge_px: int,
) -> Image.Image:
    """Return a slice (grey levels and masks) in a square tile; pixels keep the shape they have in mm."""
    px_per_pixel = edge_px / (sight.edge * max(spacing_mm_yx))
    height, width = (round(sight.edge * step * px_per_pixel) for step in spacing_mm_yx)
    plane, masks = shown
    count = (sight.edge, sight.edge)
    view = View(plane=plane, masks=masks, start=sight.start_yx, count=count, size_px=(width, height))
    tile = Image.new("RGB", (edge_px, edge_px), PAPER)
    tile.paste(draw_view(view), ((edge_px - width) // 2, (edge_px - height) // 2))
    return tile


def _montage(
    tiles: Sequence[Image.Image], caption: str, names: Sequence[str], plane: SlicePlane
) -> Image.Image:
    step = TILE_PX + GAP_PX
    picture = Image.new("RGB", (COLUMNS * step + GAP_PX, ROWS * step + GAP_PX + HEADER_PX), PAPER)
    for position, tile in enumerate(tiles):
        row, column = divmod(position, COLUMNS)
        corner = (GAP_PX + column * step, HEADER_PX + row * step)
        picture.paste(tile, corner)
        middle = TILE_PX // 2
        places = (6, middle - 8), (TILE_PX - 16, middle - 8), (middle - 4, 4), (middle - 4, TILE_PX - 20)
        for letter, (x, y) in zip(plane.letters, places, strict=True):
            write_words(picture, (corner[0] + x, corner[1] + y), letter)
    write_words(picture, (GAP_PX + 4, 7), caption, size=14)
    write_legend(picture, picture.width - GAP_PX - 4, names)
    return picture


def _as_drawn(text: str) -> str:
    """Return a text without the characters that the font of pictures lacks: mg/cm3 for mg/cm³."""
    return text.translate(_PLAIN)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
