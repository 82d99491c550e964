"""Head, axes and planes of a femur: in solids, in people of the shape model, and what cannot be found."""

import json

import numpy as np
import pytest

from lib.anatomy.femur.axes import (
    CUT_ABOVE_PLANE,
    NECK_CUT,
    NO_CONDYLES,
    SHAFT_AXIS_ASSUMED,
    SHAFT_TOO_SHORT,
    TROCHANTER_CUT,
    _Grid,
    _is_cut,
    find_geometry,
)
from lib.anatomy.femur.landmarks import CUT_ABOVE, EMPTY, NO_HEAD, NOT_SEEN, find_head
from lib.anatomy.femur.neck_sections import NeckAxis, cut_sections
from lib.density_settings import DensityConfig
from lib.rotations import rotation_matrix
from tests.unit.femur_masks import (
    FINE,
    HEAD_MM,
    ISTHMUS_MM,
    NECK_ALONG,
    NECK_DEGREES,
    NECK_MM,
    SHAFT_MM,
    SHAFT_X_MM,
    THICK,
    TURN,
    model_femur,
    solid_hip,
)

CONFIG = DensityConfig()


def degrees_between(a, b):
    return np.degrees(2 * np.arcsin(np.linalg.norm(np.subtract(a, b)) / 2))


def found_in(femur):
    return find_geometry(femur.mask_zyx, femur.spacing_mm_zyx, femur.side, CONFIG)


@pytest.mark.parametrize("spacing", [THICK, FINE, (2.0, 0.9, 0.9), (1.0, 0.7, 0.75)])
def test_a_femur_of_solids_has_the_geometry_it_was_made_of(spacing):
    mask, center_mm = solid_hip(spacing)
    found = find_geometry(mask, spacing, "left", CONFIG)
    assert found.head_center_xyz_mm == pytest.approx(center_mm, abs=0.2)
    assert found.head_radius_mm == pytest.approx(HEAD_MM, abs=0.25)
    assert degrees_between(found.neck_axis_xyz, NECK_ALONG) < 0.5
    assert found.isthmus_mm2 == pytest.approx(np.pi * NECK_MM**2, rel=0.02)
    assert found.neck_begins_mm == pytest.approx(np.sqrt(HEAD_MM**2 - NECK_MM**2), abs=0.35)
    assert found.isthmus_mm == pytest.approx(ISTHMUS_MM, abs=1.5)
    assert ISTHMUS_MM + 7.5 < found.neck_ends_mm < 45
    assert found.neck_axis_length_mm == pytest.approx((SHAFT_X_MM + SHAFT_MM) / NECK_ALONG[0], abs=1.0)
    assert degrees_between(found.shaft_axis_xyz, (0, 0, 1)) < 0.2
    assert found.neck_shaft_degrees == pytest.approx(90 + NECK_DEGREES, abs=0.5)
    # the axis passes through the centre of the isthmus
    away_mm = np.subtract(found.isthmus_xyz_mm, found.head_center_xyz_mm)
    assert away_mm == pytest.approx(found.isthmus_mm * np.array(found.neck_axis_xyz), abs=0.3)
    # the tip was made 62 mm below the head's centre, 25 mm medial of the shaft's axis and behind it
    assert found.lesser_trochanter_xyz_mm[2] - center_mm[2] == pytest.approx(-62.0, abs=0.7)
    assert np.subtract(found.lesser_trochanter_xyz_mm, found.distal_xyz_mm) == pytest.approx(
        CONFIG.below_trochanter_mm * np.array(found.shaft_axis_xyz)
    )
    assert found.flags == () and found.undefined == {"anteversion_degrees": NO_CONDYLES}


def test_the_neck_ends_where_its_section_has_grown_by_the_factor():
    mask, _ = solid_hip(FINE)
    for factor in (1.2, 1.4, 1.8):
        found = find_geometry(mask, FINE, "left", DensityConfig(neck_area_factor=factor))
        axis = NeckAxis.through(np.array(found.head_center_xyz_mm), np.array(found.neck_axis_xyz))
        areas_mm2 = cut_sections(mask, FINE, axis, (found.neck_ends_mm - 2, found.neck_ends_mm + 2)).areas_mm2
        assert areas_mm2[0] < factor * found.isthmus_mm2 < areas_mm2[-1]


