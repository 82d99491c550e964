"""All slices of a scan for its page: a sheet of grey slices, contours as vector paths, area and Dice per slice."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lib.figures.contours import Sight, mask_contours

# contours of a mask have corners only at half pixels, so integer path coordinates are exact
UNITS_PER_PIXEL = 2
MOST_TILE_PX = 224


def sheet_columns(slices: int) -> int:
    """Return the number of slices in a row, for a sheet that is about square."""
    return math.ceil(math.sqrt(slices))


def draw_sheet(grey_zyx: np.ndarray, sight: Sight) -> Image.Image:
    """Return all slices (grey levels), cut to `sight`, as one picture, row by row from the first one."""
    (top, left), edge = sight.start_yx, sight.edge
    tile_px = min(edge, MOST_TILE_PX)
    columns = sheet_columns(len(grey_zyx))
    sheet = Image.new("L", (columns * tile_px, math.ceil(len(grey_zyx) / columns) * tile_px))
    for index, slice_yx in enumerate(grey_zyx):
        tile = Image.fromarray(slice_yx).crop((left, top, left + edge, top + edge))
        row, column = divmod(index, columns)
        sheet.paste(
            tile.resize((tile_px, tile_px), Image.Resampling.LANCZOS), (column * tile_px, row * tile_px)
        )
    return sheet


def slice_paths(mask_zyx: np.ndarray, sight: Sight) -> list[str]:
    """Return the contours of a mask or label map on every slice as SVG path data, empty where there is no bone.

    Coordinates are in 1/UNITS_PER_PIXEL of a pixel from the upper left corner of `sight`. Only corners are kept, so
    the paths are exact.
    """
    top, left = sight.start_yx
    corner = np.array([left, top]) - 0.5
    labels = range(1, int(mask_zyx.max(initial=0)) + 1)
    return [
        "".join(
            _path(np.rint((line - corner) * UNITS_PER_PIXEL).astype(int))
            for label in labels
            for line in mask_contours(labels_yx == label)
        )
        for labels_yx in mask_zyx
    ]


def slice_areas(mask_zyx: np.ndarray, spacing_mm_zyx: tuple[float, float, float]) -> list[float]:
    """Return the area of a mask on every slice, mm2."""
    _, step_y, step_x = spacing_mm_zyx
    return (np.count_nonzero(mask_zyx, axis=(1, 2)) * step_y * step_x).round(1).tolist()


def slice_dice(reference_zyx: np.ndarray, predicted_zyx: np.ndarray) -> list[float | None]:
    """Return the Dice coefficient of every slice; None where neither mask has bone."""
    reference, predicted = reference_zyx > 0, predicted_zyx > 0
    common = np.count_nonzero(reference & predicted, axis=(1, 2)).tolist()
    sizes = sum(np.count_nonzero(mask, axis=(1, 2)) for mask in (reference, predicted)).tolist()
    return [round(2 * both / size, 4) if size else None for both, size in zip(common, sizes, strict=True)]


def middle_slice(masks_zyx: Sequence[np.ndarray]) -> int:
    """Return the middle slice of the bone of all masks, or of the scan if there is no bone."""
    bone = np.logical_or.reduce([np.any(mask, axis=(1, 2)) for mask in masks_zyx])
    slices = np.flatnonzero(bone) if bone.any() else np.arange(len(bone))
    return int(slices[len(slices) // 2])


def _path(points: np.ndarray) -> str:
    """Return a closed line (n, 2) of integers, its first point repeated at the end, as SVG path data."""
    corners = _corners(points[:-1])
    start_x, start_y = corners[0]
    steps = np.diff(corners, axis=0).ravel()
    return f"M{start_x} {start_y}l" + "".join(f"{step:+d}" for step in steps).replace("+", " ") + "z"


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the corners (n, 2) of a closed line."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
