"""The rods of a calibration phantom on a slice, with their HU: a picture for each scan that is calibrated by them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from lib.calibrated import Calibration
from lib.catalog.calibration import REFUSED
from lib.figures.contours import INK, PAPER, grey_levels, write_words
from lib.figures.palette import FOUND, UNCERTAIN

WIDTH_PX, HEADER_PX, LINE_PX, MARGIN_MM, MOST_HEIGHT_PX = 760, 46, 19, 22.0, 560
_WINDOW_HU = (-150.0, 650.0)
_LABEL_AT = 1.75  # radii of the disc below its centre
_OVERSAMPLING = 2  # lines are drawn larger and reduced: Pillow does not smooth them


@dataclass(frozen=True, kw_only=True)
class RodSight:
    """The slice on which rods are drawn.

    Attributes:
        slice_yx: HU of the middle slice, x to the patient's left.
        pixel_mm_yx: size of a pixel.
        centers_xy: index (column, row) of each rod's centre; may lie outside of the slice.
        radius_mm: of the discs that were measured.
    """

    slice_yx: np.ndarray
    pixel_mm_yx: tuple[float, float]
    centers_xy: Sequence[tuple[float, float]]
    radius_mm: float


def draw_rods(sight: RodSight, scan: str, found: Calibration) -> Image.Image:
    """Return the rods with the discs that were measured, their numbers and HU, under the words of the calibration.

    Rods that were used are green, those left out orange. Without rods the whole slice is shown.

    Args:
        sight: slice and places.
        scan: a pseudonym, never a name.
        found: the calibration by the phantom.
    """
    start, count = _shown(sight)
    scale = min(
        WIDTH_PX / (count[1] * sight.pixel_mm_yx[1]), MOST_HEIGHT_PX / (count[0] * sight.pixel_mm_yx[0])
    )
    px_yx = scale * sight.pixel_mm_yx[0], scale * sight.pixel_mm_yx[1]
    part = sight.slice_yx[start[0] : start[0] + count[0], start[1] : start[1] + count[1]]
    size = round(count[1] * px_yx[1]), round(count[0] * px_yx[0])
    large = tuple(_OVERSAMPLING * length for length in size)
    view = (
        Image.fromarray(grey_levels(part, _WINDOW_HU)).convert("RGB").resize(large, Image.Resampling.BILINEAR)
    )
    pen, places = ImageDraw.Draw(view), []
    for (column, row), rod in zip(sight.centers_xy, found.rods, strict=True):
        x, y = (column + 0.5 - start[1]) * px_yx[1], (row + 0.5 - start[0]) * px_yx[0]
        places.append((x, y))
        reach = sight.radius_mm * scale
        box = [_OVERSAMPLING * edge for edge in (x - reach, y - reach, x + reach, y + reach)]
        pen.ellipse(box, outline=FOUND if rod["used"] else UNCERTAIN, width=2 * _OVERSAMPLING)
    picture = Image.new("RGB", (WIDTH_PX, HEADER_PX + size[1]), PAPER)
    picture.paste(view.resize(size, Image.Resampling.BOX), (0, HEADER_PX))
    for line, text in enumerate(_words(scan, found)):
        write_words(
            picture, (8, 4 + line * LINE_PX), text, 13, UNCERTAIN if found.verdict == REFUSED else INK
        )
    for (x, y), rod in zip(places, found.rods, strict=True):
        hu = "" if rod["hu_mean"] is None else f": {rod['hu_mean']:.0f} HU"
        top = round(HEADER_PX + y + _LABEL_AT * sight.radius_mm * scale)
        write_words(picture, (round(x - 30), top), f"{rod['rod']}{hu}", 12, INK)
    return picture


def _words(scan: str, found: Calibration) -> list[str]:
    line = (
        "no calibration"
        if found.verdict == REFUSED
        else (f"slope {found.slope_hu_per_mg_cm3:.4f} HU per mg/cm³, intercept {found.intercept_hu:.2f} HU")
    )
    told = " ".join(filter(None, (found.reason, *found.flags)))
    return [f"{scan}: {found.verdict}, {line}", "; ".join(filter(None, (told, found.found)))]


def _shown(sight: RodSight) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first row and column, and numbers of rows and columns, of the part of the slice around the rods."""
    shape = np.array(sight.slice_yx.shape)
    if not len(sight.centers_xy):
        return (0, 0), tuple(int(n) for n in shape)
    centers_yx = np.array(sight.centers_xy)[:, ::-1]
    margin = MARGIN_MM / np.array(sight.pixel_mm_yx)
    low = np.clip(np.floor(centers_yx.min(axis=0) - margin).astype(int), 0, shape - 2)
    high = np.clip(np.ceil(centers_yx.max(axis=0) + margin).astype(int) + 1, low + 2, shape)
    return (int(low[0]), int(low[1])), (int(high[0] - low[0]), int(high[1] - low[1]))
