"""A femur as DXA would project it: its regions, and its areal density with the regions of interest."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageDraw

from lib.catalog.bone_parts import PREDICTED, REGIONS, ROIS
from lib.catalog.calibration import REFUSALS, REFUSED
from lib.catalog.scales import CALIBRATED_SCALES
from lib.figures.contours import INK, PAPER, dashes, grey_levels, mask_contours, words_width, write_words
from lib.figures.palette import UNCERTAIN, Color, structure_color

WIDTH_PX, PANEL_PX, MOST_HEIGHT_PX = 760, 336, 440
HEADER_PX, LINE_PX, MARGIN_PX = 54, 22, 10
TEXT_PX = 15
_PANELS_X, _BAR_X = (MARGIN_PX, 362), 712
_BAR_PX = (14, 200)
_OVERSAMPLING = 2  # lines are drawn larger and reduced: Pillow does not smooth them
_SAMPLE_PX = 20  # of a line or a patch in a legend
_RULER_MM = 20.0
_AXIS_REACH = 2.6  # how far the neck's axis is drawn, in distances from the head's centre to the isthmus
# white is a multiple of the step that this share (%) of pixels does not exceed
_STEP_G_CM2, _BELOW_WHITE = 0.2, 97.0
_CHARACTERS = 108  # of a line of words

_ROI_COLORS: Mapping[str, Color] = {
    "total": structure_color(4),
    "trochanter": structure_color(REGIONS["trochanter"] - 1),
    "neck": structure_color(REGIONS["neck"] - 1),
}
_DASHED = "trochanter"  # its outline lies mostly on that of the total hip


class Projected(Protocol):
    """The projected bone, as `lib.density.areal.Projection` has it: rows upwards, columns to the patient's left."""

    pixel_mm: float
    density_g_cm2: np.ndarray
    regions: np.ndarray
    rois: Mapping[str, np.ndarray]
    neck_box_px: np.ndarray | None
    axis_px: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ProjectedFemur:
    """What the picture shows.

    Attributes:
        name: of the scan, a pseudonym and never a name.
        side: `left` or `right`.
        projection: the projected bone; None: there is none.
        measured: region of interest -> `area_cm2`, `bmc_g`, `abmd_g_cm2` and `undefined`.
        scale: scale of the densities, in words.
        reason: why there is no projection, in words.
    """

    name: str
    side: str
    projection: Projected | None
    measured: Mapping[str, Mapping]
    scale: str
    reason: str = ""


