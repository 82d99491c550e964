"""Resampling to 3 mm slices: filter, positions, conserved means, dropped slices, and masks."""

import dataclasses
import itertools
import logging

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ConfigError, ScanError
from lib.imaging.grid import array_zyx, same_grid, volume_mm3, volumes_mm3
from lib.imaging.resample import resample_image, resample_labels
from lib.resample_settings import ResampleConfig

FOURIER, AREA = ResampleConfig(), ResampleConfig(method="area")
OVERSHOOT = (2 / np.sqrt(3) - 1) / 3  # 0.052


def scan(values_zyx, spacing_mm=(0.8, 0.8, 2.0), origin_mm=(-10.0, 20.0, -600.0)):
    image = sitk.GetImageFromArray(np.asarray(values_zyx))
    image.SetSpacing(spacing_mm)
    image.SetOrigin(origin_mm)
    return image


def profile(values_z, slice_mm=2.0):
    """A scan whose slices are uniform."""
    values = np.asarray(values_z)[:, None, None]
    return scan(np.broadcast_to(values, (len(values_z), 2, 2)).astype(np.int16), (0.8, 0.8, slice_mm))


def along_z(image):
    return array_zyx(image)[:, 0, 0]


def heights_mm(image):
    return image.GetOrigin()[2] + image.GetSpacing()[2] * np.arange(image.GetSize()[2])


@pytest.mark.parametrize("config", [FOURIER, AREA])
def test_three_2_mm_slices_become_two_3_mm_slices_centred_half_a_millimetre_up(config):
    new = resample_image(profile([0] * 12), config)
    assert new.GetSize() == (2, 2, 8)
    assert new.GetSpacing() == pytest.approx((0.8, 0.8, 3.0))
    assert new.GetOrigin() == pytest.approx((-10.0, 20.0, -599.5))
    assert new.GetPixelID() == sitk.sitkInt16


@pytest.mark.parametrize(
    ("config", "first", "last"),
    [
        (FOURIER, [0.71823351, 1 / 3, -0.05156685], [-0.05156685, 1 / 3, 0.71823351]),
        (AREA, [2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]),
    ],
)
def test_an_impulse_in_each_slice_of_a_group_shows_the_weights_and_stays_in_its_group(config, first, last):
    for position in range(3):
        impulse = np.zeros(9)
        impulse[3 + position] = 30000
        expected = np.zeros(6)
        expected[2:4] = 30000 * first[position], 30000 * last[position]
        np.testing.assert_allclose(
            along_z(resample_image(profile(impulse), config)), expected.clip(-1024), atol=0.51
        )


@pytest.mark.parametrize(("config", "error_mm"), [(FOURIER, 0.0402), (AREA, 1 / 6)])
def test_a_ramp_keeps_its_place_to_the_known_offset_of_the_centroids(config, error_mm):
    ramp_hu_per_mm = 100
    image = profile(2 * ramp_hu_per_mm * np.arange(30))
    new = resample_image(image, config)
    seen_mm = image.GetOrigin()[2] + along_z(new) / ramp_hu_per_mm
    # towards the middle of the group for one method, away from its start for the other
    sign = -1 if config is FOURIER else 1
    expected = sign * error_mm * np.tile([1, -1], 10)
    np.testing.assert_allclose(seen_mm - heights_mm(new), expected, atol=0.006)


@pytest.mark.parametrize("config", [FOURIER, AREA])
def test_constants_are_exact_and_group_means_are_kept(config):
    assert (along_z(resample_image(profile([-73] * 12), config)) == -73).all()
    values = np.random.default_rng(5).integers(0, 1500, 30)
    new = along_z(resample_image(profile(values), config))
    # two roundings of at most half a unit
    np.testing.assert_allclose(new.reshape(-1, 2).mean(axis=1), values.reshape(-1, 3).mean(axis=1), atol=0.5)


@pytest.mark.parametrize(("config", "within_mm"), [(FOURIER, 0.05), (AREA, 0.17)])
def test_a_landmark_stays_where_it_is(config, within_mm):
    # the peak of a small head, 10 mm wide, at every phase of the groups
    for place_mm in np.arange(-570.0, -564.0, 0.25):
        heights = -600.0 + 2.0 * np.arange(39)
        image = profile(1000 * np.exp(-0.5 * ((heights - place_mm) / 5.0) ** 2))
        new = resample_image(image, config)
        seen_mm = np.average(heights_mm(new), weights=along_z(new))
        assert seen_mm == pytest.approx(place_mm, abs=within_mm)


