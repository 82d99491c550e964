"""Overlap and surface metrics against answers that can be derived by hand, and against two other libraries.

`lib.stats.overlap` measures from the centres of a mesh's triangles to the other mesh. surface-distance (DeepMind,
Nikolov 2021) has the same areas at corners between voxels; SimpleITK uses the centres of voxels at a mask's edge as
its surface. Each of their points is near one of ours and vice versa: half the diagonal of a voxel from a corner, half
a voxel from an edge voxel's centre. No mask compared with them touches the array's border, because only ours leaves
out the cut there.
"""

import math

import numpy as np
import pytest
import SimpleITK as sitk
import surface_distance
from scipy import ndimage

from lib.errors import ConfigError, ScanError
from lib.measure_settings import OverlapConfig
from lib.stats.overlap import (
    NO_PREDICTION,
    NO_REFERENCE,
    NO_SURFACE,
    SURFACE_METRICS,
    distance_to_triangles,
    find_surface,
    measure_by_region,
    measure_native,
    measure_overlap,
    weighted_quantile,
)

SPACING = (3.0, 0.8, 0.8)
CONFIG = OverlapConfig(nsd_tolerance_mm=1.0)

# surface-distance 0.1 calls functions of scipy.ndimage by names that SciPy 2 will drop
OLD_NAMES = pytest.mark.filterwarnings("ignore:Please import .* from the `scipy.ndimage` namespace")


def box(shape, low, high):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


def sphere(shape, radius_mm, spacing, shift_mm=0.0):
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    x = x - shift_mm
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
    names = ("true_positive", "false_positive", "false_negative", "true_negative")
    assert [result[f"{name}_voxels"] for name in names] == [480, 120, 120, 3280]
    assert [result[f"spacing_{axis}_mm"] for axis in "xyz"] == [0.8, 0.8, 3.0]
    assert result["nsd_tolerance_mm"] == 1.0


def test_relative_error_is_predicted_minus_reference():
    reference = box((10, 20, 20), (2, 5, 5), (8, 15, 15))
    predicted = box((10, 20, 20), (2, 5, 5), (8, 15, 14))
    result = measure(reference, predicted)
    assert result["re_percent"] == pytest.approx(-10)
    assert measure(predicted, reference)["re_percent"] == pytest.approx(100 / 9)
    assert result["volume_error_mm3"] == pytest.approx(-60 * 3 * 0.64)


def test_specificity_tells_the_region_that_it_counts():
    reference, predicted = (np.pad(box((6, 8, 8), (1, 1, 1), (5, 7, 7 + n)), 1) for n in (0, 1))
    for margin in (0, 5):
        result = measure(np.pad(reference, margin), np.pad(predicted, margin))
        voxels = (8 + 2 * margin) * (10 + 2 * margin) ** 2 - 144
        assert result["specificity_voxels"] == voxels
        assert result["specificity"] == pytest.approx(1 - 24 / voxels)


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
    # the two ends are one step away, and so is at most the rim of the walls that the other box does not reach
    assert result["hd_mm"] == pytest.approx(step_mm)
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
    spacing = (1.0, 0.5, 0.5)
    reference = box((60, 120, 120), (10, 20, 20), (50, 100, 100))
    predicted = box((60, 120, 120), (10, 20, 20), (50, 100, 110))  # one wall 5 mm out
    both_mm2 = sum(2 * (40 * x + 40 * 40 + 40 * x) for x in (40, 45))
    # that wall in both masks, without the rim within 1 mm of the other's walls; and 4 of the 5 mm beyond
    far_mm2 = 40 * 40 + 38 * 38 + 2 * 4 * (40 + 40)
    # edges of the mesh are cut off by half a voxel
    assert measure(reference, predicted, spacing)["nsd"] == pytest.approx(1 - far_mm2 / both_mm2, abs=0.01)


