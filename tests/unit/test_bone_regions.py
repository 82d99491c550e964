"""Regions of a femur by planes of the bone: they tile the mask, have the volumes of solids, and repeat."""

import numpy as np
import pytest
from scipy import ndimage

from lib.anatomy.femur.axes import find_geometry
from lib.anatomy.femur.bone_regions import divide, find_undefined
from lib.anatomy.femur.landmarks import EMPTY
from lib.catalog.anatomies import LEVELS
from lib.catalog.bone_parts import COMPOSITES, REGIONS
from lib.density_settings import DensityConfig
from tests.unit.femur_masks import FINE, HEAD_MM, NECK_MM, THICK, TURN, model_femur, neck_radius_mm, solid_hip

CONFIG = DensityConfig()


def divided(mask, spacing, side="left"):
    geometry = find_geometry(mask, spacing, side, CONFIG)
    return divide(mask, spacing, geometry), geometry


def volumes_mm3(labels, spacing):
    return np.bincount(labels.ravel(), minlength=5)[1:] * np.prod(spacing)


@pytest.fixture(scope="module")
def people():
    """Divided femurs of the shape model: mask, labels, geometry, spacing."""
    made = []
    for seed, side in enumerate(("left", "right") * 3):
        for spacing, turn in ((FINE, (0, 0, 0)), (THICK, (0, 0, 0)), (THICK, TURN)):
            femur = model_femur(seed, side, spacing, turn=turn)
            labels, geometry = divided(femur.mask_zyx, spacing, side)
            made.append((femur.mask_zyx, labels, geometry, spacing))
    return made


def test_values_are_those_of_the_levels():
    assert REGIONS == {"head": 1, "neck": 2, "trochanter": 3, "shaft": 4} and tuple(REGIONS) == LEVELS
    assert {part for parts in COMPOSITES.values() for part in parts} <= set(REGIONS)


def test_regions_tile_the_mask_and_are_one_body_each(people):
    for mask, labels, geometry, _ in people:
        assert ((labels > 0) == mask).all() and labels.dtype == np.uint8
        assert find_undefined(geometry) == {}
        for name in ("head", "neck", "trochanter"):
            pieces = np.bincount(ndimage.label(labels == REGIONS[name])[0].ravel())[1:]
            assert pieces.max() > 0.998 * pieces.sum(), name


def test_volumes_repeat_between_grids_and_turns(people):
    for fine, *others in zip(people[::3], people[1::3], people[2::3], strict=True):
        true = volumes_mm3(fine[1], FINE)
        for _, labels, _, spacing in others:
            head, neck, trochanter, _ = volumes_mm3(labels, spacing) / true - 1
            assert abs(head) < 0.02 and abs(neck) < 0.09 and abs(trochanter) < 0.05


def test_regions_of_solids_have_their_volumes():
    mask, _ = solid_hip(FINE)
    labels, geometry = divided(mask, FINE)
    head_mm3, neck_mm3, _, shaft_mm3 = volumes_mm3(labels, FINE)
    begins_mm = np.sqrt(HEAD_MM**2 - NECK_MM**2)
    cap_mm = HEAD_MM - begins_mm
    ball_mm3 = 4 / 3 * np.pi * HEAD_MM**3 - np.pi * cap_mm**2 * (3 * HEAD_MM - cap_mm) / 3
    assert head_mm3 == pytest.approx(ball_mm3, rel=0.01)
    along_mm = np.linspace(geometry.neck_begins_mm, geometry.neck_ends_mm, 200)
    waisted_mm3 = np.trapezoid(np.pi * neck_radius_mm(along_mm) ** 2, along_mm)
    assert neck_mm3 == pytest.approx(waisted_mm3, rel=0.04)
    end_mm = (
        geometry.distal_xyz_mm[2] + 0.4
    )  # the plane is level; the scan's lower face lies 0.4 mm below the origin
    assert shaft_mm3 == pytest.approx(np.pi * 17**2 * end_mm, rel=0.01)


def test_the_tip_of_the_greater_trochanter_belongs_to_the_trochanter(people):
    """It lies medial of the plane between neck and trochanter, and above it."""
    seen = 0
    for _, labels, geometry, spacing in people:
        points_mm = (np.argwhere(labels == REGIONS["trochanter"]) * spacing)[:, ::-1]
        along_mm = (points_mm - geometry.head_center_xyz_mm) @ geometry.neck_axis_xyz
        medial = along_mm < geometry.neck_ends_mm
        seen += medial.sum() * np.prod(spacing) > 300
        highest = points_mm[points_mm[:, 2].argmax()]
        lateral_mm = (highest - geometry.head_center_xyz_mm)[0] * (1 if geometry.side == "left" else -1)
        assert lateral_mm > geometry.head_radius_mm  # the top of the region is the trochanter, not the neck
    assert seen >= 6


def test_a_shaft_is_known_below_the_plane_only():
    mask, _ = solid_hip(FINE)
    labels, geometry = divided(mask, FINE)
    z_mm = np.arange(len(mask)) * 0.8
    for name, inside in (
        ("shaft", z_mm < geometry.distal_xyz_mm[2]),
        ("trochanter", z_mm >= geometry.distal_xyz_mm[2]),
    ):
        slices = (labels == REGIONS[name]).any(axis=(1, 2))
        assert slices.any() and not (slices & ~inside).any()


def test_regions_that_the_scan_cuts_are_undefined_and_head_and_neck_stay():
    complete, _ = solid_hip(FINE)
    mask = complete[62:]  # 70.4 mm below the head's centre, 8 mm below the tip of the trochanter
    labels, geometry = divided(mask, FINE)
    assert ((labels > 0) == mask).all() and not (labels == REGIONS["shaft"]).any()
    assert find_undefined(geometry) == dict.fromkeys(
        ("trochanter", "shaft"), geometry.undefined["distal_xyz_mm"]
    )
    whole, _ = divided(complete, FINE)
    for name in ("head", "neck"):
        assert (labels == REGIONS[name]).sum() == pytest.approx((whole == REGIONS[name]).sum(), rel=0.001)


def test_without_a_head_there_are_no_regions():
    mask = np.zeros((20, 20, 20), bool)
    labels, geometry = divided(mask, THICK)
    assert not labels.any() and find_undefined(geometry) == dict.fromkeys(REGIONS, EMPTY)


def test_bone_medial_of_the_head_belongs_to_it():
    """A mask that leaks into the socket changes the head, where the check of the joint gap looks for it."""
    mask, center_mm = solid_hip(FINE)
    z, y, x = np.indices(mask.shape) * 0.8
    leak = ((x - center_mm[0] + 24) ** 2 + (y - center_mm[1]) ** 2 + (z - center_mm[2] - 12) ** 2) < 5**2
    labels, _ = divided(mask | leak, FINE)
    assert (labels[leak & ~mask] == REGIONS["head"]).all() and (leak & ~mask).sum() > 100
