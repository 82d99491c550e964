"""Contours of a predicted scan on its slices: one montage and one thumbnail, small enough for thousands of scans.

Pictures show the slice as radiologists see it: the front on top, the patient's left at the right edge.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contourpy import contour_generator
from PIL import Image, ImageDraw, ImageFont

from lib.atomic import whole_file

REFERENCE_COLOR = (255, 112, 67)
PREDICTED_COLOR = (64, 224, 208)
INK, PAPER = (233, 238, 242), (17, 21, 25)

WINDOW_HU = (-250.0, 1000.0)
TILE_PX = 216
COLUMNS, ROWS = 5, 2
GAP_PX, HEADER_PX = 4, 30
MARGIN_MM = 15.0
# contours are drawn on a picture this much larger and brought down: Pillow's lines are not smooth themselves
_OVERSAMPLING = 2
_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The part of every slice that is shown: first pixel (y, x) and edge, in pixels of the scan."""

    start_yx: tuple[int, int]
    edge: int


def draw_contours(
    image_zyx: np.ndarray,
    predicted_zyx: np.ndarray,
    reference_zyx: np.ndarray | None,
    spacing_mm_zyx: tuple[float, float, float],
    caption: str,
) -> Image.Image:
    """Return ten slices from the distal end to the head with the contours of both masks (or of one).

    Args:
        image_zyx: intensities in HU, (z, y, x), index 0 of z distal, x to the patient's left.
        predicted_zyx: predicted mask on the same grid.
        reference_zyx: reference mask on the same grid, or None.
        spacing_mm_zyx: voxel spacing, mm.
        caption: written above the slices; a pseudonym, never a name.
    """
    masks = {"predicted": predicted_zyx > 0}
    if reference_zyx is not None:
        masks = {"reference": reference_zyx > 0, **masks}
    bone = np.logical_or.reduce(list(masks.values()))
    sight = _sight(bone, spacing_mm_zyx)
    tiles = [
        _tile(
            image_zyx[index],
            {name: mask[index] for name, mask in masks.items()},
            sight,
            index * spacing_mm_zyx[0],
        )
        for index in choose_slices(bone, COLUMNS * ROWS)
    ]
    return _montage(tiles, caption, list(masks))


def draw_thumbnail(
    image_zyx: np.ndarray,
    predicted_zyx: np.ndarray,
    reference_zyx: np.ndarray | None,
    spacing_mm_zyx: tuple[float, float, float],
) -> Image.Image:
    """Return one small slice through the upper femur with the contours (arguments as `draw_contours`)."""
    masks = {} if reference_zyx is None else {"reference": reference_zyx > 0}
    masks["predicted"] = predicted_zyx > 0
    bone = np.logical_or.reduce(list(masks.values()))
    index = int(choose_slices(bone, 5)[3])
    tile = _tile(
        image_zyx[index], {name: mask[index] for name, mask in masks.items()}, _sight(bone, spacing_mm_zyx)
    )
    return tile.resize((112, 112), Image.Resampling.LANCZOS)


def choose_slices(mask_zyx: np.ndarray, count: int) -> np.ndarray:
    """Return `count` slice indices spread evenly over the slices that hold bone (over all if none does)."""
    slices = np.flatnonzero(mask_zyx.any(axis=(1, 2)))
    if not len(slices):
        slices = np.arange(len(mask_zyx))
    return slices[np.linspace(0, len(slices) - 1, count).round().astype(int)]


def mask_contours(mask_yx: np.ndarray) -> list[np.ndarray]:
    """Return the closed outlines (n, 2) of a mask (y, x) as (x, y) in pixels, a pixel's centre at whole numbers."""
    padded = np.pad(mask_yx.astype(np.float32), 1)
    return [line - 1.0 for line in contour_generator(z=padded).lines(0.5)]


def show_hu(slice_yx: np.ndarray, window_hu: tuple[float, float] = WINDOW_HU) -> Image.Image:
    """Return a slice in HU (y, x) as a grey picture, a pixel a voxel, black to white over `window_hu`."""
    low, high = window_hu
    grey = np.clip((slice_yx.astype(np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)
    return Image.fromarray(grey)


def write_picture(picture: Image.Image, path: str | Path) -> None:
    """Write a picture in the format of the suffix, whole or not at all, without any metadata."""
    with whole_file(path) as temporary:
        picture.save(temporary, quality=_QUALITY, method=4)


def _sight(bone_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> Sight:
    """The square that holds the bone of all slices with a margin, the whole slice if there is none."""
    flat = bone_zyx.any(axis=0)
    if not flat.any():
        return Sight(start_yx=(0, 0), edge=max(flat.shape))
    ranges = [np.flatnonzero(flat.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
    margin = MARGIN_MM / min(spacing_mm_zyx[1:])
    edge = int(max(last - first for first, last in ranges) + 1 + 2 * margin)
    starts = [int((first + last + 1 - edge) // 2) for first, last in ranges]
    return Sight(start_yx=(starts[0], starts[1]), edge=edge)


def _tile(
    slice_yx: np.ndarray, masks_yx: dict[str, np.ndarray], sight: Sight, height_mm: float | None = None
) -> Image.Image:
    (top, left), edge = sight.start_yx, sight.edge
    size = TILE_PX * _OVERSAMPLING
    window = show_hu(slice_yx).crop((left, top, left + edge, top + edge))
    picture = window.resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    pen, scale = ImageDraw.Draw(picture), size / edge
    for name, mask in masks_yx.items():
        color, width = (REFERENCE_COLOR, 6) if name == "reference" else (PREDICTED_COLOR, 3)
        for line in mask_contours(mask):
            points = (line + 0.5 - (left, top)) * scale
            pen.line([tuple(point) for point in points.tolist()], fill=color, width=width, joint="curve")
    picture = picture.resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
    if height_mm is not None:
        write_words(picture, (6, 4), f"{height_mm:.0f} mm")
    return picture


def _montage(tiles: list[Image.Image], caption: str, names: list[str]) -> Image.Image:
    step = TILE_PX + GAP_PX
    picture = Image.new("RGB", (COLUMNS * step + GAP_PX, ROWS * step + GAP_PX + HEADER_PX), PAPER)
    for position, tile in enumerate(tiles):
        row, column = divmod(position, COLUMNS)
        corner = (GAP_PX + column * step, HEADER_PX + row * step)
        picture.paste(tile, corner)
        for letter, x in (("R", 6), ("L", TILE_PX - 16)):
            write_words(picture, (corner[0] + x, corner[1] + TILE_PX // 2 - 8), letter)
    write_words(picture, (GAP_PX + 4, 7), caption, size=14)
    x = picture.width - GAP_PX - 4
    for name, color in (("predicted", PREDICTED_COLOR), ("reference", REFERENCE_COLOR)):
        if name in names:
            x -= round(_font(14).getlength(name))
            write_words(picture, (x, 7), name, size=14, color=color)
            x -= 18
    return picture


def write_words(
    picture: Image.Image,
    corner: tuple[int, int],
    text: str,
    size: int = 12,
    color: tuple[int, int, int] = INK,
) -> None:
    """Write onto a picture, the upper left corner of the text at `corner`, dark round the edges."""
    pen = ImageDraw.Draw(picture)
    pen.text(corner, text, fill=color, font=_font(size), stroke_width=1, stroke_fill=PAPER)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