def test_distances_are_symmetric_and_in_true_millimetres():
    reference = box((16, 30, 30), (3, 8, 8), (12, 20, 20))
    predicted = box((16, 30, 30), (5, 8, 9), (13, 22, 20))
    there, back = measure(reference, predicted), measure(predicted, reference)
    doubled = measure(reference, predicted, tuple(2 * step for step in SPACING))
    for name in ("hd95_mm", "assd_mm"):
        assert there[name] == pytest.approx(back[name])
        assert doubled[name] == pytest.approx(2 * there[name])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_bump_of_one_voxel_is_found_to_a_third_of_it(axis):
    reference = box((30, 60, 60), (10, 20, 20), (20, 40, 40))
    predicted = reference.copy()
    tip = np.array([15, 30, 30])
    tip[axis] = (20, 40, 40)[axis]
    predicted[tuple(tip)] = 1
    assert measure(reference, predicted)["hd_mm"] == pytest.approx(SPACING[axis] * 2 / 3)


def test_hausdorff_takes_the_worse_direction():
    reference = box((30, 60, 60), (10, 20, 20), (20, 40, 40))
    predicted = reference.copy()
    predicted[14:17, 28:32, 40:58] = 1  # a spur: only the distances from the prediction are large
    spur_mm2 = 2 * 18 * (3 * 2.4 + 4 * 0.64)
    assert spur_mm2 / find_surface(predicted, SPACING).area_mm2.sum() > 0.05
    result = measure(reference, predicted)
    assert result["hd95_mm"] > 4
    assert result["hd95_mm"] == result["hd95_predicted_to_reference_mm"]
    # the spur's tip is above the middle of a wall; the covered part of the wall is up to 2 voxels inside the spur
    assert result["hd_mm"] == result["hd_predicted_to_reference_mm"] == pytest.approx(18 * 0.8)
    assert result["hd_reference_to_predicted_mm"] == pytest.approx(2 * 0.8, abs=0.4)
    assert result["hd95_reference_to_predicted_mm"] == 0


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (3.0, 0.8, 0.8)])
@pytest.mark.parametrize(("small_mm", "large_mm", "shift_mm"), [(18.0, 21.0, 2.0), (15.0, 24.0, 4.0)])
def test_a_sphere_within_a_shifted_one_has_distances_in_closed_form(spacing, small_mm, large_mm, shift_mm):
    shape = tuple(int(2 * (large_mm + shift_mm + 4) / step) + 1 for step in spacing)
    result = measure(sphere(shape, small_mm, spacing), sphere(shape, large_mm, spacing, shift_mm), spacing)
    # in both directions the distance is largest where the shift moves the larger sphere outwards
    far_mm, coarse_mm = large_mm - small_mm + shift_mm, 0.5 * math.hypot(*spacing)
    assert result["hd_reference_to_predicted_mm"] == pytest.approx(far_mm, abs=coarse_mm)
    assert result["hd_predicted_to_reference_mm"] == pytest.approx(far_mm, abs=coarse_mm)
    assert result["hd_mm"] == max(
        result["hd_reference_to_predicted_mm"], result["hd_predicted_to_reference_mm"]
    )
    # mean distance from a sphere of radius r to a point d from its centre, d < r: r + d^2 / 3r
    inward = large_mm - small_mm - shift_mm**2 / (3 * small_mm)
    outward = large_mm - small_mm + shift_mm**2 / (3 * large_mm)
    mean_mm = (inward * small_mm**2 + outward * large_mm**2) / (small_mm**2 + large_mm**2)
    # the nearest point of a voxel surface is slightly nearer than that of the sphere
    assert mean_mm - 0.2 * math.hypot(*spacing) < result["assd_mm"] < mean_mm
    # heights on a sphere are evenly distributed, so 95 % of its area lies below 0.9 of its radius
    most_mm = math.sqrt(large_mm**2 + shift_mm**2 + 1.8 * large_mm * shift_mm) - small_mm
    assert result["hd95_predicted_to_reference_mm"] == pytest.approx(most_mm, abs=coarse_mm)


def blob(rng, shape=(14, 24, 26)):
    inner = tuple(n - 4 for n in shape)
    return np.pad(ndimage.gaussian_filter(rng.standard_normal(inner), (1, 2, 2)) > 0.05, 2).astype(np.uint8)