def test_a_right_femur_is_a_mirrored_left_one():
    mask, _ = solid_hip(THICK)
    left = find_geometry(mask, THICK, "left", CONFIG)
    right = find_geometry(mask[:, :, ::-1], THICK, "right", CONFIG)
    last_mm = (mask.shape[2] - 1) * THICK[2]
    for name in ("head_center_xyz_mm", "isthmus_xyz_mm", "lesser_trochanter_xyz_mm", "shaft_xyz_mm"):
        x, y, z = getattr(left, name)
        assert getattr(right, name) == pytest.approx((last_mm - x, y, z)), name
    x, y, z = left.neck_axis_xyz
    assert right.neck_axis_xyz == pytest.approx((-x, y, z))
    assert right.neck_shaft_degrees == pytest.approx(left.neck_shaft_degrees)


def test_air_around_a_femur_only_moves_it():
    mask, _ = solid_hip(THICK)
    near = find_geometry(mask, THICK, "left", CONFIG)
    far = find_geometry(np.pad(mask, ((4, 6), (11, 3), (7, 20))), THICK, "left", CONFIG)
    moved_mm = np.array([7 * 0.8, 11 * 0.8, 4 * 3.0])
    assert far.head_center_xyz_mm == pytest.approx(near.head_center_xyz_mm + moved_mm)
    assert far.distal_xyz_mm == pytest.approx(near.distal_xyz_mm + moved_mm)
    assert far.neck_axis_xyz == pytest.approx(near.neck_axis_xyz, abs=1e-6)
    assert far.isthmus_mm2 == near.isthmus_mm2 and far.shaft_mm == near.shaft_mm


@pytest.fixture(scope="module")
def repeats():
    """People of the shape model: the geometry on two grids, and of the turned femur on both; axes turned back."""
    made = []
    for seed in range(8):
        side, rows = ("left", "right")[seed // 2 % 2], []
        for turn in ((0.0, 0.0, 0.0), TURN):
            for spacing in (FINE, THICK):
                femur = model_femur(seed, side, spacing, turn=turn)
                found = found_in(femur)
                back = rotation_matrix(turn).T
                rows.append((femur, found, back @ found.neck_axis_xyz, back @ found.shaft_axis_xyz))
        made.append(rows)
    return made


def test_the_axis_of_the_neck_repeats_between_grids_and_turns(repeats):
    away = [degrees_between(row[2], rows[0][2]) for rows in repeats for row in rows[1:]]
    assert np.mean(away) < 0.45
    assert max(away) < 1.0


def test_the_area_of_the_isthmus_repeats_between_grids_and_turns(repeats):
    changes = [row[1].isthmus_mm2 / rows[0][1].isthmus_mm2 - 1 for rows in repeats for row in rows[1:]]
    assert np.mean(np.abs(changes)) < 0.01
    assert np.abs(changes).max() < 0.04


def test_the_head_is_where_the_shape_model_has_it(repeats):
    rows = [row for rows in repeats for row in rows]
    away_mm = [
        np.linalg.norm(found.head_center_xyz_mm + femur.origin_xyz_mm - femur.axes.head_center_xyz_mm)
        for femur, found, *_ in rows
    ]
    wider_mm = [found.head_radius_mm - femur.axes.head_radius_mm for femur, found, *_ in rows]
    assert np.mean(away_mm) < 0.6 and max(away_mm) < 1.2
    assert abs(np.mean(wider_mm)) < 0.2 and np.abs(wider_mm).max() < 0.7


def test_lengths_and_angles_repeat_between_grids_and_turns(repeats):
    for name, most in (("neck_axis_length_mm", 2.0), ("neck_shaft_degrees", 1.0), ("neck_begins_mm", 0.7)):
        changes = [getattr(row[1], name) - getattr(rows[0][1], name) for rows in repeats for row in rows[1:]]
        assert np.abs(changes).max() < most, name
    assert max(degrees_between(row[3], rows[0][3]) for rows in repeats for row in rows[1:]) < 2.0
    assert all(110 < found.neck_shaft_degrees < 145 for rows in repeats for _, found, *_ in rows)


def test_a_neck_turned_far_forward_is_found():
    """The neck of this person lies 43 degrees off the first direction of the search."""
    found = found_in(model_femur(13, "left", THICK, turn=TURN))
    assert degrees_between(found.neck_axis_xyz, NECK_ALONG) > 40


def directions(step_degrees=12):
    """Directions of a half space, to lateral, (n, 3)."""
    rise, turn = np.radians(np.meshgrid(np.arange(-84, 85, step_degrees), np.arange(-84, 85, step_degrees)))
    return np.stack(
        [np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)], axis=-1
    ).reshape(-1, 3)


