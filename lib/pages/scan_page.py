"""The page of a scan: contours on all slices, three planes, a 3-D view, numbers, flags and history.

A page needs only the pictures next to it and opens from a file, offline. Contours are vector paths over one sheet of
slices. The pictures show the first prediction; slices and numbers show all predictions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Template
from PIL import Image

from lib.ages import printed_age
from lib.atomic import write_text
from lib.catalog.anatomies import ANATOMIES, Anatomy
from lib.catalog.modalities import MODALITIES, Modality
from lib.catalog.protocols import PROTOCOLS
from lib.errors import ScanError
from lib.figures.contours import (
    Sight,
    draw_contours,
    draw_thumbnail,
    find_sight,
    grey_levels,
    named_masks,
    write_picture,
)
from lib.figures.orthogonal_views import choose_point, draw_planes, label_centers
from lib.figures.palette import ADDED, BONE, MISSED, PREDICTED, REFERENCE, css, structure_color
from lib.figures.slice_planes import EDGES, SlicePlane, plane_along
from lib.figures.slices import (
    UNITS_PER_PIXEL,
    draw_sheet,
    middle_slice,
    sheet_columns,
    slice_areas,
    slice_dice,
    slice_paths,
)
from lib.figures.surface_render import turntable
from lib.pages.density_table import density_table
from lib.pages.level_tables import level_note, level_rows
from lib.pages.read_densities import scan_density_section
from lib.pages.scan_history import decision_history
from lib.pages.scan_numbers import ShownPrediction, flag_rows, number_groups, reason_notes
from lib.pages.templates import page_environment
from lib.stats.scan_densities import ScanDensities
from lib.stats.tables import prediction_key

# from results/report/scans/batch-0/
INDEX_LINK, CROP_LINK = "../../index.html", "../../../crops/{scan}.webp"
RODS_LINK, PROJECTED_LINK = "../../../calibrated/{scan}.webp", "../../../projected/{prediction}.webp"

TURN_VIEWS, TURN_COLUMNS, TURN_PX = 24, 6, 160
SHEET_QUALITY, TURN_QUALITY = 78, 70


@dataclass(frozen=True, kw_only=True)
class ScanPage:
    """The content of the page of a scan.

    Attributes:
        placement: scan, subject, sex, age, site, set and fold by name.
        image_zyx: the cropped scan, (z, y, x), z towards the head, x to the patient's left.
        spacing_mm_zyx: its voxel spacing.
        reference_zyx: reference label map on the same grid, or None.
        predictions: all predictions of the scan, each of its structures; the pictures show the first prediction.
        screened: content of the screening file.
        crop: content of crop.json.
        crop_picture: whether there is a picture of the window in the whole scan.
        review: verdict and comment of an earlier review; empty if there was none.
        settings: the sections of the configuration that meanings of flags quote, `report`, `anatomy` and `screening`.
        synthetic: whether the cohort is synthetic.
        levels: what was found of each level in the first prediction, and of the scan; empty for an anatomy without.
        density: calibrated densities of the first prediction, by structure; empty where none were measured.
        read: densities of structures that networks and the calibration of the scan read.
        rod_picture: whether there is a picture of the rods of the scan's density phantom.
        femur_picture: whether there is a picture of the projected femur of the first prediction.
    """

    placement: Mapping
    image_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]
    reference_zyx: np.ndarray | None
    predictions: Sequence[ShownPrediction]
    screened: Mapping
    crop: Mapping
    crop_picture: bool = True
    review: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping = field(default_factory=dict)
    synthetic: bool = False
    levels: Mapping[str, Mapping] = field(default_factory=dict)
    density: Mapping[str, Mapping] = field(default_factory=dict)
    read: ScanDensities = field(default_factory=ScanDensities)
    rod_picture: bool = False
    femur_picture: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if there is no prediction or if a mask is on another grid."""
        if not self.predictions:
            raise ValueError(f"{self.scan}: a page needs at least one prediction, there is none")
        for mask in (self.reference_zyx, *(prediction.mask_zyx for prediction in self.predictions)):
            if mask is not None and mask.shape != self.image_zyx.shape:
                raise ScanError(
                    "mask_off_grid",
                    f"{self.scan}: a mask has {mask.shape} voxels (z, y, x), the scan {self.image_zyx.shape}",
                )

    @property
    def scan(self) -> str:
        """Return the scan's pseudonym."""
        return self.placement["scan"]

    @property
    def anatomy(self) -> Anatomy:
        """Return the anatomy that the study looks at."""
        return ANATOMIES[self.settings["anatomy"]]

    @property
    def modality(self) -> Modality:
        """Return the modality of the scan."""
        return MODALITIES[self.settings["screening"]["modality"]]

    @property
    def window(self) -> tuple[float, float]:
        """Return the intensities that pictures show black and white."""
        return self.modality.window(self.crop["intensity"])

    @property
    def structures(self) -> list[str]:
        """Return the names of the structures; none if the study has one only."""
        return list(dict.fromkeys(shown.structure for shown in self.predictions if shown.structure))

    @property
    def predicted_zyx(self) -> np.ndarray:
        """Return the label map of the first prediction."""
        labels_zyx = np.zeros(self.image_zyx.shape, np.uint8)
        for shown in self.predictions:
            if shown.plan == self.predictions[0].plan:
                labels_zyx[shown.mask_zyx > 0] = shown.label
        return labels_zyx

    @property
    def plane(self) -> SlicePlane:
        """Return the plane of the slices that the page shows: those that networks see."""
        return plane_along(self.crop["frame"]["slice_axis"])

    @property
    def bone_zyx(self) -> np.ndarray:
        """Return the union of all masks."""
        masks = [prediction.mask_zyx > 0 for prediction in self.predictions]
        return np.logical_or.reduce(masks if self.reference_zyx is None else [*masks, self.reference_zyx > 0])


