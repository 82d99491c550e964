"""Detection of rods, which are the same on every slice, and objects that must not be taken for rods."""

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import Scene, draw

from lib.density.rods import density_phantom_in_view

STEP_MM = 1.0


def view(discs, slices=20, drift_mm=0.0, radius_mm=10.0, seed=9):
    """Soft tissue with round inserts (x, y in mm, HU), which move sideways by `drift_mm` from slice to slice."""
    z, y, x = np.ogrid[:slices, 0:120, 0:300]
    hu = np.full((slices, 120, 300), 30.0)
    for center_x, center_y, value in discs:
        hu[(x - center_x - drift_mm * z) ** 2 + (y - center_y) ** 2 < radius_mm**2] = value
    hu += 20 * np.random.default_rng(seed).standard_normal(hu.shape)
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((STEP_MM, STEP_MM, 3.0))
    return image


MINDWAYS = [(70, 60, -71), (110, 60, -29), (150, 60, 198), (190, 60, 371), (230, 60, 525)]


def test_five_rods_in_a_row_are_a_phantom():
    assert density_phantom_in_view(view(MINDWAYS)) is True


@pytest.mark.parametrize("radius_mm", [5.0, 15.0])
def test_two_bright_rods_of_different_density_are_enough(radius_mm):
    assert density_phantom_in_view(view([(110, 60, 200), (150, 60, 400)], radius_mm=radius_mm))


@pytest.mark.parametrize(
    ("case", "arguments"),
    [
        ("nothing", {"discs": []}),
        ("one rod", {"discs": [(150, 60, 400)]}),
        ("two alike, as vessels or tubes of a table", {"discs": [(110, 60, 300), (190, 60, 310)]}),
        ("not in one row", {"discs": [(110, 30, 200), (150, 90, 400)]}),
        ("far apart", {"discs": [(40, 60, 200), (260, 60, 400)]}),
        (
            "moving from slice to slice, as bones do",
            {"discs": [(60, 60, 200), (110, 60, 400)], "drift_mm": 5.0},
        ),
        ("thinner than rods", {"discs": [(110, 60, 200), (150, 60, 400)], "radius_mm": 2.0}),
        ("wider than rods", {"discs": [(80, 60, 200), (180, 60, 400)], "radius_mm": 25.0}),
    ],
)
def test_other_things_are_no_phantom(case, arguments):
    assert density_phantom_in_view(view(**arguments)) is False, case


def test_bars_are_no_rods():
    image = view([])
    hu = sitk.GetArrayFromImage(image)
    hu[:, 50:58, 40:70], hu[:, 50:58, 90:120] = 200, 400
    bars = sitk.GetImageFromArray(hu)
    bars.CopyInformation(image)
    assert not density_phantom_in_view(bars)


@pytest.mark.parametrize("rods", [True, False])
def test_under_a_patient(rods):
    scene = Scene(spacing_mm=(1.5, 1.5, 3.0), size_xy=(280, 220), bottom_mm=-70.0, top_mm=30.0, rods=rods)
    assert density_phantom_in_view(draw(scene)[0]) is rods