def naive_distances(source, target):
    """Distance from each triangle outside the cut to a grid of points on all of these and on those facing alike."""
    steps = np.arange(9) / 8
    shares = np.array([(u, v, 1 - u - v) for u in steps for v in steps if u + v <= 1])
    net_mm = np.einsum("sc,tcj->tsj", shares, target.corners_mm_zyx)
    real = ~source.cut
    rows = []
    for center, facing in zip(source.center_mm_zyx[real], source.facing[real], strict=True):
        allowed = ~target.cut | (target.facing == facing)
        rows.append(np.linalg.norm(net_mm[allowed] - center, axis=-1).min())
    return np.array(rows)


@pytest.mark.parametrize("first", [0, 2])
def test_distances_are_those_to_all_points_of_the_other_surface(first):
    rng = np.random.default_rng(first)
    # from 2 on the blobs are cut by three borders of the array
    masks = [blob(rng, (12, 18, 20))[first:, first:, : -first or None] for _ in range(2)]
    surfaces = [find_surface(mask, SPACING) for mask in masks]
    there, back = naive_distances(*surfaces), naive_distances(*surfaces[::-1])
    assert (surfaces[0].cut.any(), surfaces[1].cut.any()) == (bool(first), bool(first))
    result = measure(*masks)
    # points are furthest apart along the longest edges of triangles: 0.2 mm
    assert result["hd_reference_to_predicted_mm"] == pytest.approx(there.max(), abs=0.1)
    assert result["hd_predicted_to_reference_mm"] == pytest.approx(back.max(), abs=0.1)
    areas = [surface.area_mm2[~surface.cut] for surface in surfaces]
    total = (there @ areas[0] + back @ areas[1]) / np.sum([area.sum() for area in areas])
    assert total - 0.05 < result["assd_mm"] <= total + 1e-9
    assert result["hd95_mm"] == pytest.approx(
        max(weighted_quantile(away, area, 0.95) for away, area in zip((there, back), areas, strict=True)),
        abs=0.1,
    )


def test_the_distance_to_a_triangle_is_that_of_its_plane_its_edge_or_its_corner():
    triangle = np.array([[[0.0, 0, 0], [4, 0, 0], [0, 4, 0]]])
    points = np.array([[1.0, 1, 3], [2, -2, 0], [-3, -4, 0], [3, 3, 0], [2, 2, 5], [8, -3, 0]])
    expected = [3, 2, 5, math.sqrt(2), 5, 5]
    assert distance_to_triangles(points, triangle) == pytest.approx(expected)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert distance_to_triangles(points @ turned + 7, triangle @ turned + 7) == pytest.approx(expected)


def as_image(mask):
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(SPACING[::-1])
    return image


def pairs():
    """Masks that do not touch the array's border: spheres, boxes shifted along each axis, blobs."""
    yield sphere((21, 70, 70), 18.0, SPACING), sphere((21, 70, 70), 22.0, SPACING, 3.2)
    low, high = np.array([5, 12, 12]), np.array([13, 32, 32])
    for axis in range(3):
        shift = 3 * np.eye(3, dtype=int)[axis]
        yield box((20, 44, 44), low, high), box((20, 44, 44), low + shift, high + shift)
    yield blob(np.random.default_rng(5)), blob(np.random.default_rng(6))


@pytest.mark.parametrize(("reference", "predicted"), list(pairs()))
def test_simpleitk_counts_the_same_voxels(reference, predicted):
    counted = sitk.LabelOverlapMeasuresImageFilter()
    counted.Execute(as_image(predicted), as_image(reference))  # source, target
    result = measure(reference, predicted)
    assert result["dsc"] == pytest.approx(counted.GetDiceCoefficient(1))
    assert 1 - result["sensitivity"] == pytest.approx(counted.GetFalseNegativeError(1))
    assert 1 - result["precision"] == pytest.approx(counted.GetFalseDiscoveryRate(1))
    assert 1 - result["specificity"] == pytest.approx(counted.GetFalsePositiveError(1))
    # 2 (source - target) / (source + target)
    mean_mm3 = (result["reference_mm3"] + result["predicted_mm3"]) / 2
    assert result["volume_error_mm3"] / mean_mm3 == pytest.approx(counted.GetVolumeSimilarity(1))