class _Mark(NamedTuple):
    """An entry of a legend."""

    text: str
    color: Color
    look: str = "line"  # or `dashed`, `patch`, `cross`


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A part of the picture that shows the projected bone, drawn larger than it is pasted.

    `rows` is the number of rows of the projection, `scale` the size of its pixels here.
    """

    image: Image.Image
    rows: int
    scale: float

    @classmethod
    def of(cls, colors_yx: np.ndarray, px_per_pixel: float, resampling: Image.Resampling) -> "_Panel":
        """Return the panel of an image (rows upwards, columns, RGB)."""
        rows, columns = colors_yx.shape[:2]
        size = tuple(_OVERSAMPLING * round(count * px_per_pixel) for count in (columns, rows))
        image = Image.fromarray(np.ascontiguousarray(colors_yx[::-1])).resize(size, resampling)
        return cls(image=image, rows=rows, scale=_OVERSAMPLING * px_per_pixel)

    def draw(self, points_px: np.ndarray, color: Color, *, width: float = 2.0, dashed: bool = False) -> None:
        """Draw a line through points (n, 2), columns and rows of the projection."""
        turned = np.stack([points_px[:, 0], self.rows - 1 - points_px[:, 1]], axis=-1)
        placed, pen = (turned + 0.5) * self.scale, ImageDraw.Draw(self.image)
        for part in dashes(placed, _OVERSAMPLING) if dashed else (placed,):
            corners = list(map(tuple, part.tolist()))
            pen.line(corners, fill=color, width=round(width * _OVERSAMPLING), joint="curve")

    def reduced(self) -> Image.Image:
        """Return the panel at its size in the picture."""
        return self.image.reduce(_OVERSAMPLING)


def draw_femur(
    name: str, side: str, densities: Mapping[str, Mapping], projections: Mapping[str, Projected | None]
) -> Image.Image:
    """Return the picture of a measured prediction; where there is no projection, words that say why.

    Args:
        name: of the scan, a pseudonym.
        side: `left` or `right`.
        densities: section `density` of `measured/`, by structure; a proximal femur has one.
        projections: the projected bone of the same structures.
    """
    ((structure, section),) = densities.items()
    femur = ProjectedFemur(
        name=name,
        side=side,
        projection=projections[structure],
        measured=section[PREDICTED]["areal"],
        scale=CALIBRATED_SCALES.get(section["calibration"]["scale"], ""),
        reason=_reason(section),
    )
    return draw_projection(femur)


def draw_projection(femur: ProjectedFemur) -> Image.Image:
    """Return the regions and the areal density of a projected femur, seen from the front.

    The patient's left is right. The regions of interest have their outline (the neck: its box), name and areal
    density in one colour. Grey runs from 0 to the density that 97 % of the pixels do not exceed, rounded up to 0.2
    g/cm2. Without a projection the picture says why in words.
    """
    if femur.projection is None:
        return _write_reason(femur)
    seen = femur.projection
    rows, columns = seen.regions.shape
    px_per_pixel = min(PANEL_PX / columns, MOST_HEIGHT_PX / rows)
    white = _white_g_cm2(seen)
    panels = _regions(seen, px_per_pixel).reduced(), _densities(seen, px_per_pixel, white).reduced()
    notes, height = _notes(femur), panels[0].height
    footer_y = HEADER_PX + height + MARGIN_PX
    size = WIDTH_PX, footer_y + (2 + len(notes)) * LINE_PX + MARGIN_PX
    picture = Image.new("RGB", size, PAPER)
    titles = "Regions", f"Areal density, g/cm², {femur.scale}"
    for panel, left, title in zip(panels, _PANELS_X, titles, strict=True):
        picture.paste(panel, (left + (PANEL_PX - panel.width) // 2, HEADER_PX))
        write_words(picture, (left, 6 + LINE_PX), title, TEXT_PX)
        write_words(picture, (left, HEADER_PX + 4), "R", TEXT_PX)
        write_words(picture, (left + PANEL_PX - 12, HEADER_PX + 4), "L", TEXT_PX)
    write_words(picture, (MARGIN_PX, 6), f"{femur.name}: {femur.side} femur, seen from the front", TEXT_PX)
    _draw_ruler(picture, px_per_pixel / seen.pixel_mm, footer_y - MARGIN_PX, femur.side)
    _draw_greys(picture, white, height)
    for line, marks in enumerate(_legend_of_regions(seen)):
        _write_marks(picture, (_PANELS_X[0], footer_y + line * LINE_PX), marks)
    _write_marks(picture, (_PANELS_X[1], footer_y), _legend_of_rois(femur))
    for line, text in enumerate(notes, start=2):
        write_words(picture, (MARGIN_PX, footer_y + line * LINE_PX), text, TEXT_PX, UNCERTAIN)
    return picture


def describe_projection(section: Mapping) -> str:
    """Return the picture of what was measured of a structure in a sentence, for screen readers."""
    scale = CALIBRATED_SCALES.get(section["calibration"]["scale"], "")
    told = [
        f"{roi} {row['abmd_g_cm2']:.3f}"
        for roi, row in section[PREDICTED]["areal"].items()
        if row["abmd_g_cm2"] is not None
    ]
    if not told:
        return f"No areal density: {_reason(section)}"
    return f"Projected femur with its regions; areal density in g/cm² ({scale}): {', '.join(told)}."


def _reason(section: Mapping) -> str:
    """Return why there is no projection; empty if there is one."""
    used, areal = section["calibration"], section[PREDICTED]["areal"]
    if used["verdict"] == REFUSED:
        return f"The calibration was refused. {REFUSALS[used['reason']].meaning}".replace("`", "")
    return next(filter(None, (areal[roi]["undefined"].get("abmd_g_cm2") for roi in ("neck", "total"))), "")


def _write_reason(femur: ProjectedFemur) -> Image.Image:
    """Return a picture with words only."""
    lines = textwrap.wrap(femur.reason[:1].upper() + femur.reason[1:], _CHARACTERS)
    picture = Image.new("RGB", (WIDTH_PX, 2 * MARGIN_PX + (1 + len(lines)) * LINE_PX), PAPER)
    for line, text in enumerate((f"{femur.name}: {femur.side} femur, no projection", *lines)):
        place = MARGIN_PX, MARGIN_PX + line * LINE_PX
        write_words(picture, place, text, TEXT_PX, INK if line else UNCERTAIN)
    return picture


def _regions(seen: Projected, px_per_pixel: float) -> _Panel:
    """Return the regions in their colours, with the head's centre and the neck's axis."""
    colors = np.array([PAPER, *(structure_color(value - 1) for value in REGIONS.values())], np.uint8)
    panel = _Panel.of(colors[seen.regions], px_per_pixel, Image.Resampling.NEAREST)
    start, through = seen.axis_px
    reach, arm = start + _AXIS_REACH * (through - start), 5.0 / px_per_pixel
    crosses = [np.array([start - step, start + step]) for step in ((arm, 0.0), (0.0, arm))]
    for color, width in ((PAPER, 5.0), (INK, 2.0)):
        for line in (np.array([start, reach]), *crosses):
            panel.draw(line, color, width=width)
    return panel


def _densities(seen: Projected, px_per_pixel: float, white: float) -> _Panel:
    """Return the areal density in grey with the outlines of the regions of interest and the neck's box."""
    grey = grey_levels(seen.density_g_cm2, (0.0, white))[..., None]
    colors = np.where(seen.regions[..., None] > 0, grey, np.array(PAPER, np.uint8))
    panel = _Panel.of(colors, px_per_pixel, Image.Resampling.BILINEAR)
    for roi, color in _ROI_COLORS.items():
        if roi == "neck":
            lines = [] if seen.neck_box_px is None else [seen.neck_box_px[[0, 1, 2, 3, 0]]]
        else:
            lines = mask_contours(seen.rois[roi]) if roi in seen.rois else []
        for line in lines:
            panel.draw(line, color, dashed=roi == _DASHED)
    return panel