def write_scan_page(page: ScanPage, folder: str | Path) -> None:
    """Write {scan}.html and its pictures {scan}-(small, contours, slices, planes, turn).webp into a folder."""
    folder = Path(folder)
    for name, (picture, options) in draw_pictures(page).items():
        write_picture(picture, folder / f"{page.scan}-{name}.webp", **options)
    write_text(folder / f"{page.scan}.html", _template().render(build_scan_context(page)))


def draw_pictures(page: ScanPage) -> dict[str, tuple[Image.Image, dict]]:
    """Return the pictures of a page by name, each with the options of `write_picture`."""
    grey, spacing = grey_levels(page.image_zyx, page.window), page.spacing_mm_zyx
    reference, predicted, structures = page.reference_zyx, page.predicted_zyx, page.structures
    masks, plane = named_masks(predicted, reference, structures), page.plane
    slices = (
        plane.turn(grey),
        {name: plane.turn(mask) for name, mask in masks.items()},
        plane.spacing(spacing),
    )
    shown = next(
        (mask > 0 for mask in (reference, predicted) if mask is not None and mask.any()), page.bone_zyx
    )
    point = choose_point(shown, spacing[0], page.anatomy.planes_below_top_mm)
    planes = draw_planes(grey, masks, spacing, find_sight(shown, spacing), point, _level_places(page))
    return {
        "small": (draw_thumbnail(*slices, plane), {}),
        "contours": (draw_contours(*slices, page.scan, plane), {}),
        "planes": (planes, {}),
        "slices": (draw_sheet(slices[0], _sight(page)), {"quality": SHEET_QUALITY}),
        "turn": (draw_turn(reference, predicted, spacing, len(structures)), {"quality": TURN_QUALITY}),
    }


def draw_turn(
    reference_zyx: np.ndarray | None,
    predicted_zyx: np.ndarray,
    spacing_mm_zyx: tuple[float, float, float],
    structures: int = 1,
) -> Image.Image:
    """Return TURN_VIEWS views around the bone as one picture, row by row, starting from the front.

    `structures` is the number of labels (see `turntable`).
    """
    angles = [360 / TURN_VIEWS * view for view in range(TURN_VIEWS)]
    views = turntable(reference_zyx, predicted_zyx, spacing_mm_zyx, angles, TURN_PX, structures)
    rows = [np.hstack(views[start : start + TURN_COLUMNS]) for start in range(0, TURN_VIEWS, TURN_COLUMNS)]
    return Image.fromarray(np.vstack(rows), "RGBA")