@pytest.mark.parametrize("config", [FOURIER, AREA])
def test_a_sine_comes_out_as_the_filter_s_transfer_says(config):
    # two filters alternate: first slices of a group, at +0.5 mm, and second slices with the mirrored filter
    weights = np.array([0.71823351, 1 / 3, -0.05156685] if config is FOURIER else [2 / 3, 1 / 3, 0])
    wave_mm = 36.0
    slices_mm = 2.0 * np.arange(54)
    new = along_z(resample_image(profile(10000 * np.sin(2 * np.pi * slices_mm / wave_mm)), config))
    offsets_mm = np.array([-0.5, 1.5, 3.5])
    gain = (weights * np.exp(2j * np.pi * offsets_mm / wave_mm)).sum()
    centres_mm = 0.5 + 3.0 * np.arange(36)
    gains = np.where(np.arange(36) % 2, gain.conj(), gain)
    expected = 10000 * np.abs(gains) * np.sin(2 * np.pi * centres_mm / wave_mm + np.angle(gains))
    np.testing.assert_allclose(new, expected.clip(-1024), atol=1.1)
    assert np.abs(gain) == pytest.approx(1.0, abs=0.02)


def test_a_step_overshoots_by_5_percent_and_area_does_not():
    step = np.repeat([-1000, 50], [7, 5])  # the step lies after the first slice of the third group
    new = along_z(resample_image(profile(step), FOURIER))
    assert new.max() == pytest.approx(50 + 1050 * OVERSHOOT, abs=0.51)
    assert along_z(resample_image(profile(step), AREA)).max() == 50


def test_only_1024_below_water_is_clipped():
    values = np.array([-1000, -1000, 3000] * 3)
    new = along_z(resample_image(profile(values), FOURIER))
    assert new.min() == -1024
    assert new.max() == pytest.approx(-1000 + 4000 * 0.71823351, abs=0.51)


@pytest.mark.parametrize(
    ("start", "kept", "shift_mm"), [("distal", slice(0, 9), 0.5), ("proximal", slice(2, 11), 4.5)]
)
def test_groups_begin_at_one_end_and_the_remainder_is_dropped_and_logged_at_the_other(
    start, kept, shift_mm, caplog
):
    config = ResampleConfig(group_start=start)
    values = np.random.default_rng(6).integers(0, 1500, 11)
    with caplog.at_level(logging.INFO, logger="osteoflow"):
        new = resample_image(profile(values), config)
    assert new.GetOrigin()[2] == pytest.approx(-600 + shift_mm)
    np.testing.assert_array_equal(along_z(new), along_z(resample_image(profile(values[kept]), FOURIER)))
    dropped = "0 distal, 2 proximal" if start == "distal" else "2 distal, 0 proximal"
    assert dropped in caplog.text


@pytest.mark.parametrize("slice_mm", [3.0, 3.005])
def test_3_mm_slices_pass_untouched_with_their_own_spacing(slice_mm):
    image = profile(np.arange(7), slice_mm)
    new = resample_image(image, FOURIER)
    np.testing.assert_array_equal(array_zyx(new), array_zyx(image))
    assert same_grid(new, image)


def test_method_none_leaves_every_slice():
    image = profile(np.arange(7))
    assert same_grid(resample_image(image, ResampleConfig(method="none")), image)


def test_thinner_slices_are_averaged_over_each_slab():
    values = np.array([1, 2, 3, 10, 20, 60, 5])
    new = resample_image(profile(values, 1.0), FOURIER)
    np.testing.assert_array_equal(along_z(new), [2, 30])
    assert new.GetOrigin()[2] == pytest.approx(-599.0)
    # 24 slices of 0.625 mm fill five slabs; the fifth slice is 4/5 in the first slab and 1/5 in the second
    fine = np.zeros(24)
    fine[4] = 2400
    assert along_z(resample_image(profile(fine, 0.625), FOURIER))[:3].tolist() == [400, 100, 0]


def test_thicker_slices_are_divided_and_it_is_said(caplog):
    with caplog.at_level(logging.WARNING, logger="osteoflow"):
        new = resample_image(profile([0, 300, 600], 5.0), FOURIER)
    np.testing.assert_array_equal(along_z(new), [0, 100, 300, 500, 600])
    assert heights_mm(new)[[0, -1]] == pytest.approx([-601.0, -589.0])
    assert "thicker" in caplog.text