@pytest.mark.parametrize("made", ["solid", "person"])
def test_the_smallest_minimal_section_of_all_directions_runs_off_the_bone_and_is_not_taken(made):
    """Without bounds the plane with the least bone leaves the neck; the search from C to the isthmus stays in it."""
    if made == "solid":
        mask, _ = solid_hip(THICK)
        found, truth = find_geometry(mask, THICK, "left", CONFIG), NECK_ALONG
    else:
        femur = model_femur(4, "left", THICK)
        mask, found = femur.mask_zyx, found_in(femur)
        truth = found_in(model_femur(4, "left", FINE)).neck_axis_xyz
    center_mm, radius_mm = np.array(found.head_center_xyz_mm), found.head_radius_mm
    share = mask.astype(np.float32)
    smallest = [
        cut_sections(
            share, THICK, NeckAxis.through(center_mm, along), (0.75 * radius_mm, 2.2 * radius_mm)
        ).areas_mm2.min()
        for along in directions()
    ]
    trap = directions()[int(np.argmin(smallest))]
    assert degrees_between(trap, truth) > 25
    assert degrees_between(found.neck_axis_xyz, truth) < 1.0


def test_another_piece_of_bone_in_the_plane_of_a_section_does_not_count():
    mask, center_mm = solid_hip(FINE)
    found = find_geometry(mask, FINE, "left", CONFIG)
    above = center_mm + 26 * NECK_ALONG + 24 * np.array([np.sin(np.radians(46)), 0, np.cos(np.radians(46))])
    z, y, x = np.indices(mask.shape) * 0.8
    speck = (x - above[0]) ** 2 + (y - above[1]) ** 2 + (z - above[2]) ** 2 < 5**2
    assert not (speck & mask).any()
    both = find_geometry(mask | speck, FINE, "left", CONFIG)
    assert both.isthmus_mm2 == found.isthmus_mm2 and both.neck_ends_mm == found.neck_ends_mm


def test_without_enough_shaft_the_axis_is_that_of_the_scan_and_flagged():
    mask, _ = solid_hip(FINE, end_mm=-90.0)
    found = find_geometry(mask, FINE, "left", CONFIG)
    assert found.flags == (SHAFT_AXIS_ASSUMED,) and found.shaft_axis_xyz == (0, 0, 1)
    assert found.shaft_mm == pytest.approx(18, abs=1.2) and found.distal_xyz_mm is not None
    assert found.undefined["neck_shaft_degrees"] == SHAFT_TOO_SHORT.format(25)
    assert found.neck_axis_xyz is not None


def test_a_scan_that_ends_above_the_distal_plane_cuts_the_trochanter():
    mask, _ = solid_hip(FINE, end_mm=-71.0)
    found = find_geometry(mask, FINE, "left", CONFIG)
    assert found.flags == (SHAFT_AXIS_ASSUMED, TROCHANTER_CUT)
    assert found.undefined["distal_xyz_mm"] == CUT_ABOVE_PLANE.format(10)
    assert found.neck_ends_mm is not None
    nearer = find_geometry(mask, FINE, "left", DensityConfig(below_trochanter_mm=6.0))
    assert TROCHANTER_CUT not in nearer.flags


