"""The figure of the projected femur, and the picture of docs/regions.md that is made with it."""

import importlib.util
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from lib.figures.areal_figure import ProjectedFemur, draw_projection
from lib.figures.style import STYLE

DOCS = Path(__file__).parents[2] / "docs"


def femur(**changed):
    """A square of bone of 1 g/cm2 with a neck's box, as a projection."""
    bone = np.zeros((40, 50), bool)
    bone[8:32, 8:42] = True
    fields = {
        "pixel_mm": 0.5,
        "density_g_cm2": bone * 1.0,
        "regions": np.where(bone, 2, 0).astype(np.uint8),
        "rois": {"total": bone, "neck": bone},
        "neck_box_px": np.array([[10, 8], [30, 8], [30, 31], [10, 31]]),
        "axis_px": np.array([[8.0, 30.0], [20.0, 20.0]]),
        "measured": {
            "total": {"area_cm2": 2.0, "bmc_g": 2.0, "abmd_g_cm2": 1.0, "undefined": {}},
            "neck": {"area_cm2": 1.0, "bmc_g": 0.9, "abmd_g_cm2": 0.9, "undefined": {}},
            "trochanter": {
                "area_cm2": None,
                "bmc_g": None,
                "abmd_g_cm2": None,
                "undefined": {"bmc_g": "cut"},
            },
        },
        "scale": "K2HPO4",
    }
    return ProjectedFemur(**fields | changed)


def test_the_figure_tells_regions_and_values_and_leaves_out_what_is_undefined():
    drawing = draw_projection(femur())
    regions, density = drawing.figure.axes[:2]
    words = {text.get_text() for axes in (regions, density) for text in axes.get_legend().get_texts()}
    assert words == {"neck", "neck's axis", "total 1.000", "neck 0.900"}
    assert drawing.alt.endswith("areal density in g/cm² (K2HPO4): total 1.000, neck 0.900.")
    assert list(drawing.data["roi"]) == ["total", "neck", "trochanter"]
    assert drawing.data.loc[2, "abmd_g_cm2"] is None or np.isnan(drawing.data.loc[2, "abmd_g_cm2"])


def test_a_femur_without_areal_regions_is_drawn():
    nothing = {"area_cm2": None, "bmc_g": None, "abmd_g_cm2": None, "undefined": {}}
    drawing = draw_projection(
        femur(rois={}, neck_box_px=None, measured=dict.fromkeys(("total", "neck", "trochanter"), nothing))
    )
    assert drawing.figure.axes[1].get_legend() is None and drawing.alt.endswith("(K2HPO4): none.")


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_of_the_documentation_is_what_the_code_makes(pictures):
    drawn = BytesIO()
    with mpl.rc_context(STYLE):
        pictures.femur_regions().savefig(drawn, dpi=pictures.DPI)
    kept = np.asarray(Image.open(pictures.PICTURE).convert("L"), float)
    made = np.asarray(Image.open(drawn).convert("L"), float)
    assert made.shape == kept.shape, "run python docs/pictures.py"
    # pixels at edges of letters may differ between versions of a font
    assert np.abs(made - kept).mean() < 1.0, "run python docs/pictures.py"
