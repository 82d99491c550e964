"""Grids: voxels of one labelled volume keep their physical places in every orientation."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ScanError
from lib.imaging.grid import (
    array_zyx,
    column_index,
    column_mm,
    image_like,
    obliquity_degrees,
    positions_in,
    require_same_grid,
    same_grid,
    spacing_zyx,
    straightened,
    to_patient_axes,
)


def make_image(size_xyz=(4, 3, 2), spacing_mm_xyz=(0.5, 0.75, 2.0), origin_mm_xyz=(-10.0, 20.0, 30.0)):
    values_zyx = np.arange(np.prod(size_xyz), dtype=np.int16).reshape(size_xyz[::-1])
    image = sitk.GetImageFromArray(values_zyx)
    image.SetSpacing(spacing_mm_xyz)
    image.SetOrigin(origin_mm_xyz)
    return image


def turned_about_z(image, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    image.SetDirection((cos, -sin, 0, sin, cos, 0, 0, 0, 1))
    return image


AXIS_CODES = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "SI"))
    for letters in itertools.product(*axes)
]


@pytest.mark.parametrize("code", AXIS_CODES)
def test_any_axis_order_comes_back_to_patient_axes(code):
    original = make_image()
    stored = sitk.DICOMOrient(original, code)
    restored = to_patient_axes(stored)
    assert restored.GetDirection() == original.GetDirection()
    assert same_grid(restored, original)
    np.testing.assert_array_equal(array_zyx(restored), array_zyx(original))


def test_first_array_axis_starts_at_the_distal_end():
    image = to_patient_axes(sitk.DICOMOrient(make_image(), "LPI"))
    lowest_z_mm = min(image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(2))
    assert image.TransformIndexToPhysicalPoint((0, 0, 0))[2] == lowest_z_mm == 30.0


def test_obliquity_is_the_angle_of_the_turn():
    assert obliquity_degrees(turned_about_z(make_image(), 12.5).GetDirection()) == pytest.approx(12.5)


@pytest.mark.parametrize("code", ["LPS", "RAI", "SPL"])
def test_oblique_volume_keeps_every_voxel_at_its_place(code):
    oblique = turned_about_z(make_image(), 7.0)
    restored = to_patient_axes(sitk.DICOMOrient(oblique, code))
    assert same_grid(restored, oblique)
    np.testing.assert_array_equal(array_zyx(restored), array_zyx(oblique))


def test_straightened_volume_keeps_its_centre():
    oblique = turned_about_z(make_image(size_xyz=(5, 3, 3)), 30.0)
    straight = straightened(oblique)
    assert straight.GetDirection() == make_image().GetDirection()
    np.testing.assert_allclose(
        straight.TransformIndexToPhysicalPoint((2, 1, 1)), oblique.TransformIndexToPhysicalPoint((2, 1, 1))
    )


def test_columns_are_known_by_their_place_at_the_height_of_the_centre():
    image = make_image(size_xyz=(5, 3, 3))
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    image.SetDirection((1, 0, 0, 0, cos, -sin, 0, sin, cos))
    # the centre is on its own column; the column one row further reaches its height 0.75 mm / cos away
    center_mm = image.TransformIndexToPhysicalPoint((2, 1, 1))
    assert column_mm(image, (2, 1)) == pytest.approx(center_mm[:2])
    assert column_mm(image, (2, 2)) == pytest.approx((center_mm[0], center_mm[1] + 0.75 / cos))
    assert column_index(image, column_mm(image, (0.3, 1.7))) == pytest.approx((0.3, 1.7))


def test_positions_of_one_grid_in_another():
    image = turned_about_z(make_image(), 40.0)
    crop = image[1:, 1:, :]
    crop.SetSpacing((1.0, 0.75, 2.0))
    np.testing.assert_allclose(positions_in(image, crop, 0), [1, 3, 5], atol=1e-12)
    np.testing.assert_allclose(positions_in(image, crop, 1), [1, 2], atol=1e-12)


def test_rounding_of_the_direction_is_dropped():
    assert to_patient_axes(turned_about_z(make_image(), 1e-3)).GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_image_like_takes_the_whole_grid_and_makes_masks_of_bool():
    reference = make_image()
    mask = image_like(array_zyx(reference) > 3, reference)
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert same_grid(mask, reference)
    assert array_zyx(mask).sum() == 20


def test_image_like_refuses_another_shape():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        image_like(np.zeros((4, 3, 2)), make_image())


def test_spacing_in_array_order():
    assert spacing_zyx(make_image()) == (2.0, 0.75, 0.5)


@pytest.mark.parametrize(
    "changed",
    [
        make_image(size_xyz=(4, 3, 3)),
        make_image(origin_mm_xyz=(-10.0, 20.0, 30.2)),
        make_image(spacing_mm_xyz=(0.5, 0.75, 2.2)),
        turned_about_z(make_image(), 10.0),
    ],
    ids=["size", "origin", "spacing", "direction"],
)
def test_another_grid_is_told_apart(changed):
    with pytest.raises(ScanError, match="the mask has 4x3x2 voxels") as caught:
        require_same_grid(make_image(), changed, "the mask", "the scan")
    assert caught.value.code == "mask_off_grid"


def test_float32_rounding_of_positions_is_the_same_grid():
    require_same_grid(make_image(), make_image(origin_mm_xyz=(-10.00001, 20.0, 30.0)), "a", "b")
