"""The areal projection: mass, areas and densities of solids and people, turned femurs, T-scores, and the figure."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lib.anatomy.femur.axes import find_geometry
from lib.anatomy.femur.bone_regions import divide, find_undefined
from lib.catalog.bone_parts import COMPOSITES, REGIONS, ROIS
from lib.catalog.calibration import NO_CALIBRATION
from lib.density.areal import project
from lib.density.bone_voxels import cut_out
from lib.density.compartments import depth_mm, measure_compartments
from lib.density.dxa import NHANES_III, NO_REFERENCE, t_scores
from lib.density_settings import ArealConfig, DensityConfig, DxaLine
from lib.phantom.mesh import offset
from lib.phantom.voxelize import coverage
from tests.unit.femur_masks import (
    FINE,
    ISTHMUS_MM,
    NECK_MM,
    SHAFT_MM,
    THICK,
    TURN,
    grid_around,
    model_femur,
    neck_radius_mm,
    person_femur,
    solid_hip,
)

CONFIG = DensityConfig()


def projected(mask, spacing, side="left", *, density=300.0, areal=CONFIG.areal):
    """Divide and project a femur; `density` is a number or a field (z, y, x)."""
    geometry = find_geometry(mask, spacing, side, CONFIG)
    field = np.broadcast_to(density, mask.shape)
    voxels = cut_out(field, divide(mask, spacing, geometry), spacing, lambda values: values)
    undefined = find_undefined(geometry)
    measured, picture = project(voxels, geometry, undefined, areal)
    return measured, picture, measure_compartments(voxels, undefined, CONFIG)


def shell_field(mask, spacing):
    """Densities of 800 mg/cm3 at the surface that fall to 100 inside."""
    return 100.0 + 700.0 * np.exp(-((depth_mm(mask, spacing) / 3.0) ** 2))


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), TURN])
@pytest.mark.parametrize("spacing", [THICK, FINE, (2.0, 0.9, 0.9)])
def test_the_projection_keeps_all_mineral(spacing, turn):
    femur = model_femur(2, "left", spacing, turn=turn)
    density = np.random.default_rng(3).normal(250, 300, femur.mask_zyx.shape)
    measured, picture, volumetric = projected(femur.mask_zyx, spacing, density=density)
    for roi in ("total", "trochanter"):
        found, bmc_mg = measured[roi], volumetric[roi]["integral"]["bmc_mg"]
        assert found["bmc_g"] * 1000 == pytest.approx(bmc_mg, rel=1e-9)
        assert found["abmd_g_cm2"] * found["area_cm2"] * 1000 == pytest.approx(bmc_mg, rel=1e-9)
    everything_mg = sum(volumetric[name]["integral"]["bmc_mg"] for name in REGIONS)
    pixel_cm2 = (picture.pixel_mm / 10) ** 2
    assert picture.density_g_cm2.sum() * pixel_cm2 * 1000 == pytest.approx(everything_mg, rel=1e-9)


@pytest.mark.parametrize("spacing", [THICK, FINE])
def test_what_lies_outside_of_the_pixels_that_count_is_little(spacing):
    femur = model_femur(5, "right", spacing)
    measured, picture, _ = projected(
        femur.mask_zyx, spacing, "right", density=shell_field(femur.mask_zyx, spacing)
    )
    own = picture.density_g_cm2[np.isin(picture.regions, [REGIONS[name] for name in COMPOSITES["total"]])]
    assert own.sum() * (picture.pixel_mm / 10) ** 2 == pytest.approx(measured["total"]["bmc_g"], rel=0.03)


@pytest.mark.parametrize("spacing", [THICK, FINE, (2.0, 0.9, 0.9)])
def test_areal_densities_of_solids_are_those_of_their_thickness(spacing):
    mask, _ = solid_hip(spacing)
    measured, picture, _ = projected(mask, spacing, density=300.0)
    # the mean thickness of a cylinder is pi r / 2; mg/cm3 x mm = 1e-4 g/cm2
    assert measured["neck"]["abmd_g_cm2"] == pytest.approx(300e-4 * np.pi * NECK_MM / 2, rel=0.03)
    along_mm = np.linspace(ISTHMUS_MM - 7.5, ISTHMUS_MM + 7.5, 100)
    area_mm2 = np.trapezoid(2 * neck_radius_mm(along_mm), along_mm)
    assert measured["neck"]["area_cm2"] == pytest.approx(area_mm2 / 100, rel=0.03)
    shaft = picture.regions == REGIONS["shaft"]
    assert picture.density_g_cm2[shaft].mean() == pytest.approx(300e-4 * np.pi * SHAFT_MM / 2, rel=0.03)


def test_the_width_of_the_box_is_the_setting():
    mask, _ = solid_hip(FINE)
    narrow, wide = (
        projected(mask, FINE, areal=ArealConfig(neck_box_mm=width))[0]["neck"] for width in (6.0, 12.0)
    )
    assert wide["area_cm2"] == pytest.approx(2 * narrow["area_cm2"], rel=0.05)
    assert wide["abmd_g_cm2"] == pytest.approx(narrow["abmd_g_cm2"], rel=0.02)


def test_areal_densities_repeat_between_grids_turns_pixels_and_sides():
    for seed, side in ((1, "left"), (6, "right")):
        found = {}
        for name, spacing, turn, pixel_mm in (
            ("fine", FINE, (0, 0, 0), 0.5),
            ("thick", THICK, (0, 0, 0), 0.5),
            ("turned", FINE, TURN, 0.5),
            ("coarse", FINE, (0, 0, 0), 1.0),
        ):
            femur = model_femur(seed, side, spacing, turn=turn)
            found[name] = projected(
                femur.mask_zyx, spacing, side, density=300.0, areal=ArealConfig(pixel_mm=pixel_mm)
            )[0]
        for name in ("thick", "turned", "coarse"):
            for roi, most in (("total", 0.02), ("trochanter", 0.03), ("neck", 0.03)):
                same = pytest.approx(found["fine"][roi]["abmd_g_cm2"], rel=most)
                assert found[name][roi]["abmd_g_cm2"] == same, (name, roi)


def test_a_mirrored_femur_has_the_same_densities_and_its_picture_is_mirrored():
    mask, _ = solid_hip(FINE)
    left, seen, _ = projected(mask, FINE)
    right, mirrored, _ = projected(mask[:, :, ::-1], FINE, "right")
    for roi in ROIS:
        assert right[roi]["abmd_g_cm2"] == pytest.approx(left[roi]["abmd_g_cm2"], rel=2e-3)
    columns = [
        np.nonzero((picture.regions == REGIONS["head"]).any(axis=0))[0].mean() for picture in (seen, mirrored)
    ]
    middle = seen.regions.shape[1] / 2
    # the head lies at the body's middle: left of a left femur's shaft in the picture, where the patient's right is
    assert columns[0] < middle < columns[1]


def test_the_tip_of_the_greater_trochanter_does_not_count_in_the_neck():
    femur = model_femur(5, "left", FINE)
    geometry = find_geometry(femur.mask_zyx, FINE, "left", CONFIG)
    labels = divide(femur.mask_zyx, FINE, geometry)
    plain = np.full(labels.shape, 300.0)
    dense = np.where(labels == REGIONS["trochanter"], 3000.0, 300.0)
    neck = [
        project(cut_out(field, labels, FINE, lambda values: values), geometry, {}, CONFIG.areal)[0]["neck"]
        for field in (plain, dense)
    ]
    assert neck[0] == neck[1]


def test_regions_that_are_undefined_have_no_areal_density():
    mask, _ = solid_hip(FINE)
    measured, picture, _ = projected(mask[62:], FINE)
    assert measured["total"]["abmd_g_cm2"] is None and measured["trochanter"]["area_cm2"] is None
    assert "ends above the plane" in measured["total"]["undefined"]["abmd_g_cm2"]
    assert measured["neck"]["abmd_g_cm2"] > 0 and set(picture.rois) == {"neck"}
    geometry = find_geometry(mask, FINE, "left", CONFIG)
    bare = cut_out(np.zeros(mask.shape), divide(mask, FINE, geometry), FINE)
    found, none = project(bare, geometry, {}, CONFIG.areal)
    assert none is None and found["neck"]["undefined"]["bmc_g"] == NO_CALIBRATION
    found, none = project(None, geometry, dict.fromkeys(REGIONS, "no head"), CONFIG.areal)
    assert none is None and found["total"]["undefined"]["bmc_g"] == "no head"


def scanned(femur, spacing, blur_mm):
    """Measure a femur with a cortex of 1.8 mm, 950 mg/cm3, around 120 mg/cm3, as a scanner with a blur shows it."""
    grid = grid_around(femur, spacing, 118.0)
    whole, inner = coverage(femur, grid, 2), coverage(offset(femur, -1.8), grid, 2)
    density = 950 * (whole - inner) + 120 * inner - 30 * (1 - whole)
    if blur_mm:
        density = ndimage.gaussian_filter(density, [0, blur_mm / spacing[1], blur_mm / spacing[2]])
    measured, _, volumetric = projected(whole >= 0.5, spacing, density=density)
    return measured, volumetric


def test_blur_takes_mineral_out_of_the_mask_and_leaves_trabecular_bone():
    """Partial volume and blur move mineral of the cortex beyond the border of the mask: docs/regions.md."""
    femur = person_femur(0, "left")
    true_areal, true = scanned(femur, (0.5, 0.5, 0.5), 0.0)
    for spacing, blur_mm, least, most in (
        ((2.0, 0.85, 0.85), 0.0, -6, -2),
        ((2.0, 0.85, 0.85), 0.7, -13, -6),
    ):
        areal, found = scanned(femur, spacing, blur_mm)
        lost = 100 * (found["femur"]["integral"]["bmc_mg"] / true["femur"]["integral"]["bmc_mg"] - 1)
        lost_areal = 100 * (areal["total"]["abmd_g_cm2"] / true_areal["total"]["abmd_g_cm2"] - 1)
        assert least < lost < most and least - 2 < lost_areal < most
        for region in ("head", "neck", "trochanter"):
            values = (measured[region]["trabecular"]["vbmd_mg_cm3"] for measured in (found, true))
            assert abs(np.subtract(*values)) < 3.0, region


def test_t_scores_need_the_users_line_and_are_those_of_young_white_women():
    areal = {
        "neck": {"abmd_g_cm2": 0.70, "undefined": {}},
        "total": {"abmd_g_cm2": None, "undefined": {"abmd_g_cm2": "cut"}},
        "trochanter": {"abmd_g_cm2": 0.6, "undefined": {}},
    }
    line = DxaLine(slope=1.1, intercept=-0.03, source="pairs of our own")
    assert t_scores(areal, "k2hpo4", None) == {}
    found = t_scores(areal, "k2hpo4", line)
    assert found["neck"].abmd_dxa_g_cm2 == pytest.approx(0.74)
    assert found["neck"].t_score == pytest.approx((0.74 - 0.858) / 0.120)
    assert found["total"].t_score is None and found["total"].undefined == "cut"
    assert found["trochanter"].t_score is None and found["trochanter"].undefined == NO_REFERENCE
    for scale in ("caha", "k2hpo4_referenced", "k2hpo4_michalski"):
        other = t_scores(areal, scale, line)["neck"]
        assert (other.abmd_dxa_g_cm2, other.t_score) == (None, None)
        assert other.undefined == f"the line to DXA holds for k2hpo4, and the scan is calibrated in {scale}"
    assert t_scores(areal, "caha", replace(line, scale="caha"))["neck"].t_score == found["neck"].t_score
    assert NHANES_III["total"] == (0.942, 0.122)
    assert {roi for roi, classed in ROIS.items() if classed} == set(NHANES_III)
