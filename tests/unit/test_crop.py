"""The window of a hip: position to the voxel, padding, flags and the record."""

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from hip_scene import Scene, draw, turned

from lib.anatomy.femur.location import HEAD_EVIDENCE, locate_hip
from lib.anatomy.locate import WindowRequest, margins_of, shown_slice, window_center
from lib.anatomy.protocol import Location
from lib.crop_settings import CropConfig
from lib.errors import ConfigError, ScanError
from lib.imaging.crop import (
    CropCenter,
    UpperEnd,
    crop_image,
    crop_labels,
    find_window,
    middle_of,
    ranges_around,
)
from lib.imaging.grid import array_zyx, column_mm
from lib.imaging.model_frame import ModelFrame
from lib.intensity_scale import IntensityConfig, fixed_range

SMALL, CT, LEFT = CropConfig(size=(10, 8)), fixed_range(IntensityConfig()), ModelFrame()
MARGINS = margins_of("proximal-femur", SMALL)
ORIGIN_MM, SPACING_MM = (-20.0, 10.0, -300.0), (0.5, 0.75, 3.0)


def numbered(dtype=np.int16):
    """An image in which every voxel has a different value."""
    image = sitk.GetImageFromArray(np.arange(3 * 20 * 30).reshape(3, 20, 30).astype(dtype))
    image.SetOrigin(ORIGIN_MM)
    image.SetSpacing(SPACING_MM)
    return image


def center_of(index_xy, side="left"):
    """A centre at a (fractional) index."""
    x, y = (o + s * i for o, s, i in zip(ORIGIN_MM, SPACING_MM, index_xy, strict=False))
    return CropCenter(side=side, center_mm_xy=(x, y))


def test_the_window_s_middle_is_the_centre_and_voxels_keep_value_and_place():
    image = numbered()
    window, record = crop_image(image, center_of((14.5, 9.5)), SMALL, MARGINS, CT, LEFT)
    assert record.start_xyz == (10, 6, 0)
    assert window.GetSize() == (10, 8, 3)
    np.testing.assert_array_equal(array_zyx(window), array_zyx(image)[:, 6:14, 10:20])
    assert window.GetOrigin() == pytest.approx(image.TransformIndexToPhysicalPoint((10, 6, 0)))
    assert window.GetSpacing() == pytest.approx(SPACING_MM)
    assert record.padded_voxels == 0


@pytest.mark.parametrize(
    ("index_xy", "start"), [((14.9, 9.1), (10, 6)), ((14.1, 9.9), (10, 6)), ((15.1, 8.9), (11, 5))]
)
def test_the_nearest_window_is_taken(index_xy, start):
    image, center = numbered(), center_of(index_xy)
    assert find_window(image, center, SMALL, LEFT)[0] == (*start, 0)
    x, y = ranges_around(image, center.center_mm_xy, (10 * SPACING_MM[0], 8 * SPACING_MM[1]))
    assert ((x.start, y.start), (x.stop - x.start, y.stop - y.start)) == (start, (10, 8))


def test_outside_of_the_image_is_air_and_counted():
    image = numbered()
    window, record = crop_image(image, center_of((1.5, 18.5)), SMALL, MARGINS, CT, LEFT)
    assert record.start_xyz == (-3, 15, 0)
    values = array_zyx(window)
    np.testing.assert_array_equal(values[:, :5, 3:], array_zyx(image)[:, 15:, :7])
    outside = np.ones((3, 8, 10), bool)
    outside[:, :5, 3:] = False
    assert (values[outside] == -1024).all()
    assert record.padded_voxels == outside.sum()
    assert "padded" in record.flags
    assert window.GetOrigin() == pytest.approx((-21.5, 21.25, -300.0))


def test_a_window_larger_than_the_image_holds_all_of_it():
    window, record = crop_image(
        numbered(), center_of((14.5, 9.5)), CropConfig(size=(40, 40)), MARGINS, CT, LEFT
    )
    np.testing.assert_array_equal(array_zyx(window)[:, 10:30, 5:35], array_zyx(numbered()))
    assert record.padded_voxels == 3 * (40 * 40 - 20 * 30)


