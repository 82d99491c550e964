"""Otsu's threshold with guards, the component that is kept, and the mask on the scan's own grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import ConfigError, ModelError
from lib.imaging.grid import array_zyx, image_like
from lib.imaging.otsu import OtsuConfig, full_mask, mask_at, otsu_mask, otsu_threshold

CONFIG = OtsuConfig()
STEP = 1 / 256


def ball(shape=(20, 30, 30), center=(10, 15, 15), radius=7.0):
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grids, center, strict=True)) <= radius**2


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.98), (0.0, 1.0), (0.1, 0.6), (0.3, 0.4)])
def test_two_values_are_parted_in_the_middle(low, high):
    probability = np.where(ball(), high, low)
    assert otsu_threshold(probability) == pytest.approx((low + high) / 2, abs=STEP)


def test_the_threshold_maximises_the_variance_between_classes():
    generator = np.random.default_rng(8)
    values = np.clip(np.r_[generator.normal(0.25, 0.08, 40000), generator.normal(0.7, 0.1, 15000)], 0, 1)

    def between(threshold):
        low, high = values[values < threshold], values[values >= threshold]
        return low.size * high.size * (low.mean() - high.mean()) ** 2

    best = max(np.arange(1, 256) * STEP, key=between)
    assert otsu_threshold(values) == pytest.approx(best, abs=1.01 * STEP)


def test_a_soft_edge_is_cut_near_one_half():
    z, y, x = np.ogrid[:30, :60, :60]
    distance = np.sqrt((z - 15) ** 2 + (y - 30) ** 2 + (x - 30) ** 2)
    probability = 1 / (1 + np.exp((distance - 12) / 0.7))
    assert otsu_threshold(probability) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_has_no_threshold_and_falls_back(value):
    probability = np.full((4, 5, 6), value, np.float32)
    assert otsu_threshold(probability) is None
    otsu = otsu_mask(probability, CONFIG)
    assert (otsu.threshold, otsu.otsu_raw, otsu.fallback) == (0.5, None, True)
    assert otsu.mask_zyx.all() == (value >= 0.5)
    assert ("empty_mask" in otsu.flags) == (value < 0.5)


@pytest.mark.parametrize(("inside", "outside"), [(0.1, 0.0), (1.0, 0.9)])
def test_a_threshold_out_of_range_falls_back_and_is_kept_on_record(inside, outside):
    otsu = otsu_mask(np.where(ball(), inside, outside), CONFIG)
    assert otsu.threshold == 0.5
    assert otsu.otsu_raw == pytest.approx((inside + outside) / 2, abs=STEP)
    assert otsu.fallback
    assert "otsu_out_of_range" in otsu.flags


def test_a_good_map_raises_no_flag():
    otsu = otsu_mask(np.where(ball(), 0.99, 0.01), CONFIG)
    np.testing.assert_array_equal(otsu.mask_zyx, ball())
    assert (otsu.flags, otsu.fallback, otsu.dropped_voxels) == ((), False, 0)
    assert otsu.mask_zyx.dtype == np.uint8


def two_pieces(size):
    probability = np.where(ball(), 1.0, 0.0)
    probability[0, 0, :size] = 1.0
    return probability


@pytest.mark.parametrize(("size", "flagged"), [(3, False), (30, True)])
def test_only_the_largest_component_is_kept_and_the_rest_counted(size, flagged):
    otsu = otsu_mask(two_pieces(size), CONFIG)
    np.testing.assert_array_equal(otsu.mask_zyx, ball())
    assert otsu.dropped_voxels == size
    assert ("components_dropped" in otsu.flags) is flagged
    assert otsu.to_json(voxel_mm3=2.5)["dropped_mm3"] == pytest.approx(2.5 * size)


def test_components_stay_if_wanted():
    otsu = otsu_mask(two_pieces(30), OtsuConfig(keep_largest=False))
    assert otsu.mask_zyx.sum() == ball().sum() + 30
    assert otsu.dropped_voxels == 0


def test_the_threshold_itself_belongs_to_the_mask():
    mask, _ = mask_at(np.array([[[0.49, 0.5, 0.51]]]), 0.5, keep_largest=True)
    np.testing.assert_array_equal(mask, [[[0, 1, 1]]])


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value):
    probability = np.where(ball(), 1.0, 0.0)
    probability[0, 0, 0] = value
    with pytest.raises(ModelError, match="from 0 to 1"):
        otsu_mask(probability, CONFIG)


@pytest.mark.parametrize("values", [{"low": 0.9}, {"high": 1.2}, {"low": -0.1}, {"fallback": 0.0}])
def test_bad_settings_name_their_key(values):
    with pytest.raises(ConfigError, match="otsu."):
        OtsuConfig(**values)


def on_grid(array, spacing_mm, origin_mm):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing_mm)
    image.SetOrigin(origin_mm)
    return image


def converted(slices, origin_z_mm=0.0, spacing_z_mm=2.0):
    """A scan of 40 x 36 pixels of 0.8 mm."""
    values = np.zeros((slices, 36, 40), np.int16)
    return on_grid(values, (0.8, 0.8, spacing_z_mm), (-16.0, 8.0, origin_z_mm))


def cropped(probability):
    """A map whose first voxel is voxel (5, 3) of `converted`, 3 mm slices from 0.5 mm above its first centre on."""
    return on_grid(probability.astype(np.float32), (0.8, 0.8, 3.0), (-16.0 + 5 * 0.8, 8.0 + 3 * 0.8, 0.5))


def test_on_its_own_grid_the_full_mask_is_the_mask():
    probability = cropped(np.random.default_rng(2).random((6, 30, 30)))
    for keep_largest in (True, False):
        otsu = otsu_mask(array_zyx(probability), OtsuConfig(keep_largest=keep_largest))
        np.testing.assert_array_equal(array_zyx(full_mask(probability, otsu, probability)), otsu.mask_zyx)


def test_the_full_mask_lies_where_the_crop_lay_and_keeps_its_end_slices():
    inside = np.zeros((4, 30, 30))
    inside[:, 10:20, 5:25] = 1.0
    probability = cropped(inside)
    # seven slices of 2 mm: two groups give four slices of 3 mm, the seventh slice was dropped
    full = full_mask(probability, otsu_mask(array_zyx(probability), CONFIG), converted(7))
    expected = np.zeros((7, 36, 40))
    expected[:6, 13:23, 10:30] = 1
    np.testing.assert_array_equal(array_zyx(full), expected)
    assert full.GetOrigin() == converted(7).GetOrigin()


def test_probabilities_between_slices_are_interpolated_linearly():
    column = np.array([0.0, 0.9, 0.0, 0.0])
    probability = cropped(np.broadcast_to(column[:, None, None], (4, 30, 30)))
    otsu = otsu_mask(array_zyx(probability), CONFIG)
    assert otsu.threshold == pytest.approx(0.45, abs=STEP)
    # centres at 0, 2, 4 ... mm; the map's at 0.5, 3.5, 6.5 ...: 0.45 at 2 mm, 0.75 at 4 mm, 0.15 at 6 mm
    for threshold, slices in ((0.44, [1, 2]), (0.46, [2]), (0.76, []), (0.14, [1, 2, 3])):
        at = otsu_mask(array_zyx(probability), OtsuConfig(low=0.99, high=1.0, fallback=threshold))
        full = array_zyx(full_mask(probability, at, converted(6)))
        assert np.flatnonzero(full.any(axis=(1, 2))).tolist() == slices


def test_the_full_mask_keeps_the_component_that_the_mask_kept():
    # at a threshold of one half a single 3 mm slice becomes two of 2 mm, two become three: the smaller piece of the
    # crop (342 voxels against 392) would be the larger one on the finer grid (684 against 588)
    inside = np.zeros((8, 30, 30))
    inside[1, :18, :19] = 1.0
    inside[4:6, 1:15, 1:15] = 1.0
    probability = cropped(inside)
    otsu = otsu_mask(array_zyx(probability), CONFIG)
    full = array_zyx(full_mask(probability, otsu, converted(12)))
    assert (otsu.mask_zyx.sum(), full.sum()) == (392, 588)
    assert np.flatnonzero(full.any(axis=(1, 2))).tolist() == [6, 7, 8]


def test_volumes_agree_between_both_grids():
    z, y, x = np.ogrid[:40, :120, :120]
    distance_mm = np.sqrt((0.8 * (x - 60)) ** 2 + (0.8 * (y - 60)) ** 2 + (3.0 * (z - 19.6)) ** 2)
    probability = on_grid(
        (1 / (1 + np.exp((distance_mm - 40) / 1.0))).astype(np.float32), (0.8, 0.8, 3.0), (0, 0, 0.5)
    )
    grid = on_grid(np.zeros((60, 120, 120), np.int16), (0.8, 0.8, 2.0), (0, 0, 0))
    otsu = otsu_mask(array_zyx(probability), CONFIG)
    full = full_mask(probability, otsu, grid)
    assert array_zyx(full).sum() * 2.0 == pytest.approx(otsu.mask_zyx.sum() * 3.0, rel=0.005)


def test_a_crop_beside_the_scan_gives_an_empty_mask():
    probability = on_grid(np.ones((4, 5, 5), np.float32), (0.8, 0.8, 3.0), (500.0, 8.0, 0.0))
    otsu = otsu_mask(array_zyx(probability), CONFIG)
    grid = converted(6)
    np.testing.assert_array_equal(array_zyx(full_mask(probability, otsu, grid)), np.zeros((6, 36, 40)))


def test_where_the_window_left_the_scan_nothing_is_set():
    probability = on_grid(np.ones((4, 10, 10), np.float32), (0.8, 0.8, 3.0), (-16.0 - 4 * 0.8, 8.0, 0.5))
    full = array_zyx(full_mask(probability, otsu_mask(array_zyx(probability), CONFIG), converted(6)))
    expected = np.zeros((6, 36, 40))
    expected[:, :10, :6] = 1
    np.testing.assert_array_equal(full, expected)


def test_pixels_of_another_size_are_interpolated_in_the_slice():
    probability = on_grid(
        np.broadcast_to((np.arange(12) >= 6).astype(np.float32), (2, 12, 12)).copy(),
        (2.0, 2.0, 3.0),
        (1.0, 1.0, 1.5),
    )
    grid = on_grid(np.zeros((2, 24, 24), np.int16), (1.0, 1.0, 3.0), (0.5, 0.5, 1.5))
    otsu = otsu_mask(array_zyx(probability), CONFIG)
    full = array_zyx(full_mask(probability, otsu, grid))
    # old pixels from x = 12 mm on are set; the edge stays there
    np.testing.assert_array_equal(full, np.broadcast_to(np.arange(24) >= 12, (2, 24, 24)))
    assert image_like(full, grid).GetSize() == grid.GetSize()
