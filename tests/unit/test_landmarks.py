"""The level of the lesser trochanter: in solids, in people of the shape model, and where it cannot be told."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import find_peaks, peak_prominences

from lib.anatomy.femur.landmarks import (
    CUT_ABOVE,
    EMPTY,
    IN_PIECES,
    NO_FEMUR,
    NOT_SEEN,
    _prominence,
    find_lesser_trochanter,
)
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.phantom.anatomy.shape import draw_hip_shape, femur_axes, head_top_mm
from lib.phantom.mesh import move
from lib.phantom.voxelize import VoxelGrid, coverage
from lib.reading.image_files import read_labels
from lib.rotations import rotation_matrix
from tests.unit.solid_femur import SPACING_MM_ZYX, solid_femur

REAL = Path(__file__).parents[3] / "shared" / "data" / "real" / "totalsegmentator"


def level_mm(mask, spacing_mm_zyx=SPACING_MM_ZYX, side="left"):
    found = find_lesser_trochanter(mask, spacing_mm_zyx, side)
    assert not found.missing
    return found.height_mm


def reason(mask, side="left"):
    found = find_lesser_trochanter(mask, SPACING_MM_ZYX, side)
    assert found.height_mm is None
    return found.missing


@pytest.mark.parametrize("phase_mm", [0.0, 0.7, 1.5, 2.2, 2.9])
def test_the_level_of_a_known_trochanter_is_found_between_slices(phase_mm):
    assert level_mm(solid_femur(30.0 + phase_mm)) == pytest.approx(30.0 + phase_mm, abs=0.5)


@pytest.mark.parametrize(
    "spacing_mm_zyx", [(1.0, 0.8, 0.8), (2.0, 0.98, 0.74), (5.0, 1.5, 1.5), (8.0, 0.8, 0.8)]
)
def test_the_level_does_not_depend_on_the_voxels(spacing_mm_zyx):
    mask = solid_femur(31.0, spacing_mm_zyx=spacing_mm_zyx)
    assert level_mm(mask, spacing_mm_zyx) == pytest.approx(31.0, abs=0.2 + 0.15 * spacing_mm_zyx[0])


def test_a_mirrored_femur_is_a_right_one():
    mask = solid_femur(31.0)
    assert level_mm(mask[:, :, ::-1], side="right") == pytest.approx(level_mm(mask))


def test_air_below_and_a_longer_shaft_move_the_level_by_their_length():
    mask = solid_femur(31.0)
    below = np.zeros((4, *mask.shape[1:]), np.uint8)
    assert level_mm(np.concatenate([below, mask])) == pytest.approx(level_mm(mask) + 12.0)
    assert level_mm(solid_femur(91.0)) == pytest.approx(level_mm(mask) + 60.0)


def test_what_cannot_be_told_has_a_reason():
    mask = solid_femur(31.0)
    assert reason(np.zeros_like(mask)) == EMPTY
    assert reason(mask[:-8]) == CUT_ABOVE
    assert reason(np.where(np.arange(len(mask))[:, None, None] == 14, 0, mask)) == IN_PIECES
    assert reason(solid_femur(31.0, bump_mm=0.0)) == NOT_SEEN
    assert reason(mask[11:]) == NOT_SEEN  # the scan ends 2 mm above the tip
    assert reason(solid_femur(31.0) * (np.arange(len(mask)) < 22)[:, None, None]) == NOT_SEEN  # a shaft only


def test_a_bump_without_a_head_above_it_is_not_a_trochanter():
    assert reason(solid_femur(31.0, neck_mm=0.0)) == NO_FEMUR


def furthest_point(femur, side):
    """Return the posteromedial vertex at the trochanter's height that is furthest from the shaft's axis."""
    points, axes = femur.vertices_xyz_mm, femur_axes(femur)
    size = axes.head_radius_mm / 22.8
    below_mm = (head_top_mm(femur) - points[:, 2]) / size
    shaft = points[(below_mm > 110) & (below_mm < 170)]
    axis = np.linalg.svd(shaft - shaft.mean(axis=0))[2][0]
    away = points - shaft.mean(axis=0)
    away -= np.outer(away @ axis, axis)
    behind = np.degrees(np.arctan2(away[:, 1], away[:, 0] * (-1 if side == "left" else 1)))
    near = (below_mm > 66) & (below_mm < 95) & (behind > 0) & (behind < 75)
    return points[near][np.linalg.norm(away[near], axis=1).argmax()]


def turned_femur(rng, side):
    """A femur of the shape model turned by up to 10 degrees about each axis: mesh, size, height of its trochanter."""
    shape = draw_hip_shape(rng, rng.choice(["M", "F"]))
    femur = shape.femurs[0 if side == "left" else 1]
    center, turn = femur_axes(femur).head_center_xyz_mm, rotation_matrix(rng.uniform(-10, 10, 3))
    tip = (furthest_point(femur, side) - center) @ turn.T + center
    return move(femur, turn, np.zeros(3), center), shape.size, tip[2]


def rough_mask(rng, femur, bottom_mm):
    """Mask of a femur above a height, with a rough surface, and its spacing."""
    pixel_mm = rng.uniform(0.742, 0.977)
    seen = femur.vertices_xyz_mm[femur.vertices_xyz_mm[:, 2] > bottom_mm]
    low, high = seen.min(axis=0) - 8.0, seen.max(axis=0) + 8.0
    low[2] = bottom_mm + 1.5
    spacing = np.array([pixel_mm, pixel_mm, 3.0])
    size_xyz = tuple(np.ceil((high - low) / spacing).astype(int))
    grid = VoxelGrid(origin_xyz_mm=tuple(low), spacing_xyz_mm=tuple(spacing), size_xyz=size_xyz)
    filled = coverage(femur, grid, 2)
    rough = ndimage.gaussian_filter(rng.standard_normal(filled.shape), (0.7, 1.5, 1.5))
    mask = ndimage.gaussian_filter(filled, (0, 0.6, 0.6)) + 0.15 * rough / rough.std() * (filled > 0) >= 0.5
    return mask, tuple(spacing[::-1])


def person_mask(rng, side, below_top_mm):
    """A turned femur of the shape model with a rough surface: mask, spacing and the true level."""
    femur, size, tip_mm = turned_femur(rng, side)
    bottom_mm = head_top_mm(femur) - below_top_mm * size
    mask, spacing_mm_zyx = rough_mask(rng, femur, bottom_mm)
    return mask, spacing_mm_zyx, tip_mm - bottom_mm


def test_in_people_the_level_is_that_of_the_point_furthest_from_the_shaft():
    rng = np.random.default_rng(2020)
    errors = []
    for side in ["left", "right"] * 20:
        mask, spacing_mm_zyx, truth_mm = person_mask(rng, side, rng.uniform(95, 122))
        found = find_lesser_trochanter(mask, spacing_mm_zyx, side)
        if found.height_mm is not None:
            errors.append(found.height_mm - truth_mm)
    assert len(errors) >= 38
    assert abs(np.mean(errors)) < 1.5
    assert np.std(errors) < 2.0
    assert np.abs(errors).max() < 6.0


def test_scans_of_people_that_end_above_the_trochanter_give_no_level():
    rng = np.random.default_rng(7)
    cases = [(side, person_mask(rng, side, rng.uniform(40, 60))) for side in ["left", "right"] * 8]
    found = [find_lesser_trochanter(mask, spacing, side) for side, (mask, spacing, _) in cases]
    assert {result.missing for result in found} == {NOT_SEEN}


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data/real beside the checkout is absent")
@pytest.mark.parametrize(("side", "label"), [("left", 75), ("right", 76)])
def test_a_real_scan_that_ends_54_mm_below_the_top_shows_no_trochanter(side, label):
    mask = read_labels(REAL / "example_seg_fast_force_split.nii.gz", {"femur": (label,)})
    assert find_lesser_trochanter(array_zyx(mask), spacing_zyx(mask), side).missing == NOT_SEEN


@pytest.mark.parametrize("seed", range(20))
def test_prominence_is_that_of_scipy(seed):
    profile = np.cumsum(np.random.default_rng(seed).normal(size=60))
    peaks, _ = find_peaks(profile)
    found = np.array([_prominence(profile, place) for place in range(len(profile))])
    np.testing.assert_allclose(found[peaks], peak_prominences(profile, peaks)[0])
    assert not np.delete(found, peaks).any()