def build_scan_context(page: ScanPage) -> dict:
    """Return the variables of the template by name."""
    return {
        "page": page,
        "scan": page.scan,
        "person": describe_person(page.placement),
        "links": {
            "index": INDEX_LINK,
            "crop": CROP_LINK.format(scan=page.scan) if page.crop_picture else "",
            "rods": RODS_LINK.format(scan=page.scan) if page.rod_picture else "",
            "projected": PROJECTED_LINK.format(prediction=prediction_key(page.predictions[0].plan))
            if page.femur_picture
            else "",
        },
        "models": [
            {"name": prediction.name, "protocol": PROTOCOLS[prediction.plan["protocol"]].title}
            for prediction in page.predictions
        ],
        # predictions to choose from: one entry for all structures of a prediction
        "plans": [
            {"name": models, "protocol": PROTOCOLS[protocol].title}
            for models, protocol in dict.fromkeys(
                (prediction.models, prediction.plan["protocol"]) for prediction in page.predictions
            )
        ],
        "viewer": viewer_data(page),
        "numbers": number_groups(page.predictions, page.modality.unit),
        "interval": any(prediction.volume.get("interval_percent") for prediction in page.predictions),
        "reasons": reason_notes(page.predictions),
        "flags": flag_rows(page.predictions, page.screened, page.settings),
        "history": decision_history(
            page.placement, page.screened, page.crop, page.predictions, page.review, page.settings
        ),
        "colors": {
            "predicted": css(PREDICTED),
            "reference": css(REFERENCE),
            "both": css(BONE),
            "missed": css(MISSED),
            "added": css(ADDED),
        },
        "structures": [
            (css(structure_color(position)), name) for position, name in enumerate(page.structures)
        ],
        "plane": page.plane,
        "edges": [(edge, letter) for edge, letter in zip(EDGES, page.plane.letters, strict=True) if letter],
        "pictured": page.predictions[0].models,
        "window": page.window,
        "has_cut": page.settings["measure"]["distal_cut_mm"] is not None and bool(page.anatomy.cut_below),
        "unit": page.modality.unit or "(arbitrary units)",
        "planes_through": page.anatomy.planes_through,
        "density": density_table(page.density),
        "read": scan_density_section(page.read),
        "levels": level_rows(page.levels, page.read.plan, page.read.absent),
        "levels_note": level_note(page.levels),
    }


def viewer_data(page: ScanPage) -> dict:
    """Return the data with which the script of the page shows slices and views: numbers and path data.

    Of several structures, `structures` has the names, `reference` is a list with an entry for each, and `predictions`
    has an entry for each structure of each prediction.
    """
    sight, plane, bone = _sight(page), page.plane, page.plane.turn(page.bone_zyx)
    step, height, width = plane.spacing(page.spacing_mm_zyx)
    slices, columns = len(bone), sheet_columns(len(bone))
    reference, several = page.reference_zyx, page.structures
    return {
        "slices": slices,
        "columns": columns,
        "rows": math.ceil(slices / columns),
        "edge": sight.edge * UNITS_PER_PIXEL,
        "width_mm": round(sight.edge * width, 2),
        "height_mm": round(sight.edge * height, 2),
        "step_mm": step,
        "plane": plane.name,
        "beyond": plane.beyond,
        "first": middle_slice([bone]),
        "reference": _outlined_reference(page, sight),
        "predictions": [
            {
                "dice": None
                if reference is None
                else slice_dice(plane.turn(reference == prediction.label), plane.turn(prediction.mask_zyx))
            }
            | _outlined(prediction.mask_zyx, page, sight)
            for prediction in page.predictions
        ],
        "turn": {
            "views": TURN_VIEWS,
            "columns": TURN_COLUMNS,
            "rows": math.ceil(TURN_VIEWS / TURN_COLUMNS),
            "px": TURN_PX,
        },
    } | ({"structures": several} if several else {})


def describe_person(placement: Mapping) -> str:
    """Return one line on the person as far as known: pseudonym, sex, age, site."""
    sex = {"F": "woman", "M": "man"}.get(placement["sex"], "")
    age = printed_age(placement["age"])
    facts = (f"Person {placement['subject']}", sex, f"{age} years" if age else "", placement["site"])
    return ", ".join(fact for fact in facts if fact)


@cache
def _template() -> Template:
    return page_environment().get_template("page/scan.html.j2")


def _outlined_reference(page: ScanPage, sight: Sight) -> dict | list[dict] | None:
    """Return the outlines of the reference; of several structures, a list with those of each."""
    if page.reference_zyx is None:
        return None
    if not page.structures:
        return _outlined(page.reference_zyx, page, sight)
    labels = dict.fromkeys(shown.label for shown in page.predictions)
    return [_outlined(page.reference_zyx == label, page, sight) for label in labels]


def _outlined(mask_zyx: np.ndarray, page: ScanPage, sight: Sight) -> dict:
    mask, spacing = page.plane.turn(mask_zyx), page.plane.spacing(page.spacing_mm_zyx)
    return {"paths": slice_paths(mask, sight), "areas": slice_areas(mask, spacing)}


def _level_places(page: ScanPage) -> dict[str, tuple[float, float, float]]:
    """Return the centre (z, y, x) of each level of the first prediction; empty for an anatomy without levels."""
    if not page.levels:
        return {}
    centers = zip(page.structures, label_centers(page.predicted_zyx, len(page.structures)), strict=True)
    return {name: center for name, center in centers if center is not None}


def _sight(page: ScanPage) -> Sight:
    """Return the part of the slices that the viewer shows."""
    return find_sight(page.plane.turn(page.bone_zyx), page.plane.spacing(page.spacing_mm_zyx))
