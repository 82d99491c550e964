"""The picture of the projected femur: its words and lines, and the picture of docs/regions.md made with it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from femur_masks import solid_hip
from PIL import Image

from lib.calibrated import Calibration
from lib.catalog.calibration import METAL_NEARBY, NO_CALIBRATION, REFUSALS
from lib.density.compartments import NEEDS_DENSITIES
from lib.density_settings import DensityConfig
from lib.figures import areal_picture
from lib.figures.areal_picture import (
    HEADER_PX,
    PANEL_PX,
    WIDTH_PX,
    ProjectedFemur,
    describe_projection,
    draw_femur,
    draw_projection,
)
from lib.figures.palette import UNCERTAIN, structure_color
from lib.measuring.bone_density import CalibratedScan
from lib.pages.density_table import density_table

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SPACING_MM_ZYX = (2.0, 1.0, 1.0)
CALIBRATED = Calibration(
    method="phantom", phantom="P", scale="k2hpo4", slope_hu_per_mg_cm3=1.4, intercept_hu=0.0
)


def unknown(reason):
    names = ("area_cm2", "bmc_g", "abmd_g_cm2")
    return dict.fromkeys(names) | {"undefined": dict.fromkeys(names, reason)}


class Square:
    """A square of bone of 1 g/cm2 with a neck's box, as a projection."""

    def __init__(self, *, rois=("total", "neck"), density=1.0):
        bone = np.zeros((40, 50), bool)
        bone[8:32, 8:42] = True
        self.pixel_mm, self.density_g_cm2 = 0.5, bone * density
        self.regions = np.where(bone, 2, 0).astype(np.uint8)
        self.rois = dict.fromkeys(rois, bone)
        box = np.array([[10, 8], [30, 8], [30, 31], [10, 31]])
        self.neck_box_px = box if "neck" in rois else None
        self.axis_px = np.array([[8.0, 30.0], [20.0, 20.0]])


def femur(**changed):
    fields = {
        "name": "S1",
        "side": "left",
        "projection": Square(),
        "measured": {
            "total": {"area_cm2": 2.0, "bmc_g": 2.0, "abmd_g_cm2": 1.0, "undefined": {}},
            "neck": {"area_cm2": 1.0, "bmc_g": 0.9, "abmd_g_cm2": 0.9, "undefined": {}},
            "trochanter": unknown("the mask ends above it"),
        },
        "scale": "K₂HPO₄",
    }
    return ProjectedFemur(**fields | changed)


@pytest.fixture
def words(monkeypatch):
    """Return the list of texts that are written onto pictures."""
    written, write = [], areal_picture.write_words

    def note(picture, corner, text, *rest):
        written.append(text)
        write(picture, corner, text, *rest)

    monkeypatch.setattr(areal_picture, "write_words", note)
    return written


def pixels_of(picture):
    return np.asarray(picture).astype(int)


def near(pixels, color):
    return np.abs(pixels - color).sum(axis=2) < 60


def test_all_words_of_the_picture(words):
    picture = draw_projection(femur())
    assert picture.size[0] == WIDTH_PX
    assert sorted(words) == sorted(
        [
            *("S1: left femur, seen from the front", "Regions", "Areal density, g/cm², K₂HPO₄"),
            *("R", "L", "R", "L", "20 mm", "0.0", "0.5", "1.0", "neck", "neck's axis", "head's centre"),
            *("total 1.000", "neck 0.900", "trochanter none", "trochanter: the mask ends above it"),
        ]
    )


def test_lines_lie_on_the_bone():
    pixels = pixels_of(draw_projection(femur()))
    px = PANEL_PX / 50
    top, bottom = HEADER_PX + 8 * px, HEADER_PX + 32 * px  # rows 8 to 31 of 40, upwards
    panel = pixels[HEADER_PX : round(HEADER_PX + 40 * px), :PANEL_PX]
    rows, columns = np.nonzero(near(panel, structure_color(1)))
    assert rows.min() + HEADER_PX == pytest.approx(top, abs=2)
    assert rows.max() + HEADER_PX == pytest.approx(bottom, abs=2)
    assert (columns.max() - columns.min()) == pytest.approx(34 * px, abs=3)
    panel = pixels[HEADER_PX : round(HEADER_PX + 40 * px), 362 : 362 + PANEL_PX]
    _, columns = np.nonzero(near(panel, structure_color(1)))  # the neck's box: columns 10 to 30
    assert columns.min() == pytest.approx(10.5 * px, abs=3) and columns.max() == pytest.approx(
        30.5 * px, abs=3
    )
    assert near(panel, structure_color(4)).sum() > 200  # total, where the box does not cover it
    assert panel[round(20 * px), round(20 * px)].tolist() == [255] * 3  # 1.0 g/cm2 is white


def test_grey_is_the_density_within_the_scale(words):
    dark = pixels_of(draw_projection(femur(projection=Square(density=0.5))))
    assert {"0.6", "0.3"} <= set(words)
    assert abs(dark[HEADER_PX + 134, 362 + 134] - 255 * 0.5 / 0.6).max() < 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_bar_of_20_mm_lies_on_the_side_of_the_head(side):
    pixels = pixels_of(draw_projection(femur(side=side)))
    row = pixels[round(HEADER_PX + 40 * PANEL_PX / 50 - 4), 10 : 10 + PANEL_PX]
    (columns,) = np.nonzero(row.min(axis=1) > 200)
    assert len(columns) == pytest.approx(40 * PANEL_PX / 50, abs=2)  # 20 mm are 40 pixels
    assert (columns.min() < 3) == (side == "left") and (columns.max() > PANEL_PX - 4) == (side == "right")


