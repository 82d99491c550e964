"""Density by region and compartment: bodies with known densities, depth, borders, and what is undefined."""

from types import SimpleNamespace

import numpy as np
import pytest

from lib.catalog.bone_parts import COMPARTMENTS, COMPOSITES, REGIONS
from lib.catalog.calibration import NO_CALIBRATION
from lib.density.bone_voxels import cut_out
from lib.density.compartments import (
    FEWEST_VOXELS,
    NEEDS_DENSITIES,
    TOO_FEW,
    depth_mm,
    measure_compartments,
)
from lib.density.joint_gap import measure_joint_gap
from lib.density_settings import DensityConfig

CONFIG = DensityConfig()
SPACING = (2.0, 0.8, 0.8)


def rod(radius_mm=15.0, spacing=SPACING, size=(40, 60, 62)):
    """An upright rod through all slices, and the distance from its axis (y, x)."""
    y, x = np.indices(size[1:]) * np.array(spacing[1:]).reshape(2, 1, 1)
    away_mm = np.hypot(x - 24.7, y - 23.9)
    return np.broadcast_to(away_mm < radius_mm, size).astype(np.uint8), away_mm


def labelled(mask):
    """Labels of a rod: ten slices of each region, the head above."""
    labels = np.zeros(mask.shape, np.uint8)
    for value, start in zip(REGIONS.values(), (30, 20, 10, 0), strict=True):
        labels[start : start + 10] = value * mask[start : start + 10]
    return labels


def same(values):
    return values


def test_a_uniform_bone_has_the_mass_of_its_volume():
    labels = labelled(rod()[0])
    hu = np.full(labels.shape, 400, np.int16)
    measured = measure_compartments(
        cut_out(hu, labels, SPACING, lambda values: (values + 0.59) / 1.3846), {}, CONFIG
    )
    density = 400.59 / 1.3846
    for name, value in REGIONS.items():
        found = measured[name]["integral"]
        volume_mm3 = (labels == value).sum() * 1.28
        assert found["volume_mm3"] == pytest.approx(volume_mm3)
        assert found["vbmd_mg_cm3"] == pytest.approx(density) and found["vbmd_sd_mg_cm3"] == pytest.approx(0)
        assert found["bmc_mg"] == pytest.approx(density * volume_mm3 / 1000)
        assert found["hu_mean"] == 400 and found["undefined"] == {}
        assert found["vbmd_eroded_mg_cm3"] == pytest.approx(density)
        assert found["vbmd_dilated_mg_cm3"] == pytest.approx(density)


def test_composites_are_their_parts_and_compartments_add_up():
    labels = labelled(rod()[0])
    hu = np.random.default_rng(1).normal(350, 200, labels.shape)
    measured = measure_compartments(cut_out(hu, labels, SPACING, same), {}, CONFIG)
    for whole, parts in COMPOSITES.items():
        for name in ("voxels", "volume_mm3", "bmc_mg"):
            total = sum(measured[part]["integral"][name] for part in parts)
            assert measured[whole]["integral"][name] == pytest.approx(total)
    for region in measured.values():
        for name in ("voxels", "volume_mm3", "bmc_mg"):
            total = sum(region[compartment][name] for compartment in COMPARTMENTS[1:])
            assert region["integral"][name] == pytest.approx(total)


def test_compartments_are_told_apart_by_depth_and_density():
    """A shell of 800, spongy bone of 100, and a dense island of 500 on the axis, 9 mm below the surface."""
    mask, away_mm = rod()
    labels = labelled(mask)
    density = np.where(away_mm > 12.5, 800.0, np.where(away_mm < 6.0, 500.0, 100.0))
    density = np.broadcast_to(density, labels.shape)
    measured = measure_compartments(cut_out(density, labels, SPACING, same), {}, CONFIG)["neck"]
    slice_mm2 = 0.64
    voxels = {
        "cortical": away_mm[(away_mm < 15) & (away_mm > 12.5)].size,
        "other": away_mm[away_mm < 6.0].size,
        "trabecular": away_mm[(away_mm >= 6) & (away_mm < 12)].size,
    }
    assert measured["cortical"]["vbmd_mg_cm3"] == pytest.approx(800)
    assert measured["cortical"]["volume_mm3"] == pytest.approx(20 * slice_mm2 * voxels["cortical"])
    assert measured["trabecular"]["vbmd_mg_cm3"] == pytest.approx(100)
    assert measured["trabecular"]["volume_mm3"] == pytest.approx(
        20 * slice_mm2 * voxels["trabecular"], rel=0.05
    )
    other = measured["other"]  # the island and the rim of spongy bone within 3 mm of the surface
    assert other["voxels"] == 10 * (mask[0].sum() - voxels["cortical"]) - measured["trabecular"]["voxels"]
    assert 100 < other["vbmd_mg_cm3"] < 500