def test_a_window_beside_the_image_is_air():
    window, record = crop_image(numbered(), center_of((100.0, 9.5)), SMALL, MARGINS, CT, LEFT)
    assert (array_zyx(window) == -1024).all()
    assert record.padded_voxels == 3 * 80
    assert "no_bone" in record.flags


def test_the_mask_is_cut_by_the_record_as_written():
    mask = numbered(np.uint8)
    for index_xy in ((14.5, 9.5), (1.5, 18.5)):
        window, record = crop_image(numbered(), center_of(index_xy), SMALL, MARGINS, CT, LEFT)
        cut = crop_labels(mask, json.loads(json.dumps(record.to_json())))
        assert cut.GetOrigin() == pytest.approx(window.GetOrigin())
        values = array_zyx(window)
        np.testing.assert_array_equal(array_zyx(cut), np.where(values == -1024, 0, values % 256))


def bone_block(first_x, stop_x, first_y=80, stop_y=110, slices=slice(0, 20)):
    """A block of bone in soft tissue, 1 mm voxels; the window of the tests covers index 50 to 149 of 200."""
    hu = np.full((20, 200, 200), 40, np.int16)
    hu[slices, first_y:stop_y, first_x:stop_x] = 700
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((1.0, 1.0, 3.0))
    return image


BLOCK = CropConfig(size=(100, 100))


@pytest.mark.parametrize(
    ("side", "span", "lateral_mm", "flagged"),
    [
        ("left", (60, 130), 20.0, False),
        ("left", (60, 141), 9.0, True),
        ("left", (40, 130), 20.0, False),  # the pelvis crosses the medial border
        ("right", (70, 140), 20.0, False),
        ("right", (59, 140), 9.0, True),
        ("right", (70, 160), 20.0, False),
    ],
)
def test_bone_near_the_lateral_border_is_flagged(side, span, lateral_mm, flagged):
    center = CropCenter(side=side, center_mm_xy=(99.5, 99.5))
    _, record = crop_image(bone_block(*span), center, BLOCK, MARGINS, CT, LEFT)
    assert record.margins_mm["lateral"] == pytest.approx(lateral_mm)
    assert ("bone_at_border" in record.flags) is flagged


def test_bone_near_front_and_back_is_flagged():
    center = CropCenter(side="left", center_mm_xy=(99.5, 99.5))
    for rows, border in (((55, 100), "anterior"), ((100, 145), "posterior")):
        _, record = crop_image(bone_block(60, 130, *rows), center, BLOCK, MARGINS, CT, LEFT)
        assert record.margins_mm[border] == pytest.approx(5.0)
        assert "bone_at_border" in record.flags


def test_bone_cut_by_the_field_of_view_is_flagged():
    image = bone_block(60, 130)[:125, :, :]
    _, record = crop_image(
        image, CropCenter(side="left", center_mm_xy=(99.5, 99.5)), BLOCK, MARGINS, CT, LEFT
    )
    assert record.margins_mm["lateral"] == 0.0
    assert set(record.flags) == {"bone_at_border", "padded"}


def test_the_pelvis_above_the_head_does_not_count():
    image = bone_block(60, 145, slices=slice(10, 20))
    femur = sitk.GetArrayFromImage(image)
    femur[:10, 80:110, 80:130] = 700
    image = sitk.GetImageFromArray(femur)
    image.SetSpacing((1.0, 1.0, 3.0))
    head = UpperEnd(point_mm_xyz=(90.0, 95.0, 27.0), above_mm=60.0)
    center = CropCenter(side="left", center_mm_xy=(99.5, 99.5), upper_end=head)
    _, record = crop_image(image, center, BLOCK, MARGINS, CT, LEFT)
    assert record.margins_mm["lateral"] == pytest.approx(20.0)
    assert record.flags == ()


def hip_of(side, center_mm_xy=None):
    return WindowRequest(anatomy="proximal-femur", side=side, center_mm_xy=center_mm_xy)


