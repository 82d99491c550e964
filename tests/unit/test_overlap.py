"""Overlap and surface metrics against answers that can be derived by hand."""

import math

import numpy as np
import pytest

from lib.errors import ConfigError, ScanError
from lib.stats.overlap import (
    NO_PREDICTION,
    NO_REFERENCE,
    OverlapConfig,
    find_surface,
    measure_native,
    measure_overlap,
    weighted_quantile,
)

SPACING = (3.0, 0.8, 0.8)
CONFIG = OverlapConfig(nsd_tolerance_mm=1.0)


def box(shape, low, high):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


def sphere(shape, radius_mm, spacing):
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return (z**2 + y**2 + x**2 <= radius_mm**2).astype(np.uint8)


def measure(reference, predicted, spacing=SPACING, config=CONFIG):
    return measure_overlap(reference, predicted, spacing, config)


def test_equal_masks_are_perfect():
    mask = box((12, 20, 20), (3, 5, 5), (9, 15, 15))
    result = measure(mask, mask)
    perfect = {"dsc": 1, "sensitivity": 1, "specificity": 1, "precision": 1, "nsd": 1}
    assert {name: result[name] for name in perfect} == perfect
    assert result["hd95_mm"] == result["assd_mm"] == result["re_percent"] == 0
    assert result["undefined"] == {}


def test_counts_of_a_shifted_box():
    reference = box((10, 20, 20), (2, 5, 5), (8, 15, 15))
    predicted = box((10, 20, 20), (2, 5, 7), (8, 15, 17))
    result = measure(reference, predicted)
    # 600 voxels each, 480 in both, 4000 in the crop
    assert result["dsc"] == pytest.approx(0.8)
    assert result["sensitivity"] == result["precision"] == pytest.approx(0.8)
    assert result["specificity"] == pytest.approx((3400 - 120) / 3400)
    assert result["reference_mm3"] == result["predicted_mm3"] == pytest.approx(600 * 3 * 0.64)
    assert result["re_percent"] == 0


def test_relative_error_is_predicted_minus_reference():
    reference = box((10, 20, 20), (2, 5, 5), (8, 15, 15))
    predicted = box((10, 20, 20), (2, 5, 5), (8, 15, 14))
    result = measure(reference, predicted)
    assert result["re_percent"] == pytest.approx(-10)
    assert measure(predicted, reference)["re_percent"] == pytest.approx(100 / 9)


@pytest.mark.parametrize(("axis", "step_mm"), [(0, 3.0), (1, 0.8), (2, 0.8)])
def test_a_box_shifted_by_one_voxel_is_one_spacing_away(axis, step_mm):
    low, high = np.array([4, 10, 10]), np.array([12, 30, 30])
    shift = np.eye(3, dtype=int)[axis]
    reference, predicted = box((20, 40, 40), low, high), box((20, 40, 40), low + shift, high + shift)
    size_mm = (high - low) * np.array(SPACING)
    faces = 2 * np.array([np.prod(np.delete(size_mm, a)) for a in range(3)])
    rim = 2 * step_mm * np.delete(size_mm, axis).sum()
    result = measure(reference, predicted)
    assert result["hd95_mm"] == pytest.approx(step_mm)
    # the two ends are a step away; of the walls the rim that the other box does not reach, also a step or less
    upper = (faces[axis] + rim) * step_mm / faces.sum()
    assert faces[axis] * step_mm / faces.sum() <= result["assd_mm"] + 1e-9 <= upper + 2e-9


def test_concentric_spheres_are_a_constant_distance_apart():
    spacing = (0.5, 0.5, 0.5)
    small, large = sphere((97, 97, 97), 18.0, spacing), sphere((97, 97, 97), 21.0, spacing)
    result = measure(small, large, spacing)
    assert result["assd_mm"] == pytest.approx(3.0, abs=0.15)
    assert result["hd95_mm"] == pytest.approx(3.0, abs=0.5)
    assert result["dsc"] == pytest.approx(2 * 18**3 / (18**3 + 21**3), abs=0.002)
    assert result["predicted_mm3"] == pytest.approx(4 / 3 * math.pi * 21**3, rel=0.005)
    assert result["nsd"] == 0


def test_surface_dice_follows_its_tolerance():
    spacing = (0.5, 0.5, 0.5)
    small, large = sphere((97, 97, 97), 18.0, spacing), sphere((97, 97, 97), 21.0, spacing)
    assert measure(small, large, spacing, OverlapConfig(nsd_tolerance_mm=2.0))["nsd"] == 0
    assert measure(small, large, spacing, OverlapConfig(nsd_tolerance_mm=4.5))["nsd"] == 1


def test_surface_dice_counts_the_area_within_tolerance():
    reference = box((20, 60, 60), (5, 20, 20), (15, 40, 40))
    predicted = box((20, 60, 60), (5, 20, 20), (15, 40, 45))  # one wall 4 mm out
    both_mm2 = sum(2 * (20 * x * 0.64 + 10 * 20 * 2.4 + 10 * x * 2.4) for x in (20, 25))
    # that wall, seen from either side; the edges of the inner one lie 0.57 mm from the first rim column
    far_mm2 = 2 * 10 * 20 * 2.4 - 2 * 10 * 2.4
    # the rim's five columns lie 0.8, 1.6, ... 4 mm beyond the last faces of the reference: four are too far
    rim_mm2 = 4 * 2 * (20 * 0.64 + 10 * 2.4)
    expected = 1 - (far_mm2 + rim_mm2) / both_mm2
    assert measure(reference, predicted)["nsd"] == pytest.approx(expected, abs=1e-9)


