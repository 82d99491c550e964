"""Head, neck, trochanter and shaft: in solids and people with known landmarks, and levels that are undefined."""

import numpy as np
import pytest
from scipy import ndimage

from lib.anatomy.femur.landmarks import (
    CUT_ABOVE,
    EMPTY,
    ENDS_ABOVE_SHAFT,
    ENDS_IN_HEAD,
    IN_PIECES,
    NO_FEMUR,
    NO_HEAD,
    NOT_SEEN,
    femur_levels,
)
from lib.catalog.anatomies import LEVELS
from lib.imaging.grid import array_zyx, spacing_zyx
from lib.phantom.anatomy.shape import femur_axes, head_top_mm
from lib.reading.image_files import read_labels
from tests.unit.solid_femur import SPACING_MM_ZYX, solid_femur
from tests.unit.test_landmarks import REAL, rough_mask, turned_femur

# of the solid femur, above its trochanter
HEAD_CENTER_MM, HEAD_RADIUS_MM = 52.0, 23.0


def levels(mask, side="left", spacing_mm_zyx=SPACING_MM_ZYX):
    return femur_levels(mask, spacing_mm_zyx, side)


def starts_mm(found, step_mm=3.0):
    """Lower face of each level's lowest slice."""
    return {level: inside.start * step_mm for level, inside in found.parts.items()}


@pytest.mark.parametrize("trochanter_mm", [45.0, 46.1, 47.2, 60.3])
@pytest.mark.parametrize("step_mm", [1.0, 3.0, 5.0])
def test_borders_of_a_solid_femur_lie_at_its_landmarks(trochanter_mm, step_mm):
    spacing_mm_zyx = (step_mm, 0.8, 0.8)
    found = levels(solid_femur(trochanter_mm, spacing_mm_zyx=spacing_mm_zyx), spacing_mm_zyx=spacing_mm_zyx)
    assert not found.missing
    start_mm = starts_mm(found, step_mm)
    # a slice belongs to the level of its middle
    half_mm = 0.5 * step_mm + 0.7
    head_mm = trochanter_mm + HEAD_CENTER_MM - HEAD_RADIUS_MM
    assert start_mm["head"] == pytest.approx(head_mm, abs=half_mm)
    assert start_mm["trochanter"] == pytest.approx(trochanter_mm - 20.0, abs=half_mm)
    # the trochanter of the solid ends 12 mm above its middle, and the neck leaves the shaft 22 mm above it
    assert trochanter_mm + 12.0 - step_mm < start_mm["neck"] < trochanter_mm + 22.0 + step_mm
    assert start_mm["shaft"] == 0


def test_every_slice_lies_in_one_level():
    mask = solid_femur(45.0)
    found = levels(mask)
    order = [found.parts[level] for level in reversed(LEVELS)]
    assert [inside.start for inside in order] == [0, *(inside.stop for inside in order[:-1])]
    assert order[-1].stop == len(mask)


def test_a_mirrored_femur_is_a_right_one():
    mask = solid_femur(45.0)
    assert levels(mask[:, :, ::-1], "right") == levels(mask)
    assert levels(mask, "right") != levels(mask)


def test_a_shorter_scan_changes_only_the_level_in_which_it_ends():
    mask = solid_femur(45.0)
    whole, cut = levels(mask), 5
    shorter = levels(mask[cut:])
    for level in ("head", "neck", "trochanter"):
        inside = whole.parts[level]
        assert shorter.parts[level] == slice(inside.start - cut, inside.stop - cut)
    assert shorter.parts["shaft"] == slice(0, whole.parts["shaft"].stop - cut)


def test_a_scan_that_ends_above_the_shaft_has_no_shaft():
    found = levels(solid_femur(15.0))
    assert found.missing == {"shaft": ENDS_ABOVE_SHAFT}
    assert found.parts["trochanter"].start == 0


def test_slices_without_bone_below_a_reference_belong_to_its_lowest_level():
    mask = solid_femur(15.0)
    below = np.zeros((4, *mask.shape[1:]), np.uint8)
    found = levels(np.concatenate([below, mask]))
    assert found.parts["trochanter"] == slice(0, levels(mask).parts["trochanter"].stop + 4)
    assert found.missing == {"shaft": ENDS_ABOVE_SHAFT}