@pytest.mark.parametrize(("reference", "predicted"), list(pairs()))
def test_simpleitk_finds_the_hausdorff_distance_within_a_voxel(reference, predicted):
    # the filter measures from all voxels of a mask, so it gets the voxels at its edge
    edges = [sitk.BinaryContour(as_image(mask), fullyConnected=False) for mask in (reference, predicted)]
    found = sitk.HausdorffDistanceImageFilter()
    found.Execute(*edges)
    assert measure(reference, predicted)["hd_mm"] == pytest.approx(
        found.GetHausdorffDistance(), abs=max(SPACING)
    )


@pytest.mark.parametrize(("reference", "predicted"), list(pairs()))
@OLD_NAMES
def test_surface_distance_finds_the_same_areas_and_the_same_distances_within_a_voxel(reference, predicted):
    found = surface_distance.compute_surface_distances(reference > 0, predicted > 0, SPACING)
    result = measure(reference, predicted)
    areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
    for mask, area in zip((reference, predicted), areas, strict=True):
        assert find_surface(mask, SPACING).area_mm2.sum() == pytest.approx(area, rel=0.01)
    half_mm = math.hypot(*SPACING) / 2
    for name, percent in (("hd_mm", 100), ("hd95_mm", 95)):
        largest_mm = surface_distance.compute_robust_hausdorff(found, percent)
        assert result[name] == pytest.approx(largest_mm, abs=half_mm)
    means_mm = surface_distance.compute_average_surface_distance(found)
    # corners shared by two surfaces have distance 0: their result is lower, by less than half a voxel's diagonal
    assert 0 <= result["assd_mm"] - np.average(means_mm, weights=areas) < half_mm / 2
    # at a tolerance of at least a voxel
    wide = OverlapConfig(nsd_tolerance_mm=3.0)
    share = surface_distance.compute_surface_dice_at_tolerance(found, wide.nsd_tolerance_mm)
    assert measure(reference, predicted, config=wide)["nsd"] == pytest.approx(share, abs=0.05)


@OLD_NAMES
def test_on_a_fine_grid_surface_distance_finds_the_same_surface_dice():
    spacing = (0.5, 0.5, 0.5)
    reference, predicted = (sphere((101, 101, 101), 20.0, spacing, shift) for shift in (0.0, 2.0))
    found = surface_distance.compute_surface_distances(reference > 0, predicted > 0, spacing)
    result = measure(reference, predicted, spacing)
    share = surface_distance.compute_surface_dice_at_tolerance(found, 1.0)
    # 2 |cos| of the angle to the shift is at most 1 on half of a sphere
    assert share == pytest.approx(0.5, abs=0.15)
    assert abs(result["nsd"] - 0.5) < abs(share - 0.5)
    assert result["hd95_mm"] == pytest.approx(surface_distance.compute_robust_hausdorff(found, 95), abs=0.25)


