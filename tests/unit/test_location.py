"""The search for the hip: one hand-made pelvis in many views."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import HEAD_X_MM, Scene, draw, margins_mm, turned

from bench.crop_search import FIELDS, LEAST_MARGIN_MM, search
from lib.anatomy.femur.location import locate_hip
from lib.crop_settings import CropConfig
from lib.errors import ConfigError, ScanError

CONFIG = CropConfig()
WINDOW_MM = 142.0  # 192 pixels of 0.742 mm, the smallest of the study
SIDES = ("left", "right")

VIEWS = {
    "usual": Scene(),
    "0.8 mm pixels, 2 mm slices": Scene(
        spacing_mm=(0.8, 0.8, 2.0), size_xy=(512, 300), bottom_mm=-64.0, top_mm=20.0
    ),
    "3 mm pixels, 5 mm slices": Scene(spacing_mm=(3.0, 3.0, 5.0), size_xy=(140, 110)),
    "2.5 mm pixels": Scene(spacing_mm=(2.5, 2.5, 2.5), size_xy=(170, 130)),
    "off centre": Scene(middle_mm=(45.0, -20.0)),
    "turned": Scene(turn_degrees=12.0),
    "turned back": Scene(turn_degrees=-12.0),
    "turned far": Scene(turn_degrees=22.0),
    "old bone": Scene(trabecular_hu=90.0),
    "noise": Scene(noise_hu=60.0),
    "nail left": Scene(nail="left"),
    "nail right": Scene(nail="right"),
    "no phantom": Scene(rods=False),
    "long": Scene(bottom_mm=-140.0, top_mm=120.0),
    "short": Scene(bottom_mm=-60.0, top_mm=25.0),
    "nothing above the heads": Scene(top_mm=15.0),
    "right side cut off by the field of view": Scene(size_xy=(150, 160), middle_mm=(55.0, 20.0)),
}


@pytest.fixture(scope="module", params=VIEWS.values(), ids=VIEWS.keys())
def view(request):
    return draw(request.param)


@pytest.mark.parametrize("side", SIDES)
def test_the_window_holds_the_femur_in_every_view(view, side):
    image, femurs = view
    location = locate_hip(image, side, CONFIG)
    assert location.side == side
    assert margins_mm(image, femurs[side], location.center_mm_xy, WINDOW_MM).min() >= 15.0
    assert location.evidence["head_x_mm"] * (1 if side == "left" else -1) > 40.0


# people of bench/crop_search.py with each field of view, both sides, nails, old bone, turns up to 20 degrees
PEOPLE = (0, 1, 4, 9, 10, 11)


def test_the_hip_of_simulated_people_is_found_with_a_margin():
    outcomes = [search(number, matrix=128) for number in PEOPLE]
    assert not [outcome.number for outcome in outcomes if outcome.failed]
    assert min(outcome.least_margin_mm for outcome in outcomes) >= LEAST_MARGIN_MM
    assert {outcome.view.field for outcome in outcomes} == set(FIELDS)
    # an inferred side is stated; a femur cut by the field of view is flagged
    assert all(outcome.doubts for outcome in outcomes if outcome.view.field == "one hip")
    assert all(
        "bone_at_border" in outcome.flags for outcome in outcomes if outcome.view.field == "cuts the femur"
    )


@pytest.mark.parametrize("side", SIDES)
def test_a_usual_view_leaves_no_doubt_and_finds_head_and_midplane(side):
    location = locate_hip(*draw(Scene())[:1], side, CONFIG)
    assert not location.uncertain
    evidence = location.evidence
    sign = 1 if side == "left" else -1
    assert sign * evidence["head_x_mm"] == pytest.approx(HEAD_X_MM, abs=15)
    assert evidence["head_z_mm"] == pytest.approx(0.0, abs=20)
    assert evidence["midplane_x_mm"] == pytest.approx(0.0, abs=4)
    assert all(np.isfinite(value) for value in evidence.values())


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("turns_xyz_degrees", [(12.0, 0.0, 0.0), (0.0, 12.0, 0.0), (12.0, -12.0, 12.0)])
def test_an_oblique_volume_holds_the_same_hip_at_its_true_place(side, turns_xyz_degrees):
    image = draw(Scene())[0]
    oblique = turned(image, turns_xyz_degrees)
    straight, found = locate_hip(image, side, CONFIG), locate_hip(oblique, side, CONFIG)
    assert found.doubts == straight.doubts
    i, j = (
        (c - o) / s
        for c, o, s in zip(straight.center_mm_xy, image.GetOrigin(), image.GetSpacing(), strict=False)
    )
    middle_mm = oblique.TransformContinuousIndexToPhysicalPoint([0.5 * (n - 1) for n in oblique.GetSize()])
    index = oblique.TransformPhysicalPointToContinuousIndex((*found.center_mm_xy, middle_mm[2]))
    assert index[:2] == pytest.approx((i, j), abs=1e-6)
    heads = [[hip.evidence[f"head_{axis}_mm"] for axis in "xyz"] for hip in (straight, found)]
    head_index = image.TransformPhysicalPointToContinuousIndex(heads[0])
    assert oblique.TransformContinuousIndexToPhysicalPoint(head_index) == pytest.approx(heads[1], abs=1e-6)


def test_no_copy_of_the_whole_volume_is_made():
    hu_zyx = sitk.GetArrayFromImage(draw(Scene())[0])  # voxels of 2 x 2 x 3 mm, to be split to 1 mm
    image = sitk.GetImageFromArray(hu_zyx.repeat(3, axis=0).repeat(2, axis=1).repeat(2, axis=2))
    tracemalloc.start()
    locate_hip(image, "left", CONFIG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # less than one byte of each voxel, so not even a mask of the volume
    assert peak < image.GetNumberOfPixels()


def test_mirrored_patients_have_mirrored_hips():
    # pixels on both sides of x = 0 alike, so that the mirrored image lies on the same grid
    scene = Scene(rods=False, missing="right", size_xy=(210, 160))
    image, _ = draw(dataclasses.replace(scene, missing="", nail="left"))
    mirrored = sitk.GetImageFromArray(sitk.GetArrayFromImage(image)[:, :, ::-1])
    mirrored.CopyInformation(image)
    left, right = locate_hip(image, "left", CONFIG), locate_hip(mirrored, "right", CONFIG)
    assert left.center_mm_xy[0] == pytest.approx(-right.center_mm_xy[0], abs=1e-3)
    assert left.center_mm_xy[1] == pytest.approx(right.center_mm_xy[1], abs=1e-3)


@pytest.mark.parametrize(("side", "middle_x_mm"), [("left", 100.0), ("right", -100.0)])
def test_a_view_of_one_hip_is_found_for_its_side_only_and_doubted(side, middle_x_mm):
    image, femurs = draw(Scene(size_xy=(100, 160), middle_mm=(middle_x_mm, 20.0)))
    location = locate_hip(image, side, CONFIG)
    assert location.uncertain
    assert margins_mm(image, femurs[side], location.center_mm_xy, WINDOW_MM).min() >= 15.0
    other = SIDES[side == "left"]
    with pytest.raises(ScanError, match=f"appears to be the {side} one") as caught:
        locate_hip(image, other, CONFIG)
    assert caught.value.code == "not_in_view"


def test_a_dense_trochanter_is_no_head():
    # with a nail the trochanter looks like a ball of dense bone, further lateral than the head
    image, femurs = draw(Scene(size_xy=(100, 160), middle_mm=(100.0, 20.0)))
    x, y, z = (
        o + s * np.arange(n)
        for o, s, n in zip(image.GetOrigin(), image.GetSpacing(), image.GetSize(), strict=True)
    )
    hu_zyx = sitk.GetArrayFromImage(image)
    hu_zyx[((z + 30)[:, None, None] ** 2 + (y - 16)[None, :, None] ** 2 + (x - 128) ** 2) < 18**2] = 3000
    nailed = sitk.GetImageFromArray(hu_zyx)
    nailed.CopyInformation(image)
    location = locate_hip(nailed, "left", CONFIG)
    assert location.evidence["head_x_mm"] == pytest.approx(HEAD_X_MM, abs=15)
    assert margins_mm(image, femurs["left"], location.center_mm_xy, WINDOW_MM).min() >= 15.0


def test_a_femur_cut_off_by_the_field_of_view_is_doubted():
    image, _ = draw(Scene(size_xy=(200, 160), middle_mm=(-90.0, 20.0)))  # ends 19 mm lateral of the left head
    assert any("wide" in doubt for doubt in locate_hip(image, "left", CONFIG).doubts)


def test_a_scan_that_ends_at_the_heads_holds_no_femur():
    with pytest.raises(ScanError, match="there is no neck in it") as caught:
        locate_hip(draw(Scene(bottom_mm=-5.0, top_mm=100.0))[0], "left", CONFIG)
    assert caught.value.code == "not_in_view"


def test_a_scan_that_ends_above_the_trochanter_is_doubted():
    doubts = locate_hip(draw(Scene(bottom_mm=-25.0))[0], "left", CONFIG).doubts
    assert any("trochanter" in doubt for doubt in doubts)


def test_a_hip_without_femur_is_refused_or_doubted():
    image, _ = draw(Scene(missing="left"))
    try:
        assert locate_hip(image, "left", CONFIG).uncertain
    except ScanError as error:
        assert error.code == "not_in_view"
    assert locate_hip(image, "right", CONFIG).center_mm_xy[0] < -60.0


def column_of_bone(x_mm):
    """A body with only one column of vertebrae at `x_mm`."""
    z, y, x = np.ogrid[0:180:3, -150:150:3, -200:200:3]
    hu = np.where((x / 180) ** 2 + (y / 110) ** 2 + 0 * z < 1, 40, -1000)
    hu[((x - x_mm) ** 2 + (y - 40) ** 2 < 22**2) & (z % 30 > 6)] = 300
    image = sitk.GetImageFromArray(hu.astype(np.int16))
    image.SetSpacing((3.0, 3.0, 3.0))
    image.SetOrigin((-200.0, -150.0, 0.0))
    return image


@pytest.mark.parametrize("side", SIDES)
def test_a_spine_is_no_hip(side):
    with pytest.raises(ScanError, match="body's middle") as caught:
        locate_hip(column_of_bone(0.0), side, CONFIG)
    assert caught.value.code == "not_in_view"


@pytest.mark.parametrize("hu", [-1000, 40, 1000])
def test_a_uniform_scan_holds_no_hip(hu):
    image = sitk.GetImageFromArray(np.full((30, 60, 60), hu, np.int16))
    image.SetSpacing((3.0, 3.0, 3.0))
    with pytest.raises(ScanError) as caught:
        locate_hip(image, "left", CONFIG)
    assert caught.value.code == "not_in_view"


def test_sides_and_settings_are_checked():
    with pytest.raises(ConfigError, match="left, right"):
        locate_hip(column_of_bone(0.0), "both", CONFIG)
    for key, value in (("size", (192,)), ("size", (0, 192)), ("bone_hu", 0.0), ("min_margin_mm", -1.0)):
        with pytest.raises(ConfigError, match=f"crop.{key}"):
            CropConfig(**{key: value})