def test_densities_below_zero_count():
    labels = labelled(rod()[0])
    measured = measure_compartments(
        cut_out(np.full(labels.shape, -60.0), labels, SPACING, lambda hu: (hu + 0.59) / 1.3846), {}, CONFIG
    )
    assert measured["femur"]["trabecular"]["vbmd_mg_cm3"] == pytest.approx(-42.91, abs=0.01)
    assert measured["femur"]["trabecular"]["bmc_mg"] < 0
    assert measured["femur"]["integral"]["bmc_mg"] < 0


@pytest.mark.parametrize("spacing", [(3.0, 0.8, 0.8), (0.8, 0.8, 0.8), (2.0, 0.9, 0.9), (1.0, 0.7, 0.7)])
@pytest.mark.parametrize(("radius_mm", "deep_mm"), [(23.0, 3.0), (23.0, 7.0)])
def test_the_depth_in_a_ball_is_right(spacing, radius_mm, deep_mm):
    z, y, x = (np.arange(-28.0, 28.0, step) + 0.3 * step for step in spacing)
    z, y, x = np.meshgrid(z, y, x, indexing="ij")
    deep = depth_mm(x**2 + y**2 + z**2 < radius_mm**2, spacing)
    wanted_mm3 = 4 / 3 * np.pi * (radius_mm - deep_mm) ** 3
    assert (deep >= deep_mm).sum() * np.prod(spacing) == pytest.approx(wanted_mm3, rel=0.035)


def test_cut_ends_and_planes_between_regions_are_no_surface():
    """The depth in a rod that the scan cuts at both ends is the distance from its side, in all slices and regions."""
    mask, away_mm = rod()
    deep = depth_mm(mask > 0, SPACING)
    assert (deep == deep[0]).all()
    inner = away_mm < 14
    assert np.abs(deep[0] - (15.0 - away_mm))[inner].max() < 0.8
    density = np.full(mask.shape, 100.0)
    measured = measure_compartments(cut_out(density, labelled(mask), SPACING, same), {}, CONFIG)
    voxels = [measured[name]["trabecular"]["voxels"] for name in ("neck", "trochanter", "shaft")]
    assert len(set(voxels)) == 1 and voxels[0] > 0


def test_the_lower_end_of_a_mask_above_the_end_of_the_scan_is_no_surface():
    mask, _ = rod()
    mask = mask.copy()
    mask[:6] = 0
    voxels = cut_out(np.zeros(mask.shape), labelled(mask), SPACING, same)
    assert voxels.start_zyx[0] == 6 and (voxels.labels_zyx[0] > 0).any()
    measured = measure_compartments(voxels, {}, CONFIG)
    # per slice the shaft has as many deep voxels as the neck
    assert measured["shaft"]["trabecular"]["voxels"] / 4 == measured["neck"]["trabecular"]["voxels"] / 10


def test_borders_moved_by_a_voxel_tell_how_much_the_mask_matters():
    """Density 600 in the outermost voxels of the rod, 100 inside and 0 outside."""
    mask, _ = rod()
    labels = labelled(mask)
    inner = np.zeros_like(mask)
    inner[:, 1:-1, 1:-1] = (
        mask[:, :-2, 1:-1] & mask[:, 2:, 1:-1] & mask[:, 1:-1, :-2] & mask[:, 1:-1, 2:] & mask[:, 1:-1, 1:-1]
    )
    density = np.where(mask, np.where(inner, 100.0, 600.0), 0.0)
    found = measure_compartments(cut_out(density, labels, SPACING, same), {}, CONFIG)["trochanter"][
        "integral"
    ]
    count, rim = int(mask[0].sum()), int(mask[0].sum() - inner[0].sum())
    grown = np.zeros_like(mask[0])
    for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        grown |= np.roll(mask[0], step, axis)
    new = int(((grown > 0) & (mask[0] == 0)).sum())
    mean = (100 * (count - rim) + 600 * rim) / count
    assert found["vbmd_mg_cm3"] == pytest.approx(mean)
    assert found["vbmd_eroded_mg_cm3"] == pytest.approx(100)
    assert found["vbmd_dilated_mg_cm3"] == pytest.approx(mean * count / (count + new))