def _white_g_cm2(seen: Projected) -> float:
    """Return the areal density that is shown white."""
    inside = seen.density_g_cm2[seen.regions > 0]
    most = np.percentile(inside, _BELOW_WHITE) if inside.size else 0.0
    return max(1, math.ceil(most / _STEP_G_CM2 - 1e-6)) * _STEP_G_CM2


def _draw_ruler(picture: Image.Image, px_per_mm: float, bottom: int, side: str) -> None:
    """Draw a bar of 20 mm below the head, where no bone lies."""
    length = _RULER_MM * px_per_mm
    left = _PANELS_X[0] if side == "left" else _PANELS_X[0] + PANEL_PX - length
    pen = ImageDraw.Draw(picture)
    pen.line([(left, bottom - 4), (left + length, bottom - 4)], fill=INK, width=3)
    words = f"{_RULER_MM:.0f} mm"
    middle = left + 0.5 * (length - words_width(words, TEXT_PX))
    write_words(picture, (round(max(middle, left)), bottom - 26), words, TEXT_PX)


def _draw_greys(picture: Image.Image, white: float, height: int) -> None:
    """Draw the scale of the grey levels, with its ends and its middle."""
    width, most = _BAR_PX
    length = min(most, height - 2 * LINE_PX)
    top = HEADER_PX + (height - length) // 2
    column = np.linspace(255, 0, length).round().astype(np.uint8)
    picture.paste(Image.fromarray(np.repeat(column[:, None], width, axis=1)), (_BAR_X, top))
    ImageDraw.Draw(picture).rectangle((_BAR_X - 1, top - 1, _BAR_X + width, top + length), outline=INK)
    for share in (0.0, 0.5, 1.0):
        place = _BAR_X + width + 6, round(top + share * length - 0.6 * TEXT_PX)
        write_words(picture, place, f"{white * (1 - share):.1f}", TEXT_PX)


def _legend_of_regions(seen: Projected) -> tuple[list[_Mark], list[_Mark]]:
    """Return the marks of the first panel, in two lines."""
    shown = [(name, value) for name, value in REGIONS.items() if (seen.regions == value).any()]
    patches = [_Mark(name, structure_color(value - 1), "patch") for name, value in shown]
    return patches, [_Mark("neck's axis", INK), _Mark("head's centre", INK, "cross")]


def _legend_of_rois(femur: ProjectedFemur) -> list[_Mark]:
    """Return the marks of the second panel: the regions of interest with their areal density."""
    marks = []
    for roi in ROIS:
        value = femur.measured[roi]["abmd_g_cm2"]
        look = "dashed" if roi == _DASHED else "line"
        marks.append(_Mark(f"{roi} {'none' if value is None else f'{value:.3f}'}", _ROI_COLORS[roi], look))
    return marks


def _notes(femur: ProjectedFemur) -> Sequence[str]:
    """Return why regions of interest have no value, in lines."""
    reasons: dict[str, list[str]] = {}
    for roi, row in femur.measured.items():
        if row["abmd_g_cm2"] is None:
            reasons.setdefault(row["undefined"]["abmd_g_cm2"], []).append(roi)
    told = "; ".join(f"{', '.join(rois)}: {why}" for why, rois in reasons.items())
    return textwrap.wrap(told, _CHARACTERS)


def _write_marks(picture: Image.Image, corner: tuple[int, int], marks: Sequence[_Mark]) -> None:
    """Write the entries of a legend in one line."""
    pen, (left, top) = ImageDraw.Draw(picture), corner
    middle = top + 0.6 * TEXT_PX
    for mark in marks:
        ends = np.array([(left, middle), (left + _SAMPLE_PX, middle)])
        if mark.look == "patch":
            pen.rectangle((left, top + 2, left + 14, top + 15), fill=mark.color)
        elif mark.look == "cross":
            pen.line([(left + 4, middle), (left + 14, middle)], fill=mark.color, width=2)
            pen.line([(left + 9, middle - 5), (left + 9, middle + 5)], fill=mark.color, width=2)
        else:
            for part in dashes(ends, 1) if mark.look == "dashed" else (ends,):
                pen.line(list(map(tuple, part.tolist())), fill=mark.color, width=3)
        left += _SAMPLE_PX + 5
        write_words(picture, (left, top), mark.text, TEXT_PX, INK if mark.look == "patch" else mark.color)
        left += round(words_width(mark.text, TEXT_PX)) + 12