def cropped(image, side, config):
    """Find the hip and crop to its window; return the window and the record."""
    center = window_center(image, hip_of(side), config, locate_hip(image, side, config))
    return crop_image(image, center, config, MARGINS, CT, LEFT)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_oblique_volume_has_the_same_window(side):
    image, _ = draw(Scene(spacing_mm=(1.5, 1.5, 3.0), size_xy=(280, 220), bottom_mm=-70.0, top_mm=60.0))
    config = CropConfig(size=(96, 96), above_head_mm=40.0)
    window, record = cropped(image, side, config)
    assert record.slices_cut_above > 0
    oblique = turned(image, (12.0, -12.0, 12.0))
    turned_window, turned_record = cropped(oblique, side, config)
    assert dataclasses.replace(turned_record, center_mm_xy=record.center_mm_xy) == record
    np.testing.assert_array_equal(array_zyx(turned_window), array_zyx(window))
    first_mm = oblique.TransformIndexToPhysicalPoint(record.start_xyz)
    assert turned_window.GetOrigin() == pytest.approx(first_mm)
    assert turned_window.GetDirection() == oblique.GetDirection()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_found_hip_is_cropped_without_flags(side):
    image, femurs = draw(Scene(spacing_mm=(1.5, 1.5, 3.0), size_xy=(280, 220), bottom_mm=-70.0, top_mm=30.0))
    _, record = cropped(image, side, CropConfig(size=(96, 96)))
    assert record.flags == ()
    mask = sitk.GetImageFromArray(femurs[side].astype(np.uint8))
    assert array_zyx(crop_labels(mask, record.to_json())).sum() == femurs[side].sum()


HEAD_MM = (1.0, 2.0, -250.0)
FOUND = Location(
    side="left",
    center_mm_xy=(3.0, 4.0),
    evidence=dict(zip(HEAD_EVIDENCE, HEAD_MM, strict=True)),
    doubts=("the femur looks narrow",),
)


def test_the_found_centre_carries_its_doubt():
    center = window_center(numbered(), hip_of("left"), SMALL, FOUND)
    end = UpperEnd(point_mm_xyz=HEAD_MM, above_mm=60.0)
    assert center == CropCenter(side="left", center_mm_xy=(3.0, 4.0), uncertain=True, upper_end=end)
    assert "crop_uncertain" in crop_image(numbered(), center, SMALL, MARGINS, CT, LEFT)[1].flags


def test_the_table_s_centre_overrides_and_is_flagged():
    center = window_center(numbered(), hip_of("left", [-12.0, 17.0]), SMALL, FOUND)
    assert (center.center_mm_xy, center.source, center.uncertain) == ((-12.0, 17.0), "override", False)
    assert center.upper_end is None
    flags = crop_image(numbered(), center, SMALL, MARGINS, CT, LEFT)[1].flags
    assert "override" in flags
    assert "crop_uncertain" not in flags


def test_a_hip_that_was_not_looked_for_is_not_cropped():
    for location in (None, FOUND):
        with pytest.raises(ScanError, match="has not found the right hip") as caught:
            window_center(numbered(), hip_of("right"), SMALL, location)
        assert caught.value.code == "not_in_view"
    with pytest.raises(ConfigError, match="left, right"):
        CropCenter(side="both", center_mm_xy=(0.0, 0.0))


def test_a_location_outlives_its_file():
    found = json.loads(json.dumps(FOUND.to_json(), allow_nan=False))
    assert Location.from_json(found) == FOUND
    assert Location.from_json(None) is None
    odd = Location(side="", center_mm_xy=(1.23456789, 2.0), evidence={"b": float("nan"), "a": 1.0})
    assert odd.to_json() == {
        "side": "",
        "center_mm_xy": [1.23457, 2.0],
        "uncertain": False,
        "doubts": [],
        "evidence": {"a": 1.0, "b": None},
    }


def test_the_picture_shows_the_slice_of_the_head():
    image, given = numbered(), dataclasses.replace(FOUND, evidence={"given": 1.0})
    assert shown_slice(image, "proximal-femur", SMALL, FOUND) == pytest.approx(
        50 / 3
    )  # -250 mm; 0 is at -300 mm
    for anatomy, method, location in (
        ("proximal-femur", "hip", None),
        ("proximal-femur", "hip", given),
        ("proximal-femur", "centre", FOUND),
        ("generic", "none", None),
    ):
        assert shown_slice(image, anatomy, CropConfig(method=method), location) is None


