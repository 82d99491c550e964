"""Levels of a lumbar spine: what is measured of each, and every flag with its consequence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from spine_scene import APART_MM, BODY_HU, HALF_MM_XYZ, NAMES, Spine, box, draw, judged

from lib.anatomy.spine.body_shape import Body, measure_heights
from lib.anatomy.spine.levels import find_levels
from lib.catalog.level_flags import (
    LEVEL_FLAGS,
    classes_withheld,
    density_withheld,
    is_usable,
    level_flags_table,
)
from lib.imaging.grid import array_zyx, image_like

SCANWIDE = {flag for flag, told in LEVEL_FLAGS.items() if told.of_scan}


def levels_of(spine=None, **given):
    return find_levels(judged(*draw(spine), **given))


def flags_of(found):
    """Return the flags of each structure that has some, and those of the scan."""
    return {name: set(record["flags"]) for name, record in found.items() if record["flags"]}


def painted(spine, place, hu):
    """Return the CT and labels of a spine with other values at a place."""
    image, labels = draw(spine)
    hu_zyx = array_zyx(image)
    hu_zyx[place] = hu
    return image_like(hu_zyx, image), labels


def test_a_sound_spine_has_no_flag_and_its_measures():
    found = levels_of()
    json.dumps(found)
    assert flags_of(found) == {}
    assert found["scan"] == {"flags": [], "class_withheld": ""}
    third, half = found["L3"], np.array(HALF_MM_XYZ)
    assert third["found"] and third["usable"] and third["undefined"] == {}
    assert third["voxels_mm3"] == pytest.approx(8 * np.prod(half), rel=0.1)
    assert third["centroid_mm_xyz"] == pytest.approx(
        [-120 + 119, -80 + 110, 500 + 66 + 2 * APART_MM], abs=1.01
    )
    assert third["hu_mean"] == BODY_HU and third["hu_sd"] == 0
    for height in third["height_mm"].values():
        assert height == pytest.approx(2 * half[2], abs=1.1)
    assert third["eroded_by_mm"] == 5.0
    # voxels of 2 mm whose centres lie 5 mm below the surface reach half a voxel outwards
    assert third["eroded_mm3"] == pytest.approx(8 * np.prod(half - 4.0), rel=0.1)
    assert found["sacrum"]["found"] and found["sacrum"]["flags"] == []


def test_heights_follow_a_turned_body():
    """The same body, turned by 20 degrees about the left-right axis, keeps its heights."""
    x, y, z = np.meshgrid(*[np.arange(-30, 30, 1.0)] * 3, indexing="ij")
    turn = np.radians(20.0)
    behind, up = y * np.cos(turn) - z * np.sin(turn), y * np.sin(turn) + z * np.cos(turn)
    wedge = 26.0 - 0.25 * (16.0 - behind)  # 8 mm lower in front
    inside = (abs(x) < 20) & (abs(behind) < 16) & (abs(up) < 0.5 * wedge)
    body = Body(points_mm=np.stack([x, y, z], axis=-1)[inside], spacing_mm_xyz=(1.0, 1.0, 1.0))
    heights = measure_heights(body, np.array([0.0, np.sin(turn), np.cos(turn)]))
    depth = 32.0
    for part, share in (("anterior", 0.19), ("middle", 0.5), ("posterior", 0.81)):
        assert heights[part] == pytest.approx(26.0 - 0.25 * depth * (1 - share), abs=0.6)


def test_levels_out_of_order_cost_all_densities():
    image, labels = draw()
    labels_zyx = array_zyx(labels)
    mirrored = np.where((labels_zyx > 0) & (labels_zyx < 6), 6 - labels_zyx, labels_zyx)
    found = find_levels(judged(image, image_like(mirrored, labels)))
    assert "levels_out_of_order" in found["scan"]["flags"]
    assert found["scan"]["class_withheld"] == "levels_out_of_order"
    for name in NAMES[:5]:
        assert found[name]["undefined"]["density"] == "levels_out_of_order" and not found[name]["usable"]


def test_a_skipped_level_is_a_gap():
    """L3 was not found, and the network called the body below it L3: L2 and L3 lie two steps apart."""
    spine = Spine()
    renamed = {"L1": spine.centers["L1"], "L2": spine.centers["L2"]}
    renamed |= {"L3": spine.centers["L4"], "L4": spine.centers["L5"]}
    found = levels_of(replace(spine, centers=renamed))
    assert "level_gap" in found["scan"]["flags"]
    assert found["L1"]["undefined"]["density"] == "level_gap"


def test_a_missing_level():
    found = levels_of(Spine().without("L1"))
    assert found["L1"]["flags"] == ["level_missing"] and not found["L1"]["found"]
    assert found["L1"]["undefined"]["density"] == "level_missing"
    assert found["L1"]["hu_mean"] is None and found["L1"]["undefined"]["hu_mean"] == "level_missing"
    assert found["L2"]["usable"]


def test_a_remnant_counts_as_missing():
    found = levels_of(replace(Spine(), halves={"L4": (10.0, 9.0, 7.0)}))
    assert "level_missing" in found["L4"]["flags"] and not found["L4"]["found"]


@pytest.mark.parametrize("half_mm", [(6.0, 1.1, 4.0), (1.1, 1.1, 1.1), (1.1, 9.0, 1.1), (9.0, 5.0, 1.1)])
def test_a_thin_remnant_has_no_heights(half_mm):
    found = levels_of(replace(Spine(), halves={"L4": half_mm}))
    json.dumps(found, allow_nan=False)
    assert "level_missing" in found["L4"]["flags"] and found["L4"]["hu_mean"] is None


def test_a_doubled_level_is_told_from_the_pieces_before_the_largest_was_chosen():
    image, labels = draw()
    raw = [array_zyx(labels) == number for number in range(1, 7)]
    raw[1] = raw[1] | box((119.0, 60.0, 210.0), (11.0, 11.0, 13.0))
    found = find_levels(judged(image, labels, raw_zyx=raw))
    assert flags_of(found) == {"L2": {"level_doubled"}}
    assert found["L2"]["components"] == 2 and found["L2"]["undefined"]["density"] == "level_doubled"


def test_merged_levels_are_only_told():
    spine = Spine()
    tall = dict.fromkeys(("L3", "L4"), (22.0, 16.0, 18.5))
    found = levels_of(replace(spine, halves=tall))
    assert flags_of(found)["L3"] >= {"levels_merged"} and flags_of(found)["L4"] >= {"levels_merged"}
    assert "density" not in found["L3"]["undefined"]


def test_a_body_at_the_end_of_the_scan():
    spine = Spine()
    raised = {name: tuple(np.add(at, (0, 0, 37.0))) for name, at in spine.centers.items()}
    found = levels_of(replace(spine, centers=raised))
    assert flags_of(found)["L1"] == {"level_cut_by_scan"}
    assert found["L1"]["undefined"]["density"] == "level_cut_by_scan"
    assert found["L2"]["flags"] == []


def test_a_flat_body_is_suspected_and_left_out_of_means():
    found = levels_of(replace(Spine(), halves={"L2": (22.0, 16.0, 9.0)}))
    assert flags_of(found) == {"L2": {"fracture_suspected"}}
    assert not found["L2"]["usable"] and "density" not in found["L2"]["undefined"]


def test_a_wedged_body_is_suspected():
    image, labels = draw()
    cut = box((119.0, 98.0, 66.0 + 2 * APART_MM + 11.0), (30.0, 8.0, 8.0))
    labels_zyx = array_zyx(labels)
    labels_zyx[cut & (labels_zyx == 3)] = 0
    found = find_levels(judged(image, image_like(labels_zyx, labels)))
    assert flags_of(found) == {"L3": {"fracture_suspected"}}
    heights = found["L3"]["height_mm"]
    assert heights["anterior"] < 0.8 * heights["posterior"]


def test_cement_and_sclerosis():
    inside = box((119.0, 110.0, 66.0 + 3 * APART_MM), (10.0, 8.0, 7.0))
    found = find_levels(judged(*painted(None, inside, 900)))
    assert flags_of(found) == {"L2": {"sclerosis_or_cement"}}
    assert not found["L2"]["usable"]


def test_an_uneven_body_beside_even_ones():
    """Half of it at 330 HU: below the limit of 400 HU, but its SD is many times that of its neighbours."""
    image, labels = draw()
    hu_zyx = array_zyx(image).astype(float)
    hu_zyx += np.random.default_rng(1).normal(0, 20, hu_zyx.shape)
    hu_zyx[box((119.0, 118.0, 66.0 + 3 * APART_MM), (22.0, 8.0, 13.0))] = 330
    found = find_levels(judged(image_like(np.rint(hu_zyx).astype(np.int16), image), labels))
    assert flags_of(found) == {"L2": {"sclerosis_or_cement"}}


@pytest.mark.parametrize(("away_mm", "near"), [(10.0, True), (40.0, False)])
def test_metal_near_a_body(away_mm, near):
    rod = box((119.0 + 22.0 + away_mm, 110.0, 66.0 + 2 * APART_MM), (3.0, 3.0, 6.0))
    found = find_levels(judged(*painted(None, rod, 3000)))
    assert ("hardware" in found["L3"]["flags"]) == near
    assert (found["L3"]["undefined"].get("density") == "hardware") == near
    assert "hardware" not in found["L1"]["flags"]


def test_a_scan_without_the_sacrum_cannot_be_counted():
    found = levels_of(replace(Spine(), sacrum=False))
    assert found["scan"] == {"flags": ["level_uncertain"], "class_withheld": "level_uncertain"}
    assert found["sacrum"]["flags"] == ["level_missing"]
    assert found["L1"]["usable"]


def test_a_body_between_l5_and_sacrum():
    spine = Spine()
    raised = {name: tuple(np.add(at, (0, 0, 34.0))) for name, at in spine.centers.items() if name != "L1"}
    found = levels_of(replace(spine, centers=raised))
    assert "transitional" in found["scan"]["flags"] and "level_uncertain" not in found["scan"]["flags"]


def test_room_for_six_bodies_is_told_whichever_has_no_name():
    up = (0, 0, APART_MM)
    six = Spine().moved("L1", up).moved("L2", up)  # the third body from above has no name
    found = levels_of(six)
    assert found["scan"]["flags"] == ["level_gap", "transitional"]


@pytest.mark.parametrize("half_mm", [HALF_MM_XYZ, (36.0, 8.0, 3.0)], ids=["vertebra", "remnant"])
def test_not_all_that_is_named_sacrum_is_one(half_mm):
    image, labels = draw(replace(Spine(), sacrum=False))
    labels_zyx = array_zyx(labels)
    labels_zyx[box((119.0, 110.0, 30.0), half_mm)] = NAMES.index("sacrum") + 1
    found = find_levels(judged(image, image_like(labels_zyx, labels)))
    assert found["scan"] == {"flags": ["level_uncertain"], "class_withheld": "level_uncertain"}
    assert found["sacrum"]["flags"] == ["level_missing"]


def test_levels_around_a_missing_one_keep_their_names():
    found = levels_of(Spine().without("L3"))
    assert flags_of(found) == {"L3": {"level_missing"}}
    assert found["L2"]["usable"] and found["L4"]["usable"]


def test_l1_without_ribs_beside_it():
    found = levels_of(replace(Spine(), ribs=False))
    assert found["scan"] == {"flags": ["transitional"], "class_withheld": "transitional"}


def test_a_narrow_view_says_nothing_of_ribs():
    image, labels = draw(replace(Spine(), ribs=False))
    narrow = (slice(25, 95), slice(None), slice(None))
    assert find_levels(judged(image[narrow], labels[narrow]))["scan"]["flags"] == []


@pytest.mark.parametrize(
    ("aorta_hu", "stated", "flagged"),
    [(45, "", False), (220, "", True), (45, "yes", True), (220, "no", False)],
)
def test_contrast_medium_is_stated_or_seen(aorta_hu, stated, flagged):
    found = levels_of(replace(Spine(), aorta_hu=aorta_hu), contrast=stated)
    assert ("contrast" in found["scan"]["flags"]) == flagged
    assert found["L1"]["usable"] and "density" not in found["L1"]["undefined"]


@pytest.mark.parametrize(("kvp", "flagged"), [(120.0, False), (None, False), (100.0, True)])
def test_another_tube_voltage(kvp, flagged):
    found = levels_of(kvp=kvp)
    assert found["scan"]["flags"] == (["kvp_off"] if flagged else [])
    assert found["scan"]["class_withheld"] == ("kvp_off" if flagged else "")


def test_nothing_found_at_all():
    image, labels = draw()
    empty = image_like(np.zeros(labels.GetSize()[::-1], np.uint8), labels)
    found = find_levels(judged(image, empty))
    assert {found[name]["flags"][0] for name in NAMES} == {"level_missing"}
    assert found["scan"]["flags"] == ["level_uncertain"]


def test_an_oblique_scan_has_the_same_levels():
    image, labels = draw()
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.radians([8.0, 5.0, -4.0]).tolist())
    for each in (image, labels):
        each.SetDirection(turn.GetMatrix())
    found = find_levels(judged(image, labels))
    assert flags_of(found) == {}
    index = image.TransformPhysicalPointToContinuousIndex(found["L3"]["centroid_mm_xyz"])
    assert np.array(index) * 2.0 == pytest.approx([119.0, 110.0, 66.0 + 2 * APART_MM], abs=1.01)


@pytest.mark.parametrize("flag", LEVEL_FLAGS)
def test_consequences_of_flags(flag):
    costs = LEVEL_FLAGS[flag].consequence
    assert (density_withheld([flag]) == flag) == (costs in ("scan", "level"))
    assert is_usable([flag]) == (costs in ("classes", "note"))
    if flag in SCANWIDE:
        assert classes_withheld([flag]) == (flag if costs in ("scan", "classes") else "")


def test_the_documentation_has_every_flag():
    page = Path(__file__).parents[2] / "docs/ct-spine.md"
    assert level_flags_table() in page.read_text()