def test_distances_are_symmetric_and_in_true_millimetres():
    reference = box((16, 30, 30), (3, 8, 8), (12, 20, 20))
    predicted = box((16, 30, 30), (5, 8, 9), (13, 22, 20))
    there, back = measure(reference, predicted), measure(predicted, reference)
    doubled = measure(reference, predicted, tuple(2 * step for step in SPACING))
    for name in ("hd95_mm", "assd_mm"):
        assert there[name] == pytest.approx(back[name])
        assert doubled[name] == pytest.approx(2 * there[name])


def test_hausdorff_takes_the_worse_direction():
    reference = box((30, 60, 60), (10, 20, 20), (20, 40, 40))
    predicted = reference.copy()
    predicted[14:17, 28:32, 40:58] = 1  # a spur: far for the prediction, invisible from the reference
    spur_mm2 = 2 * 18 * (3 * 2.4 + 4 * 0.64)
    assert spur_mm2 / find_surface(predicted, SPACING).area_mm2.sum() > 0.05
    assert measure(reference, predicted)["hd95_mm"] > 4


def shaft(first_slice, radius=10, shape=(20, 40, 40)):
    y, x = np.mgrid[: shape[1], : shape[2]] - 20
    disk = y**2 + x**2 <= radius**2
    mask = np.zeros(shape, np.uint8)
    mask[first_slice:15] = disk
    return mask


def test_the_cut_at_the_scans_end_is_no_surface():
    surface = find_surface(shaft(0), SPACING)
    caps = surface.along_z & (surface.center_mm_zyx[:, 0] < 0)
    assert caps.any()
    assert np.array_equal(caps, surface.cut)
    assert not find_surface(shaft(1), SPACING).cut.any()


def test_the_cut_does_not_dilute_an_error_of_the_walls():
    thick, thin = shaft(0, radius=10), shaft(0, radius=8)
    walls = measure(thick, thin)
    # the same shafts, continued far below the scan: only the weight of the top changes
    long = measure(*(np.concatenate([np.repeat(mask[:1], 40, axis=0), mask]) for mask in (thick, thin)))
    assert walls["hd95_mm"] == pytest.approx(long["hd95_mm"])
    assert walls["assd_mm"] == pytest.approx(1.6, abs=0.3)


def test_an_end_one_slice_short_is_wrong_by_that_slice():
    result = measure(shaft(0), shaft(1))
    assert result["hd95_mm"] <= 3.0
    assert result["re_percent"] == pytest.approx(-100 / 15)
    far = measure(shaft(0), shaft(4))
    assert 3.0 < far["hd95_mm"] <= 12.0


def test_an_empty_prediction_is_zero_overlap_but_has_no_distance():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    result = measure(mask, np.zeros_like(mask))
    assert (result["dsc"], result["sensitivity"], result["specificity"]) == (0, 0, 1)
    assert result["re_percent"] == -100
    for name in ("precision", "hd95_mm", "assd_mm", "nsd"):
        assert result[name] is None
        assert result["undefined"][name] == NO_PREDICTION


def test_an_empty_reference_leaves_most_undefined():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    result = measure(np.zeros_like(mask), mask)
    assert result["dsc"] == result["precision"] == 0
    for name in ("sensitivity", "hd95_mm", "assd_mm", "nsd", "re_percent"):
        assert result[name] is None
        assert result["undefined"][name] == NO_REFERENCE


def test_two_empty_masks_are_not_a_perfect_score():
    empty = np.zeros((4, 5, 6), np.uint8)
    result = measure(empty, empty)
    assert result["dsc"] is None
    assert "empty" in result["undefined"]["dsc"]
    assert measure_native(empty, empty, SPACING)["dsc_native"] is None


def test_a_mask_that_fills_the_volume_has_no_surface():
    full = np.ones((4, 5, 6), np.uint8)
    result = measure(full, full)
    assert result["hd95_mm"] is None
    assert result["specificity"] is None
    assert result["dsc"] == 1


def test_errors_by_slice_add_up_to_the_whole():
    reference = box((10, 20, 20), (2, 5, 5), (8, 15, 15))
    predicted = box((10, 20, 20), (3, 5, 6), (9, 15, 17))
    by_slice = measure(reference, predicted)["by_slice"]
    assert by_slice["distance_mm"] == [6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0]
    voxel_mm3 = 3 * 0.64
    assert sum(by_slice["missed_mm3"]) == pytest.approx(np.sum(reference & ~predicted & 1) * voxel_mm3)
    assert sum(by_slice["added_mm3"]) == pytest.approx(np.sum(predicted & ~reference & 1) * voxel_mm3)


def test_native_overlap_uses_the_references_own_voxels():
    reference = box((12, 20, 20), (2, 5, 5), (8, 15, 15))
    predicted = box((12, 20, 20), (2, 5, 5), (10, 15, 15))
    result = measure_native(reference, predicted, (2.0, 0.5, 0.5))
    assert result["dsc_native"] == pytest.approx(2 * 600 / 1400)
    assert result["reference_native_mm3"] == pytest.approx(600 * 0.5)


def test_label_values_other_than_one_count_as_bone():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    assert measure(mask * 3, mask)["dsc"] == 1


def test_weighted_quantile_by_hand():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 94.0, 5.0])
    assert weighted_quantile(values, weights, 0.94) == 1.0
    assert weighted_quantile(values, weights, 0.95) == 2.0
    assert weighted_quantile(values, weights, 1.0) == 3.0


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ScanError, match="one shape"):
        measure(np.zeros((4, 5, 6)), np.zeros((4, 5, 7)))


@pytest.mark.parametrize("tolerance", [-1.0, math.nan, math.inf])
def test_a_bad_tolerance_is_refused(tolerance):
    with pytest.raises(ConfigError, match="nsd_tolerance_mm"):
        OverlapConfig(nsd_tolerance_mm=tolerance)