def test_a_tilted_plane_is_reached_only_if_all_of_it_is_in_view():
    z, y, x = np.indices((30, 50, 50)) * 1.0
    grid = _Grid(bone_zyx=((x - 25) ** 2 + (y - 25) ** 2 < 17**2) & (z >= 4), spacing_mm_zyx=(1.0, 1.0, 1.0))
    tilt = np.array([np.sin(np.radians(20)), 0.0, np.cos(np.radians(20))])
    # at the shaft's surface, 17 mm from its middle, the plane lies 6.2 mm lower
    end_mm = 3.5
    assert _is_cut(grid, np.array([25.0, 25.0, end_mm + 5.5]), tilt)
    assert not _is_cut(grid, np.array([25.0, 25.0, end_mm + 6.5]), tilt)
    assert not _is_cut(grid, np.array([25.0, 25.0, end_mm + 0.1]), np.array([0.0, 0.0, 1.0]))


def test_what_cannot_be_found_has_a_reason():
    mask, _ = solid_hip(THICK)
    names = ("neck_axis_xyz", "isthmus_mm2", "neck_ends_mm", "neck_axis_length_mm", "neck_shaft_degrees")
    for changed, reason in (
        (np.zeros_like(mask), EMPTY),
        (mask[:-5], CUT_ABOVE),
        (mask & (np.arange(len(mask)) < 28)[:, None, None], NO_HEAD),
    ):
        found = find_geometry(changed, THICK, "left", CONFIG)
        assert {name: found.undefined[name] for name in names} == dict.fromkeys(names, reason)
        assert all(getattr(found, name) is None for name in names)
    for name, value in vars(find_geometry(mask[21:], THICK, "left", CONFIG)).items():
        assert value is not None or name in find_geometry(mask[21:], THICK, "left", CONFIG).undefined, name


def test_a_scan_that_ends_in_the_neck_has_no_neck():
    mask, _ = solid_hip(FINE, end_mm=-37.0)
    found = find_geometry(mask, FINE, "left", CONFIG)
    assert found.undefined["lesser_trochanter_xyz_mm"] == NOT_SEEN
    assert found.undefined["neck_ends_mm"] == NECK_CUT and found.neck_ends_mm is None
    assert found.isthmus_mm2 == pytest.approx(np.pi * NECK_MM**2, rel=0.02)
    nearer = find_geometry(solid_hip(FINE, end_mm=-27.0)[0], FINE, "left", CONFIG)
    assert nearer.isthmus_mm2 is None and nearer.undefined["isthmus_mm2"] == NECK_CUT


def test_the_record_has_places_and_directions_of_the_patient():
    mask, _ = solid_hip(THICK)
    found = find_geometry(mask, THICK, "left", CONFIG)
    turn, shift = rotation_matrix((3, -4, 5)), np.array([-120.0, 40.0, 900.0])
    record = found.to_json(lambda point: turn @ np.array(point) + shift)
    assert record == json.loads(json.dumps(record))
    assert record["head_center_xyz_mm"] == pytest.approx(turn @ found.head_center_xyz_mm + shift, rel=1e-5)
    assert record["neck_axis_xyz"] == pytest.approx(turn @ found.neck_axis_xyz, abs=1e-5)
    assert record["isthmus_mm2"] == pytest.approx(found.isthmus_mm2, rel=1e-5)
    assert record["anteversion_degrees"] is None and record["undefined"] == dict(found.undefined)


def test_the_head_is_found_as_the_levels_find_it():
    mask, center_mm = solid_hip(THICK)
    left, right = find_head(mask, THICK, "left"), find_head(mask[:, :, ::-1], THICK, "right")
    assert left.center_xyz_mm == pytest.approx(center_mm, abs=0.2)
    assert right.center_xyz_mm[0] == pytest.approx((mask.shape[2] - 1) * 0.8 - left.center_xyz_mm[0])
    assert find_head(np.zeros_like(mask), THICK, "left").missing == EMPTY