def test_a_femur_without_areal_regions_is_drawn(words):
    nothing = unknown("no bone lies in the region of interest")
    draw_projection(
        femur(projection=Square(rois=()), measured=dict.fromkeys(("total", "neck", "trochanter"), nothing))
    )
    assert {"total none", "total, neck, trochanter: no bone lies in the region of interest"} <= set(words)


def measured_solid(calibration, *, has_metal=False):
    """Return what is measured of a femur of solids, 280 HU throughout, and its projection."""
    mask, _ = solid_hip(SPACING_MM_ZYX)
    image = sitk.GetImageFromArray(np.where(mask, 280, -100).astype(np.int16))
    image.SetSpacing(SPACING_MM_ZYX[::-1])
    told = {"calibration": calibration, "has_metal": has_metal}
    scan = CalibratedScan(image=image, side="left", config=DensityConfig(), **told)
    bone = scan.measure({"predicted": mask, "reference": mask})
    return bone.section, bone.projections["predicted"]


def test_a_calibrated_femur_has_its_values(words):
    section, projection = measured_solid(CALIBRATED)
    picture = draw_femur("S1", "left", {"femur": section}, {"femur": projection})
    assert picture.size[1] > 300
    values = {roi: row["abmd_g_cm2"] for roi, row in section["predicted"]["areal"].items()}
    assert 0.4 < values["neck"] < 0.7  # 200 mg/cm3 in a neck that is 30 mm thick in its middle
    told = [f"{roi} {value:.3f}" for roi, value in values.items()]
    assert set(told) <= set(words) and "S1: left femur, seen from the front" in words
    assert describe_projection(section).endswith(f"in g/cm² (K₂HPO₄): {', '.join(told)}.")


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        (None, NO_CALIBRATION),
        (Calibration(method="phantom", verdict="refused", reason="no_rods"), REFUSALS["no_rods"].meaning),
        (
            Calibration(method="phantom", verdict="refused", reason="too_few_rods"),
            REFUSALS["too_few_rods"].meaning.replace("`", ""),
        ),
    ],
)
def test_without_a_projection_the_picture_says_why(words, calibration, reason):
    section, projection = measured_solid(calibration)
    assert projection is None
    picture = draw_femur("S1", "left", {"femur": section}, {"femur": projection})
    assert picture.size[0] == WIDTH_PX and picture.size[1] < 120
    assert near(pixels_of(picture), UNCERTAIN).any()
    assert words[0] == "S1: left femur, no projection"
    assert " ".join(words[1:]).lower().endswith(reason.lower())
    assert describe_projection(section).startswith("No areal density: ")
    assert describe_projection(section).endswith(reason)


def test_bone_beside_metal_has_hu_and_no_density(words):
    section, projection = measured_solid(CALIBRATED, has_metal=True)
    assert projection is None and section["calibration"]["no_density"] == METAL_NEARBY
    neck = section["predicted"]["regions"]["neck"]
    assert neck["integral"]["hu_mean"] == 280 and neck["integral"]["vbmd_mg_cm3"] is None
    assert neck["integral"]["undefined"]["bmc_mg"] == METAL_NEARBY
    assert neck["trabecular"]["undefined"]["volume_mm3"] == NEEDS_DENSITIES.format(METAL_NEARBY)
    draw_femur("S1", "left", {"femur": section}, {"femur": projection})
    assert " ".join(words[1:]).lower() == METAL_NEARBY.lower()
    assert density_table({"femur": section})["sentences"] == [f"No density: {METAL_NEARBY}."]
    assert measured_solid(CALIBRATED)[0]["calibration"]["no_density"] == ""


def test_a_mask_without_a_neck_says_so(words):
    mask = np.zeros((30, 40, 40), bool)
    mask[5:25, 15:25, 15:25] = True
    image = sitk.GetImageFromArray(np.full(mask.shape, 280, np.int16))
    scan = CalibratedScan(image=image, side="right", calibration=CALIBRATED, config=DensityConfig())
    bone = scan.measure({"predicted": mask})
    assert bone.projections == {"predicted": None}
    draw_femur("S1", "right", {"femur": bone.section}, {"femur": None})
    reason = bone.section["predicted"]["areal"]["neck"]["undefined"]["abmd_g_cm2"]
    assert reason and " ".join(words[1:]).lower() == reason.lower() != NO_CALIBRATION


def test_drawing_needs_no_matplotlib():
    code = "import sys, lib.figures.areal_picture; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_picture_of_the_documentation_is_what_the_code_makes():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    kept = np.asarray(Image.open(pictures.PICTURE).convert("L"), float)
    made = np.asarray(pictures.femur_regions().convert("L"), float)
    assert made.shape == kept.shape, "run python docs/pictures.py"
    # pixels at edges of letters may differ between versions of a font
    assert np.abs(made - kept).mean() < 1.0, "run python docs/pictures.py"