def test_without_the_trochanter_the_head_alone_is_told():
    mask = solid_femur(45.0)
    found = levels(mask[16:])  # ends above the trochanter's tip
    assert found.parts == {"head": slice(levels(mask).parts["head"].start - 16, len(mask) - 16)}
    assert found.missing == dict.fromkeys(("neck", "trochanter", "shaft"), NOT_SEEN)


def test_levels_that_cannot_be_told_have_a_reason():
    mask = solid_femur(45.0)
    assert levels(np.zeros_like(mask)).missing == dict.fromkeys(LEVELS, EMPTY)
    assert levels(mask[:-9]).missing == dict.fromkeys(LEVELS, CUT_ABOVE)
    split = np.where(np.arange(len(mask))[:, None, None] == 20, 0, mask)
    assert levels(split).missing == dict.fromkeys(LEVELS, IN_PIECES)
    assert levels(mask[28:]).missing["head"] == ENDS_IN_HEAD
    assert levels(solid_femur(45.0, neck_mm=0.0)).missing["shaft"] == NO_FEMUR


@pytest.mark.parametrize("radius_mm", [10.0, 16.0, 23.0, 30.0])
def test_a_shaft_has_no_head(radius_mm):
    z, y, x = np.ogrid[:40, :100, :100]
    mask = ((y - 50) ** 2 + (x - 50) ** 2 < (radius_mm / 0.8) ** 2) & (z < 30)
    found = levels(mask)
    assert found.parts == {}
    assert found.missing["head"] == NO_HEAD


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 12, 9), (3, 4, 5)])
def test_a_speck_has_no_levels(shape):
    mask = np.zeros((10, 30, 30), np.uint8)
    mask[tuple(slice(4, 4 + n) for n in shape)] = 1
    found = levels(mask)
    assert found.parts == {}
    assert set(found.missing) == set(LEVELS)


@pytest.mark.parametrize("seed", range(8))
def test_any_lump_has_levels_in_order_or_reasons(seed):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((30, 60, 60)), (2, 6, 6))
    lump = smooth > np.quantile(smooth, rng.uniform(0.3, 0.95))
    lump[:2], lump[-2:] = 0, 0
    found = levels(lump)
    assert {*found.parts, *found.missing} == set(LEVELS)
    assert not {*found.parts} & {*found.missing}
    starts = [found.parts[level].start for level in LEVELS if level in found.parts]
    assert starts == sorted(starts, reverse=True)


def test_in_people_the_heads_border_is_the_lowest_point_of_its_sphere():
    rng = np.random.default_rng(40)
    errors_mm, heights_mm = [], []
    for side in ["left", "right"] * 10:
        femur, size, _ = turned_femur(rng, side)
        bottom_mm = head_top_mm(femur) - rng.uniform(105, 122) * size
        mask, spacing_mm_zyx = rough_mask(rng, femur, bottom_mm)
        axes = femur_axes(femur)
        found = levels(mask, side, spacing_mm_zyx)
        start_mm = starts_mm(found)
        errors_mm.append(start_mm["head"] - (axes.head_center_xyz_mm[2] - axes.head_radius_mm - bottom_mm))
        if not found.missing:
            heights_mm.append(
                [start_mm["head"] - start_mm["neck"], start_mm["neck"] - start_mm["trochanter"]]
            )
    # a border falls between two slices of 3 mm
    assert np.abs(errors_mm).max() < 3.0
    assert abs(np.mean(errors_mm)) < 1.0
    neck_mm, trochanter_mm = np.array(heights_mm).T
    assert len(neck_mm) >= 15
    assert (neck_mm > 0).all()
    assert trochanter_mm.min() >= 24.0
    assert trochanter_mm.max() <= 48.0


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data/real beside the checkout is absent")
@pytest.mark.parametrize(("side", "label"), [("left", 75), ("right", 76)])
def test_real_femurs_cut_above_the_trochanter_have_a_head_of_their_own_size(side, label):
    mask = read_labels(REAL / "example_seg_fast_force_split.nii.gz", {"femur": (label,)})
    bone_zyx = array_zyx(mask)
    found = levels(bone_zyx, side, spacing_zyx(mask))
    assert found.missing == dict.fromkeys(("neck", "trochanter", "shaft"), NOT_SEEN)
    head_mm = 3.0 * np.count_nonzero(bone_zyx[found.parts["head"]].any(axis=(1, 2)))
    assert 40.0 < head_mm < 50.0