def test_positions_do_not_drift_where_slices_are_not_quite_2_mm():
    image = profile(np.zeros(90), 2.002)
    new = resample_image(image, FOURIER)
    assert new.GetSpacing()[2] == pytest.approx(3.003)
    ends_mm = heights_mm(new)[[0, -1]] + np.array([-0.5, 0.5]) * 3.003
    assert ends_mm == pytest.approx(heights_mm(image)[[0, -1]] + np.array([-0.5, 0.5]) * 2.002)


def test_pixels_of_another_size_average_what_they_cover():
    values = np.arange(8 * 8).reshape(1, 8, 8) * np.ones((3, 1, 1))
    image = scan(values.astype(np.int16), (0.5, 0.5, 3.0))
    new = resample_image(image, ResampleConfig(inplane_mm=1.0))
    assert new.GetSize() == (4, 4, 3)
    assert new.GetSpacing() == pytest.approx((1.0, 1.0, 3.0))
    assert new.GetOrigin() == pytest.approx((-9.75, 20.25, -600.0))
    blocks = values.reshape(3, 4, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(array_zyx(new), blocks, atol=0.51)


def test_pixels_that_do_not_fill_the_view_are_centred_in_it():
    # a ramp along x of 100 HU per mm: every pixel shows its own position
    values = np.broadcast_to(70 * np.arange(50), (3, 4, 50)).astype(np.int16)
    image = scan(values, (0.7, 0.7, 3.0), (0.0, 0.0, 0.0))
    new = resample_image(image, ResampleConfig(inplane_mm=0.9))
    assert new.GetSize()[0] == 38
    x_mm = new.GetOrigin()[0] + new.GetSpacing()[0] * np.arange(38)
    assert x_mm.mean() == pytest.approx(0.7 * 49 / 2)
    np.testing.assert_allclose(array_zyx(new)[0, 0] / 100, x_mm, atol=0.15)
    assert array_zyx(new).mean() / 100 == pytest.approx(x_mm.mean(), abs=0.005)


@pytest.mark.parametrize("config", [FOURIER, ResampleConfig(inplane_mm=1.6)])
def test_oblique_slices_move_along_their_own_normal(config):
    image = profile(np.arange(12))
    tilted = sitk.Image(image)
    cos, sin = np.cos(np.radians(15)), np.sin(np.radians(15))
    tilted.SetDirection((1, 0, 0, 0, cos, -sin, 0, sin, cos))
    straight, new = resample_image(image, config), resample_image(tilted, config)
    np.testing.assert_array_equal(array_zyx(new), array_zyx(straight))
    # voxels of the new grid have the physical place that their index implies on the old grid
    for index in [(0, 0, 0), (0, 0, 7)]:
        among_old = image.TransformPhysicalPointToContinuousIndex(
            straight.TransformIndexToPhysicalPoint(index)
        )
        assert new.TransformIndexToPhysicalPoint(index) == pytest.approx(
            tilted.TransformContinuousIndexToPhysicalPoint(among_old)
        )


def test_the_input_is_not_changed():
    image = profile(np.arange(9))
    before = array_zyx(image)
    resample_image(image, FOURIER)
    np.testing.assert_array_equal(array_zyx(image), before)


def test_too_few_slices_for_a_group_are_refused():
    with pytest.raises(ScanError, match="do not fill one slice of 3 mm") as caught:
        resample_image(profile([0, 0]), FOURIER)
    assert caught.value.code == "too_short"


@pytest.mark.parametrize("config", [FOURIER, AREA])
@pytest.mark.parametrize(("phase", "change_mm"), [(0, 0), (1, -1), (2, 1)])
def test_a_cylinder_s_flat_end_moves_by_a_millimetre_with_the_phase(config, phase, change_mm):
    y, x = np.mgrid[:40, :40]
    disc = (y - 19.5) ** 2 + (x - 19.5) ** 2 <= 18**2
    mask = np.zeros((30, 40, 40), np.uint8)
    mask[3 + phase : 24] = disc
    native = scan(mask)
    new = resample_labels(native, scan(np.zeros((30, 40, 40), np.int16)), config)
    area_mm2, length_mm = np.count_nonzero(disc) * 0.8 * 0.8, (21 - phase) * 2.0
    assert volume_mm3(native) == pytest.approx(area_mm2 * length_mm)
    assert volume_mm3(new) == pytest.approx(area_mm2 * (length_mm + change_mm))
    assert area_mm2 == pytest.approx(np.pi * (18 * 0.8) ** 2, rel=0.01)


def test_an_ellipsoid_keeps_its_volume_and_its_place():
    z, y, x = np.mgrid[:51, :100, :100]
    inside = ((z - 24.7) / 20) ** 2 + ((y - 48.2) / 40) ** 2 + ((x - 51.6) / 45) ** 2 <= 1
    mask = scan(inside.astype(np.uint8))
    new = resample_labels(mask, scan(np.zeros(inside.shape, np.int16)), FOURIER)
    before_mm3, after_mm3 = inside.sum() * 0.8 * 0.8 * 2.0, array_zyx(new).sum() * 0.8 * 0.8 * 3.0
    assert after_mm3 == pytest.approx(before_mm3, rel=0.005)
    centre_mm = -600 + 2 * np.nonzero(inside)[0].mean()
    assert heights_mm(new)[np.nonzero(array_zyx(new))[0]].mean() == pytest.approx(centre_mm, abs=0.05)


def test_half_covered_pixels_belong_to_the_mask():
    mask = np.zeros((1, 2, 8), np.uint8)
    mask[:, :, 3:5] = 1  # half of the second pixel and half of the third
    image = scan(np.zeros((1, 2, 8), np.int16), (0.5, 0.5, 3.0))
    new = resample_labels(scan(mask, (0.5, 0.5, 3.0)), image, ResampleConfig(inplane_mm=1.0))
    np.testing.assert_array_equal(array_zyx(new)[0, 0], [0, 1, 1, 0])


def test_a_mask_on_the_new_grid_passes():
    image = profile(np.arange(12))
    on_new = sitk.Cast(resample_image(image, FOURIER) > 5, sitk.sitkUInt8)
    passed = resample_labels(on_new, image, FOURIER)
    np.testing.assert_array_equal(array_zyx(passed), array_zyx(on_new))


def test_a_mask_of_another_grid_is_refused():
    image = profile(np.arange(12))
    shifted = sitk.Cast(image, sitk.sitkUInt8)
    shifted.SetOrigin((-9.0, 20.0, -600.0))
    with pytest.raises(ScanError, match="same grid") as caught:
        resample_labels(shifted, image, FOURIER)
    assert caught.value.code == "mask_off_grid"


@pytest.mark.parametrize("start", ["distal", "proximal"])
@pytest.mark.parametrize("slice_mm", [0.625, 1.0, 1.3, 2.0, 2.5, 3.0, 5.0])
def test_image_and_mask_of_every_method_share_one_grid(slice_mm, start):
    image = profile(np.zeros(41), slice_mm)
    mask = sitk.Cast(image, sitk.sitkUInt8)
    for method in ("fourier", "area", "none"):
        config = ResampleConfig(method=method, group_start=start)
        new = resample_image(image, config)
        assert same_grid(new, resample_labels(mask, image, config))
        low_mm, high_mm = heights_mm(new)[[0, -1]] + np.array([-0.5, 0.5]) * new.GetSpacing()[2]
        assert low_mm >= -600 - 0.5 * slice_mm - 1e-6
        assert high_mm <= -600 + 40.5 * slice_mm + 1e-6


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", "linear"),
        ("group_start", "top"),
        ("thickness_mm", 0.0),
        ("thickness_mm", True),
        ("inplane_mm", "fine"),
        ("inplane_mm", -1.0),
    ],
)
def test_bad_settings_name_their_key(key, value):
    with pytest.raises(ConfigError, match=f"resample.{key}"):
        dataclasses.replace(FOURIER, **{key: value})


