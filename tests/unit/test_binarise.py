"""Otsu's threshold with guards, and the component that is kept."""

import numpy as np
import pytest

from lib.errors import ConfigError, ModelError
from lib.imaging.binarise import label_masks, threshold_mask
from lib.imaging.otsu import otsu_threshold
from lib.mask_settings import MaskConfig

CONFIG = MaskConfig()
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
    otsu = threshold_mask(probability, CONFIG)
    assert (otsu.threshold, otsu.otsu_raw, otsu.fallback) == (0.5, None, True)
    assert otsu.mask_zyx.all() == (value >= 0.5)
    assert ("empty_mask" in otsu.flags) == (value < 0.5)


@pytest.mark.parametrize(("inside", "outside"), [(0.1, 0.0), (1.0, 0.9)])
def test_a_threshold_out_of_range_falls_back_and_is_kept_on_record(inside, outside):
    otsu = threshold_mask(np.where(ball(), inside, outside), CONFIG)
    assert otsu.threshold == 0.5
    assert otsu.otsu_raw == pytest.approx((inside + outside) / 2, abs=STEP)
    assert otsu.fallback
    assert "otsu_out_of_range" in otsu.flags


def test_half_cuts_at_one_half_and_raises_no_flag_of_otsu():
    for inside, outside in ((0.6, 0.1), (0.6, 0.6)):
        mask = threshold_mask(np.where(ball(), inside, outside), MaskConfig(method="half"))
        assert (mask.threshold, mask.fallback, mask.flags) == (0.5, False, ())
        np.testing.assert_array_equal(mask.mask_zyx, ball() if outside < 0.5 else np.ones_like(ball()))


def test_a_good_map_raises_no_flag():
    otsu = threshold_mask(np.where(ball(), 0.99, 0.01), CONFIG)
    np.testing.assert_array_equal(otsu.mask_zyx, ball())
    assert (otsu.flags, otsu.fallback, otsu.dropped_voxels) == ((), False, 0)
    assert otsu.mask_zyx.dtype == np.uint8


def two_pieces(size):
    probability = np.where(ball(), 1.0, 0.0)
    probability[0, 0, :size] = 1.0
    return probability


@pytest.mark.parametrize(("size", "flagged"), [(3, False), (30, True)])
def test_only_the_largest_component_is_kept_and_the_rest_counted(size, flagged):
    otsu = threshold_mask(two_pieces(size), CONFIG)
    np.testing.assert_array_equal(otsu.mask_zyx, ball())
    assert otsu.dropped_voxels == size
    assert ("components_dropped" in otsu.flags) is flagged
    assert otsu.to_json(voxel_mm3=2.5)["dropped_mm3"] == pytest.approx(2.5 * size)


def test_components_stay_if_wanted():
    otsu = threshold_mask(two_pieces(30), MaskConfig(keep_largest=False))
    assert otsu.mask_zyx.sum() == ball().sum() + 30
    assert otsu.dropped_voxels == 0


def test_the_threshold_itself_belongs_to_the_mask():
    mask = threshold_mask(np.array([[[0.49, 0.5, 0.51]]]), MaskConfig(method="half"))
    np.testing.assert_array_equal(mask.mask_zyx, [[[0, 1, 1]]])


def test_the_mask_before_the_choice_and_the_one_at_one_half_are_kept():
    probability = two_pieces(30)
    probability[ball(radius=2.0)] = 0.45
    otsu = threshold_mask(probability, MaskConfig(low=0.1, high=0.2, fallback=0.4))
    assert otsu.threshold == 0.4
    np.testing.assert_array_equal(otsu.raw_zyx, probability > 0)
    np.testing.assert_array_equal(otsu.mask_zyx, ball())
    np.testing.assert_array_equal(otsu.half_zyx, ball() & ~ball(radius=2.0))
    whole = threshold_mask(probability, MaskConfig(method="half", keep_largest=False))
    np.testing.assert_array_equal(whole.half_zyx, probability == 1)
    np.testing.assert_array_equal(whole.mask_zyx, whole.half_zyx)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_what_is_no_probability_is_refused(value):
    probability = np.where(ball(), 1.0, 0.0)
    probability[0, 0, 0] = value
    with pytest.raises(ModelError, match="from 0 to 1"):
        threshold_mask(probability, CONFIG)


@pytest.mark.parametrize(
    "values", [{"low": 0.9}, {"high": 1.2}, {"low": -0.1}, {"fallback": 0.0}, {"method": "kmeans"}]
)
def test_bad_settings_name_their_key(values):
    with pytest.raises(ConfigError, match="mask."):
        MaskConfig(**values)


def test_labels_are_reduced_to_their_largest_pieces():
    labels_zyx = np.zeros((4, 10, 10), np.uint8)
    labels_zyx[:, :4, :4], labels_zyx[:, 6:9, :4] = 1, 2
    labels_zyx[0, 9, 9] = 1
    first, second = label_masks(labels_zyx, 2, MaskConfig(method="argmax"))
    assert (first.mask_zyx.sum(), second.mask_zyx.sum()) == (64, 48)
    assert (first.dropped_voxels, first.flags) == (1, ("components_dropped",))
    assert (first.raw_zyx.sum(), first.half_zyx) == (65, None)
    assert (second.dropped_voxels, second.flags, second.threshold) == (0, (), None)
    whole, _ = label_masks(labels_zyx, 2, MaskConfig(method="argmax", keep_largest=False))
    np.testing.assert_array_equal(whole.mask_zyx, labels_zyx == 1)
    assert label_masks(labels_zyx, 3, MaskConfig(method="argmax"))[2].flags == ("empty_mask",)
    with pytest.raises(ModelError, match="holds the value 2, but the study has 1 structures"):
        label_masks(labels_zyx, 1, MaskConfig(method="argmax"))