@pytest.mark.parametrize("spacing", [(3.0, 0.8, 0.8), (3.0, 1.92, 1.92)])
@pytest.mark.parametrize(("grown_mm", "shift_mm"), [(0.3, 0.4), (0.0, 0.8), (0.6, 1.2)])
@OLD_NAMES
def test_a_third_of_a_millimetre_is_seen_on_slices_of_three(spacing, grown_mm, shift_mm):
    shape = (30, int(100 / spacing[1]), int(100 / spacing[1]))
    masks = sphere(shape, 25.0, spacing), sphere(shape, 25.0 + grown_mm, spacing, shift_mm)
    points = np.random.default_rng(0).normal(size=(20_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    center = np.array([0, 0, shift_mm])
    true_mm = np.concatenate(
        [
            np.linalg.norm(25 * points - center, axis=1) - 25 - grown_mm,
            np.linalg.norm((25 + grown_mm) * points + center, axis=1) - 25,
        ]
    )
    result = measure(*masks, spacing)
    assert 0.8 < result["assd_mm"] / np.abs(true_mm).mean() < 0.95
    assert result["nsd"] == pytest.approx(np.mean(np.abs(true_mm) <= 1), abs=0.13)
    found = surface_distance.compute_surface_distances(*(mask > 0 for mask in masks), spacing)
    by_corners = np.mean(surface_distance.compute_average_surface_distance(found))
    assert by_corners / np.abs(true_mm).mean() < 0.55


@pytest.mark.parametrize(("axis", "step_mm"), [(0, 3.0), (1, 0.8), (2, 0.8)])
@OLD_NAMES
def test_all_three_agree_exactly_on_a_shift(axis, step_mm):
    reference, predicted = list(pairs())[1 + axis]
    of_itk = sitk.HausdorffDistanceImageFilter()
    of_itk.Execute(as_image(reference), as_image(predicted))
    of_deepmind = surface_distance.compute_surface_distances(reference > 0, predicted > 0, SPACING)
    assert of_itk.GetHausdorffDistance() == pytest.approx(3 * step_mm)
    assert surface_distance.compute_robust_hausdorff(of_deepmind, 100) == pytest.approx(3 * step_mm)
    assert measure(reference, predicted)["hd_mm"] == pytest.approx(3 * step_mm)


def test_the_surface_of_a_box_looks_outwards_and_has_its_area():
    surface = find_surface(box((12, 32, 32), (2, 6, 6), (10, 26, 26)), SPACING)
    outwards = surface.corners_mm_zyx.mean(axis=1) - np.array([5.5, 15.5, 15.5]) * SPACING
    axis = np.abs(surface.facing) - 1
    assert (
        np.sign(surface.facing) == np.sign(np.take_along_axis(outwards, axis[:, None], axis=1)[:, 0])
    ).all()
    assert set(surface.facing) == {-3, -2, -1, 1, 2, 3}
    # the mesh cuts off each of the twelve edges: two halves of voxel faces become their diagonal
    flat = 2 * (19 * 0.8 * 19 * 0.8 + 2 * 7 * 3 * 19 * 0.8)
    edges = 4 * (7 * 3 * math.hypot(0.4, 0.4) + 2 * 19 * 0.8 * math.hypot(0.4, 1.5))
    assert surface.area_mm2.sum() == pytest.approx(flat + edges, rel=0.005)


def shaft(first_slice, radius=10, shape=(20, 40, 40)):
    y, x = np.mgrid[: shape[1], : shape[2]] - 20
    disk = y**2 + x**2 <= radius**2
    mask = np.zeros(shape, np.uint8)
    mask[first_slice:15] = disk
    return mask


def test_the_cut_at_the_scans_end_is_no_surface():
    surface = find_surface(shaft(0), SPACING)
    caps = (surface.corners_mm_zyx[:, :, 0] == -1.5).all(axis=1)
    assert caps.any()
    assert np.array_equal(caps, surface.cut)
    assert set(surface.facing[caps]) == {-1}
    # the wall counts up to the border of the array: six slices more add 18 mm of it
    longer = find_surface(np.concatenate([shaft(0)[:1]] * 6 + [shaft(0)]), SPACING)
    walls_mm2 = [one.area_mm2[~one.cut].sum() for one in (surface, longer)]
    assert (walls_mm2[1] - walls_mm2[0]) / 18 == pytest.approx(2 * math.pi * 8.4, rel=0.1)
    assert not find_surface(shaft(1), SPACING).cut.any()


def test_the_cut_does_not_dilute_an_error_of_the_walls():
    thick, thin = shaft(0, radius=10), shaft(0, radius=8)
    walls = measure(thick, thin)
    # the same shafts continued far below the scan: only the weight of the top changes
    long = measure(*(np.concatenate([np.repeat(mask[:1], 40, axis=0), mask]) for mask in (thick, thin)))
    assert walls["hd95_mm"] == pytest.approx(long["hd95_mm"])
    assert walls["assd_mm"] == pytest.approx(1.6, abs=0.3)


def test_an_end_one_slice_short_is_wrong_by_that_slice():
    result = measure(shaft(0), shaft(1))
    assert result["hd95_mm"] <= 3.0
    assert result["re_percent"] == pytest.approx(-100 / 15)
    far = measure(shaft(0), shaft(4))
    assert 3.0 < far["hd95_mm"] <= 12.0
    assert result["hd_mm"] <= 3.0
    assert measure(shaft(1), shaft(0))["hd_mm"] == result["hd_mm"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_mask_one_voxel_short_of_any_border_is_wrong_by_that_voxel(axis, end):
    shape = (16, 30, 30)
    low, high = np.array([4, 8, 8]), np.array([12, 22, 22])
    low[axis], high[axis] = (0, high[axis]) if end == 0 else (low[axis], shape[axis])
    reference = box(shape, low, high)
    predicted = reference.copy()
    np.moveaxis(predicted, axis, 0)[end] = 0
    for masks in ((reference, predicted), (predicted, reference)):
        # the edges of a mesh are cut off by half a voxel, beside an end too
        assert SPACING[axis] <= measure(*masks)["hd_mm"] + 1e-9 <= 1.25 * SPACING[axis]


def test_an_upper_end_is_not_compared_with_the_cut_below_it():
    stump = shaft(0) * (np.arange(20) < 1)[:, None, None]
    result = measure(shaft(0), stump.astype(np.uint8))
    # its upper end is 1.5 mm above the cut, but 8 mm from the walls of the shaft
    assert result["hd_predicted_to_reference_mm"] > 7.0
    assert result["hd_reference_to_predicted_mm"] == pytest.approx(14 * 3.0)


def test_bone_that_runs_through_the_scan_has_walls_alone():
    reference, predicted = box((9, 30, 30), (0, 8, 8), (9, 22, 22)), box((9, 30, 30), (0, 9, 9), (9, 21, 21))
    result = measure(reference, predicted)
    # walls are one voxel apart, the edges between them a diagonal
    assert 0.8 <= result["hd_predicted_to_reference_mm"] <= 0.8 * math.sqrt(2)
    assert result["assd_mm"] < 0.8 * math.sqrt(2)
    assert result["re_percent"] == pytest.approx(100 * (144 / 196 - 1))


@pytest.mark.parametrize(("slices", "at"), [(1, 0), (6, 0), (6, 3), (6, 5)])
def test_masks_of_one_slice_have_distances(slices, at):
    reference, predicted = (
        box((slices, 30, 30), (at, 8, 8 + n), (at + 1, 22, 22 + n)).astype(np.uint8) for n in (0, 2)
    )
    assert measure(reference, predicted)["hd_mm"] == pytest.approx(1.6, abs=0.1)


def test_a_thin_shell_is_wrong_inside_only():
    spacing = (1.0, 1.0, 1.0)
    solid, hole = sphere((45, 45, 45), 18.0, spacing), sphere((45, 45, 45), 16.0, spacing)
    result = measure(solid, solid - hole, spacing)
    assert result["hd_reference_to_predicted_mm"] == 0
    assert result["hd_predicted_to_reference_mm"] == pytest.approx(2.0, abs=1.0)
    assert result["precision"] == 1
    # two surfaces of about 18 and 16 mm, of which only the inner one is wrong
    assert result["assd_mm"] == pytest.approx(2.0 * 16**2 / (2 * 18**2 + 16**2), abs=0.1)


def test_a_hollow_at_the_cut_is_seen_by_its_wall():
    tube = shaft(0) - shaft(0, radius=7)
    result = measure(shaft(0), tube)
    assert result["hd_reference_to_predicted_mm"] == pytest.approx(7 * 0.8, abs=0.8)
    assert result["hd_predicted_to_reference_mm"] == pytest.approx(3 * 0.8, abs=0.8)


DISTANCES = tuple(name for name in SURFACE_METRICS if name != "nsd")


def test_an_empty_prediction_is_zero_overlap_but_has_no_distance():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    result = measure(mask, np.zeros_like(mask))
    assert (result["dsc"], result["sensitivity"], result["specificity"], result["nsd"]) == (0, 0, 1, 0)
    assert result["re_percent"] == -100
    assert result["volume_error_mm3"] == pytest.approx(-np.count_nonzero(mask) * 3 * 0.64)
    for name in ("precision", *DISTANCES):
        assert result[name] is None
        assert result["undefined"][name] == NO_PREDICTION
    assert "nsd" not in result["undefined"]


def test_an_empty_reference_leaves_most_undefined():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    result = measure(np.zeros_like(mask), mask)
    assert result["dsc"] == result["precision"] == result["nsd"] == 0
    for name in ("sensitivity", *DISTANCES, "re_percent"):
        assert result[name] is None
        assert result["undefined"][name] == NO_REFERENCE


def test_a_prediction_that_fills_the_volume_is_no_gap_in_the_surface_dice():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    result = measure(mask, np.ones_like(mask))
    assert result["nsd"] == 0
    assert {result["undefined"].get(name) for name in SURFACE_METRICS} == {NO_SURFACE, None}


def test_two_empty_masks_are_not_a_perfect_score():
    empty = np.zeros((4, 5, 6), np.uint8)
    result = measure(empty, empty)
    assert result["dsc"] is result["nsd"] is None
    assert "empty" in result["undefined"]["dsc"]
    native = measure_native(empty, empty, SPACING)
    assert native["dsc_native"] is None
    assert native["undefined"] == {"dsc_native": result["undefined"]["dsc"]}


def test_a_mask_that_fills_the_volume_has_no_surface():
    full = np.ones((4, 5, 6), np.uint8)
    result = measure(full, full)
    assert result["hd95_mm"] is None
    assert result["specificity"] is None
    assert result["specificity_voxels"] == 0
    assert result["dsc"] == 1
    assert {result["undefined"][name] for name in SURFACE_METRICS} == {NO_SURFACE}


def test_levels_are_compared_slice_by_slice():
    reference = box((10, 20, 20), (0, 5, 5), (9, 15, 15))
    predicted = box((10, 20, 20), (0, 5, 5), (9, 15, 15))
    predicted[5:9, :, 14] = 0
    predicted[9, 5:10, 5:15] = 1
    slices = {"head": slice(5, 10), "shaft": slice(0, 5)}
    result = measure_by_region(reference, predicted, slices, {"neck": "not in the scan"})
    # 400 voxels against 360 and 50 above the reference's end
    assert result["dsc_head"] == pytest.approx(2 * 360 / (400 + 410))
    assert result["dsc_shaft"] == 1
    assert result["dsc_neck"] is None
    assert result["undefined"] == {"dsc_neck": "not in the scan"}


def test_a_level_without_any_bone_is_undefined():
    reference = box((10, 20, 20), (5, 5, 5), (9, 15, 15))
    result = measure_by_region(reference, reference, {"shaft": slice(0, 5)}, {})
    assert result["dsc_shaft"] is None
    assert "empty" in result["undefined"]["dsc_shaft"]


def test_errors_by_slice_add_up_to_the_whole():
    reference = box((10, 20, 20), (2, 5, 5), (8, 15, 15))
    predicted = box((10, 20, 20), (3, 5, 6), (9, 15, 17))
    by_slice = measure(reference, predicted)["by_slice"]
    assert by_slice["distance_mm"] == [6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0]
    voxel_mm3 = 3 * 0.64
    assert sum(by_slice["missed_mm3"]) == pytest.approx(np.sum(reference & ~predicted & 1) * voxel_mm3)
    assert sum(by_slice["added_mm3"]) == pytest.approx(np.sum(predicted & ~reference & 1) * voxel_mm3)


def test_a_slice_that_is_wrong_throughout_is_told():
    reference, predicted = box((3, 9, 9), (1, 1, 1), (2, 4, 4)), box((3, 9, 9), (1, 5, 5), (2, 8, 8))
    by_slice = measure(reference, predicted, (1.0, 1.0, 1.0))["by_slice"]
    assert by_slice == {
        "distance_mm": [1.0],
        "reference_mm3": [9.0],
        "missed_mm3": [9.0],
        "added_mm3": [9.0],
    }


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


def test_a_distance_of_exactly_the_tolerance_is_within_it():
    mask = box((8, 40, 40), (2, 8, 8), (6, 22, 22))
    touching = OverlapConfig(nsd_tolerance_mm=0.8)
    assert measure(mask, np.roll(mask, 1, axis=2), config=touching)["nsd"] == 1


def test_a_tolerance_of_zero_asks_for_equal_surfaces():
    mask = box((8, 10, 10), (2, 2, 2), (6, 8, 8))
    strict = OverlapConfig(nsd_tolerance_mm=0.0)
    assert measure(mask, mask, config=strict)["nsd"] == 1
    assert measure(mask, np.roll(mask, 1, axis=2), config=strict)["nsd"] < 1