MM_PIXELS = ResampleConfig(inplane_mm=1.0)


def counted_labels(labels_zyx, labels, pixels):
    """Count the labels of each new voxel (equal parts of old ones) and return the most frequent one.

    Three old slices become two new ones, and pixels x pixels old pixels a new one. In a tie it is the smallest label,
    and the background last.
    """
    parts = labels_zyx.repeat(2, axis=0)
    z, y, x = (count // step for count, step in zip(parts.shape, (3, pixels, pixels), strict=True))
    parts = parts.reshape(z, 3, y, pixels, x, pixels)
    order = [*range(1, labels + 1), 0]
    counts = np.stack([(parts == label).sum(axis=(1, 3, 5)) for label in order])
    return np.array(order)[counts.argmax(axis=0)]


@pytest.mark.parametrize("pixels", [2, 3])
@pytest.mark.parametrize("labels", [1, 2, 3, 8])
def test_a_new_voxel_gets_the_label_that_covers_most_of_it(labels, pixels):
    values = np.random.default_rng(labels).integers(0, labels + 1, (12, 90, 90)).astype(np.uint8)
    spacing_mm = (1 / pixels, 1 / pixels, 2.0)
    new = resample_labels(scan(values, spacing_mm), scan(values.astype(np.int16), spacing_mm), MM_PIXELS)
    assert new.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(array_zyx(new), counted_labels(values, labels, pixels))


@pytest.mark.parametrize(
    ("pixels", "chosen"),
    [
        ([1, 1, 2, 2], 1),  # two structures share it: the first one
        ([2, 2, 1, 1], 1),
        ([2, 2, 0, 0], 2),  # a structure and the background: the structure
        ([1, 2, 0, 0], 0),  # the background covers more than each of them
        ([2, 1, 3, 0], 1),
        ([3, 3, 1, 0], 3),
        ([0, 0, 0, 1], 0),
    ],
)
def test_ties_go_to_the_first_structure_and_not_to_the_background(pixels, chosen):
    values = np.array(pixels, np.uint8).reshape(1, 2, 2)
    image = scan(np.zeros((1, 2, 2), np.int16), (0.5, 0.5, 3.0))
    new = resample_labels(scan(values, (0.5, 0.5, 3.0)), image, MM_PIXELS)
    assert array_zyx(new).ravel().tolist() == [chosen]


@pytest.mark.parametrize("border", [6, 7, 8])  # slice at which the second box begins: every phase of a group
@pytest.mark.parametrize("config", [FOURIER, ResampleConfig(inplane_mm=1.1)])
def test_boxes_that_touch_have_no_seam_between_them(config, border):
    values = np.zeros((18, 40, 40), np.uint8)
    for number, (z, x) in enumerate(
        itertools.product(((3, border), (border, 15)), ((8, 20), (20, 33))), start=1
    ):
        values[slice(*z), 8:32, slice(*x)] = number
    image = scan(np.zeros(values.shape, np.int16))
    new = array_zyx(resample_labels(scan(values), image, config))
    whole = array_zyx(resample_labels(scan((values > 0).astype(np.uint8)), image, config))
    assert set(np.unique(new)) == {0, 1, 2, 3, 4}
    # without the outer layer, where the background competes
    inside = sitk.GetArrayFromImage(sitk.BinaryErode(sitk.GetImageFromArray(whole), (1, 1, 1))) > 0
    assert inside.sum() > 1000 and new[inside].all()
    assert not new[whole == 0].any()


def test_neighbouring_structures_keep_their_volumes():
    z, y, x = np.mgrid[:51, :100, :100]
    inside = ((z - 24.7) / 20) ** 2 + ((y - 48.2) / 40) ** 2 + ((x - 51.6) / 45) ** 2 <= 1
    values = (inside * (1 + (z > 20) + (z > 31))).astype(np.uint8)  # three discs of bone, one on the other
    before = volumes_mm3(scan(values), ("a", "b", "c"))
    new = resample_labels(scan(values), scan(np.zeros(values.shape, np.int16)), FOURIER)
    after, layer_mm3 = volumes_mm3(new, ("a", "b", "c")), np.pi * 40 * 45 * 0.8 * 0.8
    assert sum(after.values()) == pytest.approx(sum(before.values()), rel=0.005)
    for name, volume in before.items():
        assert after[name] == pytest.approx(volume, abs=2 * layer_mm3)  # a flat end moves by up to 1 mm


def test_labels_on_the_new_grid_pass_with_their_values():
    image = profile(np.arange(12))
    on_new = sitk.Cast(resample_image(image, FOURIER), sitk.sitkUInt8)
    assert len(np.unique(array_zyx(on_new))) > 3
    np.testing.assert_array_equal(array_zyx(resample_labels(on_new, image, FOURIER)), array_zyx(on_new))


def test_a_map_without_a_label_stays_empty():
    image = profile(np.arange(12))
    new = resample_labels(sitk.Cast(0 * image, sitk.sitkUInt8), image, FOURIER)
    assert same_grid(new, resample_image(image, FOURIER)) and not array_zyx(new).any()