def test_the_record_is_the_file_agreed_upon():
    record = crop_image(numbered(), center_of((14.5, 9.5)), SMALL, MARGINS, CT, LEFT)[1].to_json()
    assert json.loads(json.dumps(record)) == {
        "side": "left",
        "center_mm_xy": pytest.approx([-12.75, 17.125]),
        "source": "automatic",
        "start_xyz": [10, 6, 0],
        "size_xyz": [10, 8, 3],
        "spacing_mm_xyz": pytest.approx(list(SPACING_MM)),
        "padded_voxels": 0,
        "slices_cut_above": 0,
        "margins_mm": {"lateral": 0.0, "anterior": 0.0, "posterior": 0.0},
        "intensity": {"low": -1000.0, "high": 2000.0, "padding": -1024},
        "frame": {"mirrored": False, "slice_axis": "z"},
        "flags": ["bone_at_border"],
    }


def test_slices_far_above_the_head_are_cut_and_the_mask_alike():
    image = sitk.Image([8, 8, 50], sitk.sitkInt16)
    image.SetSpacing((1.0, 1.0, 3.0))
    image.SetOrigin((0.0, 0.0, -100.0))
    config = CropConfig(size=(4, 4), above_head_mm=60.0)
    head = Location(
        side="left",
        center_mm_xy=(3.5, 3.5),
        evidence=dict(zip(HEAD_EVIDENCE, (3.0, 3.0, -40.0), strict=True)),
    )
    known = window_center(image, hip_of("left"), config, head)
    assert known.upper_end == UpperEnd(point_mm_xyz=(3.0, 3.0, -40.0), above_mm=60.0)
    window, record = crop_image(image, known, config, MARGINS, CT, LEFT)
    # the last slice kept lies at or below 20 mm: -100 + 3 * 40
    assert (window.GetSize(), record.slices_cut_above) == ((4, 4, 41), 9)
    assert window.GetOrigin()[2] == -100.0
    mask = sitk.Cast(image, sitk.sitkUInt8)
    assert crop_labels(mask, record.to_json()).GetSize() == (4, 4, 41)
    assert (
        crop_image(image, dataclasses.replace(known, uncertain=True), config, MARGINS, CT, LEFT)[
            1
        ].slices_cut_above
        == 0
    )


@pytest.mark.parametrize(
    ("axis", "start", "size"),
    [("z", (10, 6, 0), (10, 8, 3)), ("y", (10, 0, -2), (10, 20, 8)), ("x", (0, 5, -2), (30, 10, 8))],
)
def test_a_window_around_the_middle_lies_across_the_slices(axis, start, size):
    image = numbered()
    config, frame = CropConfig(method="centre", size=(10, 8)), ModelFrame(slice_axis=axis)
    window, record = crop_image(image, middle_of(image, "", None), config, None, CT, frame)
    assert (record.start_xyz, record.size_xyz, record.source) == (start, size, "middle")
    assert record.center_mm_xy == pytest.approx(column_mm(image, (14.5, 9.5)))
    assert record.flags == (("padded",) if axis != "z" else ())
    inside_z = array_zyx(window)[max(-start[2], 0) :][:3]
    columns, rows = (slice(first, first + count) for first, count in zip(start[:2], size[:2], strict=True))
    np.testing.assert_array_equal(inside_z, array_zyx(image)[:, rows, columns])
    assert (array_zyx(window) == -1024).sum() == record.padded_voxels
    labels = crop_labels(numbered(np.uint16), json.loads(json.dumps(record.to_json())))
    np.testing.assert_array_equal(array_zyx(labels)[max(-start[2], 0) :][:3], inside_z)


def test_the_table_s_centre_moves_the_window():
    image = numbered()
    center = middle_of(image, "", column_mm(image, (12.5, 8.5)))
    _, record = crop_image(image, center, CropConfig(method="centre", size=(10, 8)), None, CT, LEFT)
    assert (record.start_xyz, record.flags) == ((8, 5, 0), ("override",))


def test_without_a_window_the_whole_image_is_taken():
    image = numbered()
    window, record = crop_image(image, middle_of(image, "", None), CropConfig(method="none"), None, CT, LEFT)
    np.testing.assert_array_equal(array_zyx(window), array_zyx(image))
    assert (record.start_xyz, record.size_xyz, record.flags) == ((0, 0, 0), (30, 20, 3), ())