def test_few_voxels_have_no_density():
    mask, away_mm = rod(radius_mm=3.3)  # thinner than the peel on both sides
    labels = labelled(mask)
    measured = measure_compartments(cut_out(np.full(mask.shape, 90.0), labels, SPACING, same), {}, CONFIG)
    found = measured["neck"]["trabecular"]
    assert found["voxels"] < FEWEST_VOXELS and found["vbmd_mg_cm3"] is None and found["bmc_mg"] is None
    assert found["undefined"]["vbmd_mg_cm3"] == TOO_FEW.format(FEWEST_VOXELS, found["voxels"])
    assert measured["neck"]["integral"]["vbmd_mg_cm3"] == pytest.approx(90)
    for region in measured.values():
        for found in region.values():
            assert all((value is None) == (name in found["undefined"]) for name, value in found.items())


def test_without_a_calibration_there_are_volumes_and_hu_only():
    labels = labelled(rod()[0])
    measured = measure_compartments(cut_out(np.full(labels.shape, 123.0), labels, SPACING), {}, CONFIG)
    integral, trabecular = measured["head"]["integral"], measured["head"]["trabecular"]
    assert integral["hu_mean"] == 123 and integral["volume_mm3"] > 0
    assert integral["vbmd_mg_cm3"] is None and integral["undefined"]["bmc_mg"] == NO_CALIBRATION
    assert integral["undefined"]["vbmd_eroded_mg_cm3"] == NO_CALIBRATION
    assert trabecular["volume_mm3"] is None and trabecular["undefined"][
        "volume_mm3"
    ] == NEEDS_DENSITIES.format(NO_CALIBRATION)


def test_a_region_that_is_undefined_takes_its_composites_along():
    labels = labelled(rod()[0])
    voxels = cut_out(np.full(labels.shape, 123.0), labels, SPACING, same)
    measured = measure_compartments(voxels, {"trochanter": "cut", "shaft": "cut"}, CONFIG)
    assert {name for name, found in measured.items() if found["integral"]["bmc_mg"] is None} == {
        *("trochanter", "shaft", "total", "femur"),
    }
    assert measured["total"]["cortical"]["undefined"]["volume_mm3"] == "cut"
    nothing = measure_compartments(None, dict.fromkeys(REGIONS, "no head"), CONFIG)
    assert nothing["femur"]["integral"]["undefined"]["vbmd_dilated_mg_cm3"] == "no head"


def test_nothing_labelled_is_nothing_to_measure():
    assert cut_out(np.zeros((5, 5, 5)), np.zeros((5, 5, 5), np.uint8), SPACING, same) is None


def test_dense_bone_on_the_surface_that_faces_the_socket_is_counted():
    z, y, x = np.indices((40, 60, 60)) * np.array((1.0, 0.8, 0.8)).reshape(3, 1, 1, 1)
    ball = (x - 24) ** 2 + (y - 24) ** 2 + (z - 20) ** 2 < 18**2
    pose = SimpleNamespace(head_center_xyz_mm=(24.0, 24.0, 20.0), neck_axis_xyz=(1.0, 0.0, 0.0))
    labels = ball.astype(np.uint8) * REGIONS["head"]
    shares = {}
    for name, dense in (("none", x < -1), ("upper half", z > 20), ("lateral", x > 30), ("all", x > -1)):
        density = np.where(dense, 700.0, 300.0)
        shares[name] = measure_joint_gap(cut_out(density, labels, (1.0, 0.8, 0.8), same), pose).dense_share
    assert shares["none"] == shares["lateral"] == 0 and shares["all"] == 1
    assert shares["upper half"] == pytest.approx(0.5, abs=0.05)
    few = measure_joint_gap(cut_out(np.zeros(ball.shape), labels * (x > 24), (1.0, 0.8, 0.8), same), pose)
    assert few.dense_share is None and few.undefined
