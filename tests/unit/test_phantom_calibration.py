"""Rods are found by the geometry of their certificate, and give the line that the scanner had."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from rod_scene import CAHA, MINDWAYS, PHANTOM_MM, RODS_HU, RodScene, certificate, scene, shown_hu

from lib.calibrated import Calibration
from lib.calibration_settings import CalibrationConfig
from lib.catalog.calibration import REFUSALS
from lib.certificates import Rod
from lib.density.calibrate_scan import CalibrationRequest, calibrate_scan
from lib.density.phantom_calibration import calibrate_by_phantom
from lib.density.rod_line import fit_rods
from lib.phantom.scanner import ct_effects
from lib.phantom.scanner.machines import CtScanner
from lib.phantom.voxelize import VoxelGrid

CONFIG = CalibrationConfig()
EVEN = {
    "scale": "k2hpo4",
    "rods": [{"density_mg_cm3": density} for density in (0, 50, 100, 150, 200)],
    "rod_radius_mm": 9.0,
    "rod_distance_mm": 32.0,
}


def calibrated(made, entry=MINDWAYS, **changed):
    image = made if isinstance(made, sitk.Image) else made.image()
    return calibrate_by_phantom(image, certificate(entry, **changed), CONFIG)


def is_line(found, slope=1.3846, intercept_hu=-0.59):
    """The acceptance: slope within 0.5 %, intercept within 1 HU."""
    assert found.slope_hu_per_mg_cm3 == pytest.approx(slope, rel=0.005)
    assert found.intercept_hu == pytest.approx(intercept_hu, abs=1.0)
    return True


def test_the_line_of_the_published_certificate():
    line = fit_rods(RODS_HU, certificate().rods)
    assert (line.slope, line.intercept_hu) == pytest.approx((1.3846, -0.59), abs=5e-3)
    assert line.r2 > 0.999999 and np.abs(line.residuals_hu).max() < 1
    assert line.slope_se < 0.001 and line.density_se_at_100 < 0.2


def test_without_the_water_column_the_line_is_wrong_by_47_mg_cm3():
    rods = certificate().rods
    right, plain = (
        fit_rods(RODS_HU, rods),
        fit_rods(RODS_HU, [replace(rod, water_mg_cm3=None) for rod in rods]),
    )
    wrong = [
        (hu - plain.intercept_hu) / plain.slope - (hu - right.intercept_hu) / right.slope
        for hu in (0, 150, 1200)
    ]
    assert wrong == pytest.approx([-47, -47, -43], abs=0.6)
    assert plain.r2 == pytest.approx(0.928, abs=1e-3)


def test_standard_errors_of_a_line_by_hand():
    """x = 0, 1, 2, 3 and residuals (1, -1, -1, 1) around 2 x + 5: s2 = 4 / 2, Sxx = 5, mean 1.5."""
    line = fit_rods([6.0, 6.0, 8.0, 12.0], [Rod(density_mg_cm3=x) for x in (0.0, 1.0, 2.0, 3.0)])
    assert (line.slope, line.intercept_hu) == pytest.approx((2, 5))
    assert line.slope_se == pytest.approx((2 / 5) ** 0.5)
    assert line.intercept_se == pytest.approx((2 * (1 / 4 + 1.5**2 / 5)) ** 0.5)
    assert line.density_se_at_100 == pytest.approx((2 * (1 / 4 + 98.5**2 / 5)) ** 0.5 / 2)
    assert line.residual_sd == pytest.approx(2**0.5 / 2)
    three = fit_rods([0.0, 1.0, 2.0], [Rod(density_mg_cm3=x) for x in (0.0, 1.0, 2.0)])
    assert three.slope_se is None and three.density_se_at_100 is None


@pytest.mark.parametrize(("slope", "intercept_hu"), [(1.1, -10.0), (1.3846, -0.59), (1.7, 12.0)])
def test_five_rods_give_the_scanners_line(slope, intercept_hu):
    found = calibrated(scene(shown_hu(MINDWAYS, slope, intercept_hu)))
    assert is_line(found, slope, intercept_hu)
    assert (found.verdict, found.reversed, list(found.flags)) == ("ok", False, [])
    assert found.density_mg_cm3(slope * 100 + intercept_hu) == pytest.approx(100, abs=1)
    assert [rod["x_mm"] for rod in found.rods] == pytest.approx([-64, -32, 0, 32, 64], abs=1)
    assert [rod["y_mm"] for rod in found.rods] == pytest.approx([PHANTOM_MM[1]] * 5, abs=1)
    assert found.rods[4]["hu_mean"] == pytest.approx(shown_hu(MINDWAYS, slope, intercept_hu)[4], abs=1)
    assert found.rods[4]["hu_sd"] == pytest.approx(15, abs=1) and found.rods[4]["voxels"] > 2500


def test_other_phantoms():
    found = calibrated(scene(shown_hu(CAHA, 1.55, 6.0), distance_mm=30.0), CAHA)
    assert is_line(found, 1.55, 6.0) and found.scale == "caha" and found.slope_se is None
    found = calibrated(scene(shown_hu(EVEN, 1.3, 2.0)), EVEN)
    assert is_line(found, 1.3, 2.0)


@pytest.mark.parametrize("seed", range(6))
def test_phantoms_of_any_shape_and_order(seed):
    """Number, densities, size and distance of the rods, their order and the scanner's line are drawn."""
    rng = np.random.default_rng(seed)
    count, radius_mm = int(rng.integers(3, 7)), float(rng.choice([6.0, 7.5, 9.0]))
    distance_mm = round(float(rng.uniform(2 * radius_mm + 8, 36)), 1)
    rods = [{"density_mg_cm3": round(float(density), 1)} for density in rng.uniform(-60, 600, count)]
    for rod in rods if seed % 2 else ():
        rod["water_mg_cm3"] = round(float(rng.uniform(920, 1120)), 1)
    entry = {"scale": "k2hpo4", "rods": rods, "rod_radius_mm": radius_mm, "rod_distance_mm": distance_mm}
    slope, intercept_hu, is_reversed = rng.uniform(1.1, 1.75), rng.uniform(-15, 15), bool(rng.integers(2))
    rods_hu = shown_hu(entry, slope, intercept_hu)
    made = RodScene()
    made.body()
    made.phantom(rods_hu[::-1] if is_reversed else rods_hu, distance_mm, radius_mm=radius_mm)
    found = calibrated(made.image(noise_hu=rng.uniform(8, 30), seed=seed), entry)
    assert found.is_usable and found.reversed == is_reversed
    assert found.slope_hu_per_mg_cm3 == pytest.approx(slope, rel=0.005)
    middle = np.mean([rod["density_mg_cm3"] for rod in rods])
    assert found.density_mg_cm3(slope * middle + intercept_hu) == pytest.approx(middle, abs=1)


def test_uneven_distances():
    made, distances = RodScene(), [20.0, 30.0, 45.0, 25.0]
    made.fill(13.5 - np.hypot(np.maximum(np.abs(made.x) - 65, 0), made.y - 90), 25.0)
    for x, hu in zip(np.cumsum([-60.0, *distances]), RODS_HU, strict=True):
        made.rods((hu,), center_mm=(x, 90.0))
    found = calibrated(made, rod_distance_mm=distances)
    assert is_line(found) and found.rods[2]["x_mm"] == pytest.approx(-10, abs=1)


def test_reversed_rods_are_found_where_they_may_be():
    made = scene(RODS_HU[::-1])
    found = calibrated(made)
    assert is_line(found) and found.reversed and found.rods[0]["x_mm"] == pytest.approx(64, abs=1)
    found = calibrated(made, may_lie_reversed=False)
    assert (found.verdict, found.slope_hu_per_mg_cm3) == ("refused", None)


@pytest.mark.parametrize("turned", [(8.0, 0.0), (0.0, 6.0), (-6.0, 5.0)])
def test_an_oblique_grid_changes_nothing(turned):
    found = calibrated(scene(turned=turned))
    assert is_line(found)
    # rods stand still in the patient
    assert [rod["x_mm"] for rod in found.rods] == pytest.approx([-64, -32, 0, 32, 64], abs=1.5)
    assert [rod["y_mm"] for rod in found.rods] == pytest.approx([90] * 5, abs=1.5)


def test_equal_steps_in_both_orders_are_ambiguous():
    """Rods of 0, 100, 200, 300 HU fit 0, 70, 140, 210 mg/cm3; a symmetric certificate fits both ways."""
    entry = {**EVEN, "rods": [{"density_mg_cm3": d} for d in (200, 0, 100, 0, 200)]}
    found = calibrated(scene(shown_hu(entry, 1.4, 0.0)), entry)
    assert (found.verdict, found.reason) == ("refused", "rods_ambiguous")
    assert "order with residuals" in found.found
    assert is_line(calibrated(scene(shown_hu(entry, 1.4, 0.0)), entry, may_lie_reversed=False), 1.4, 0.0)


def test_rods_outside_of_the_field_of_view_are_left_out_and_named():
    # the first rod ends 3 mm inside of it
    made = scene(size_mm_xy=(2 * (64 + 3.0), 300.0))
    found = calibrated(made)
    assert is_line(found) and (found.verdict, list(found.flags)) == ("flagged", ["rods_left_out"])
    assert [rod["used"] for rod in found.rods] == [False, True, True, True, False]
    assert "rod 1 partly outside of the field of view" in found.found
    assert found.rods[0]["hu_mean"] is None and found.rods[0]["voxels"] == 0


def test_padding_around_a_round_field_of_view_is_outside():
    made = scene()
    image = made.image()
    hu = sitk.GetArrayFromImage(image)
    hu[:, (np.hypot(made.x, made.y - 60) > 70)[0]] = -1024
    cut = sitk.GetImageFromArray(hu)
    cut.CopyInformation(image)
    found = calibrated(cut)
    assert is_line(found) and [rod["used"] for rod in found.rods] == [False, True, True, True, False]


def test_two_rods_are_too_few():
    made = scene()
    image = made.image()[: round(0.5 * 300 / 0.9) - 15]  # rods 1 and 2, and a part of rod 3
    found = calibrated(image, rods=MINDWAYS["rods"][::-1])
    assert found.verdict == "refused"
    made = scene()
    image = made.image()[round((150 + 16) / 0.9) :]  # rods 4 and 5
    found = calibrated(image)
    assert (found.verdict, found.reason, found.rods) == ("refused", "too_few_rods", ())
    assert "2 of 5 rods" in found.found


def test_a_phantom_whose_certificate_lists_two_rods_is_refused_scan_by_scan():
    """Such phantoms exist (CaHA 0 and 200 mg/cm3): the study goes on with HU alone."""
    two = {"scale": "caha", "rods": [{"density_mg_cm3": 0}, {"density_mg_cm3": 200}]}
    found = calibrated(scene(), two | {"rod_radius_mm": 9.0, "rod_distance_mm": 32.0})
    assert (found.verdict, found.reason, found.scale) == ("refused", "certificate_too_short", "caha")
    assert found.found == "the certificate lists 2 rods; needed are 3"


def test_no_phantom():
    made = RodScene()
    made.body()
    assert calibrated(made).reason == "no_rods"


def test_a_pad_and_a_table_are_no_rods():
    made = RodScene()
    made.body()
    made.fill(10 - np.abs(made.y - 95) + 0 * made.x, -930.0)
    made.fill(2 - np.abs(made.y - 110) + 0 * made.x, 120.0)
    assert calibrated(made).reason == "no_rods"
    made.phantom()
    assert is_line(calibrated(made))


def test_two_phantoms_in_view_are_refused():
    made = scene()
    made.phantom(center_mm=(0.0, 118.0))
    found = calibrated(made)
    assert (found.verdict, found.reason) == ("refused", "two_phantoms")


def test_an_air_bubble_drops_its_slices():
    made = scene()
    x, y = made.rod_mm(4)
    made.hu[made.near((x, y + 3), 3) & (made.z > 15)] = -800.0
    found = calibrated(made)
    assert is_line(found) and found.verdict == "ok"
    assert found.rods[4]["voxels"] < 0.8 * found.rods[3]["voxels"] and found.slices_used < 21


def test_a_metal_streak_drops_slices_or_the_rod():
    made = scene()
    x, y = made.rod_mm(3)
    streak = np.abs(made.y - y - 0.4 * (made.x - x)) < 3
    made.hu[streak & (np.abs(made.x - x) < 14) & (made.z < -15)] += 400
    found = calibrated(made)
    assert is_line(found) and found.slices_used < 24
    made = scene()
    streak = np.abs(made.y - y - 0.4 * (made.x - x)) < 3
    made.hu[streak & (np.abs(made.x - x) < 14)] += 400
    found = calibrated(made)
    assert is_line(found) and (found.verdict, list(found.flags)) == ("flagged", ["rods_left_out"])
    assert "uneven" in found.rods[3]["why_not"] and not found.rods[3]["used"]


def test_a_phantom_that_ends_within_the_scan():
    made = RodScene()
    made.body()
    below = made.hu.copy()
    made.phantom()
    made.hu[:6] = below[:6]
    found = calibrated(made)
    assert is_line(found) and 20 <= found.slices_used <= 22


@pytest.mark.parametrize("place", [slice(0, 14), slice(15, 29), slice(34, None)])
def test_a_phantom_that_fills_less_than_a_third_of_the_scan(place):
    with_phantom, without = scene(slices=50), RodScene(slices=50)
    without.body()
    without.hu[place] = with_phantom.hu[place]
    found = calibrated(without)
    assert is_line(found) and 9 <= found.slices_used <= 16


@pytest.mark.parametrize("degrees", [2.0, 4.0])
def test_a_phantom_that_is_not_parallel_to_the_table(degrees):
    image = scene(turned=(degrees, 0.0)).image()
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, 1))  # now the rods are turned, not the scan
    assert is_line(calibrated(image))


def test_a_gain_that_drifts_along_z_is_flagged():
    made = scene()
    made.hu *= 1 + 0.06 * made.z / np.ptp(made.z)
    found = calibrated(made)
    assert "drifts_along_z" in found.flags and is_line(found)
    feet, head = (fit_rods(np.array(RODS_HU) * gain, certificate().rods) for gain in (0.97, 1.03))
    change = (200 * (head.slope - feet.slope) + head.intercept_hu - feet.intercept_hu) / 1.3846
    assert found.z_slope_mg_cm3 == pytest.approx(change, abs=1) and change > 10


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (0, 1, 3, 2, 4), (4, 1, 2, 3, 0), (1, 2, 3, 4, 0)])
def test_a_certificate_that_lists_its_rods_in_another_order_is_refused(order):
    found = calibrated(scene(), rods=[MINDWAYS["rods"][rod] for rod in order])
    assert (found.verdict, found.reason) == ("refused", "large_residuals")
    assert "order in which they lie" in REFUSALS[found.reason].action


def test_rods_beyond_those_of_the_certificate_do_no_harm():
    """A certificate of the last three of five rods gives the same line."""
    assert is_line(calibrated(scene(), rods=MINDWAYS["rods"][2:]))


@pytest.mark.parametrize(
    ("second", "width_mm"),
    [
        ({"center_mm": (0.0, -115.0)}, 300.0),  # on the person
        ({"center_mm": (0.0, 118.0), "rods_hu": RODS_HU[::-1]}, 300.0),
        ({"center_mm": (70.0, 118.0)}, 300.0),  # three of its rods are in view
        ({"center_mm": (160.0, 90.0)}, 470.0),  # ten rods in a row
    ],
)
def test_a_second_phantom_is_seen_wherever_it_lies(second, width_mm):
    made = scene(size_mm_xy=(width_mm, 260.0))
    made.phantom(**second)
    assert calibrated(made).reason == "two_phantoms"


def test_phantoms_of_two_types_are_told_apart():
    made = scene()
    made.phantom(shown_hu(CAHA, 1.5, 2.0), 30.0, (0.0, 118.0))
    assert is_line(calibrated(made)) and is_line(calibrated(made, CAHA), 1.5, 2.0)


@pytest.mark.parametrize(
    "tubes",
    [
        {"rods_hu": (-940.0,) * 5},  # rolls of foam
        {"rods_hu": (-60.0,) * 5},  # a mat filled with gel
        {"rods_hu": (0.0, 60.0, 120.0, 200.0, 350.0)},
        {"rods_hu": (600.0, 600.0), "distance_mm": 128.0},  # tubes of the table where the outer rods would be
        {"rods_hu": (198.0, 371.0, 525.0), "center_mm": (32.0, 90.0)},  # as rods, without the two others
    ],
)
def test_tubes_of_a_pad_or_table_are_no_phantom_and_do_not_disturb_one(tubes):
    made = RodScene()
    made.body()
    made.rods(**tubes)
    found = calibrated(made)
    assert found.verdict == "refused" and found.slope_hu_per_mg_cm3 is None
    made = scene()
    made.rods(**tubes | {"center_mm": (0.0, 118.0)})
    assert is_line(calibrated(made))


@pytest.mark.parametrize("pad_hu", [-950.0, -60.0, 40.0, 120.0])
def test_a_phantom_on_a_pad(pad_hu):
    made = scene()
    made.fill(5 - np.abs(made.y - 110) + 0 * made.x, pad_hu)
    assert is_line(calibrated(made))


def test_a_phantom_that_is_cut_lengthwise_is_refused():
    found = calibrated(scene(size_mm_xy=(300.0, 2 * (PHANTOM_MM[1] + 4))))
    assert found.reason == "no_rods" and "field of view" in REFUSALS[found.reason].action


def test_a_dark_streak_across_all_rods():
    """As between two hips of metal: in the whole scan it is refused, in a part of the slices these are left out."""

    def streaked(hu, slices):
        made = scene()
        made.hu[(np.abs(made.y - PHANTOM_MM[1]) < 10) & slices(made.z)] += hu
        return calibrated(made)

    found = streaked(-60, lambda z: z < 100)
    assert (found.verdict, found.reason) == ("refused", "not_physical") and "intercept -60" in found.found
    assert is_line(streaked(-200, lambda z: z > 16)) and is_line(streaked(-100, lambda z: z > 0))
    # a weaker one moves the line by half of it, and is seen along z
    assert "drifts_along_z" in streaked(-30, lambda z: z > 0).flags


@pytest.mark.parametrize("streak_hu", [20.0, 50.0, 100.0, 200.0])
def test_streaks_from_two_hips_of_metal_give_no_line(streak_hu):
    made = scene()
    for x in (-80, 80):
        around, away_mm = np.arctan2(made.y + 10, made.x - x), np.hypot(made.x - x, made.y + 10)
        made.hu += streak_hu * np.cos(9 * around) * np.exp(-away_mm / 150)
        made.fill(12 - away_mm, 3000.0)
    found = calibrated(made)
    assert found.verdict == "refused" and found.slope_hu_per_mg_cm3 is None


def clipped(image, low, high):
    cut = sitk.Clamp(image, sitk.sitkInt16, low, high)
    return calibrated(cut)


def test_a_rod_whose_hu_were_clipped_is_left_out():
    """Clipped at 500 HU, the brightest rod (525) would give a slope of 1.329 with small residuals."""
    image = scene().image()
    for low, high, rod in ((-1024, 500, 5), (-1024, 400, 5), (-50, 3071, 1)):
        found = clipped(image, low, high)
        assert is_line(found) and list(found.flags) == ["rods_left_out", "hu_clipped"]
        assert [record["rod"] for record in found.rods if not record["used"]] == [rod]
        assert "clipped" in found.rods[rod - 1]["why_not"]
    # limits that no rod reaches, and those of 12 bits
    for low, high in ((-1000, 1000), (-200, 600), (-1024, 3071)):
        assert clipped(image, low, high).verdict == "ok"
    for low, high in ((-200, 300), (0, 3071), (0, 255)):
        assert clipped(image, low, high).verdict == "refused"


def test_three_rods_of_which_one_was_clipped_are_too_few():
    image = scene(shown_hu(CAHA, 1.5, 2.0), distance_mm=30.0).image()
    assert is_line(calibrated(image, CAHA), 1.5, 2.0)
    for high in (1202, 1150):
        found = calibrated(sitk.Clamp(image, sitk.sitkInt16, -1024, high), CAHA)
        assert (found.reason, found.slope_hu_per_mg_cm3) == ("too_few_rods", None)
        assert "rod 3 HU clipped" in found.found


def test_values_without_the_rescale_intercept_are_refused():
    image = scene().image()
    found = calibrated(sitk.Cast(sitk.Cast(image, sitk.sitkInt32) + 1024, sitk.sitkInt16))
    assert found.reason == "not_physical" and "intercept 1023" in found.found


def test_scans_of_one_scanner_with_two_voltages_have_a_line_each():
    """At 140 kV the slope is smaller; each scan takes it from its own rods."""
    lines = {120.0: (1.42, 1.0), 140.0: (1.24, -2.0)}
    for kvp, (slope, intercept_hu) in lines.items():
        request = CalibrationRequest(
            method="phantom", acquisition={"kvp": kvp, "model": "One"}, certificate=certificate()
        )
        found = calibrate_scan(scene(shown_hu(MINDWAYS, slope, intercept_hu)).image(), request, CONFIG)
        assert is_line(found, slope, intercept_hu) and (found.kvp, found.verdict) == (kvp, "ok")


def test_clipped_rods_are_flagged():
    """800 mg/cm3 of CaHA and a scanner that stores no more than 3071 HU need no clipping; a bright rod does."""
    entry = {**CAHA, "rods": [{"density_mg_cm3": d} for d in (100, 400, 1900)]}
    found = calibrated(scene(shown_hu(entry, 1.6, 0.0), distance_mm=30.0), entry)
    assert list(found.flags) == ["hu_clipped"]


def test_a_certificate_of_another_phantom_is_refused():
    dry = [{"density_mg_cm3": rod["density_mg_cm3"]} for rod in MINDWAYS["rods"]]
    assert calibrated(scene(), rods=dry).verdict == "refused"
    other = [dict(rod) for rod in MINDWAYS["rods"]]
    other[3]["density_mg_cm3"] += 30
    found = calibrated(scene(), rods=other)
    assert (found.verdict, found.reason) == ("refused", "large_residuals")
    assert found.r2 > 0.99 and found.slope_hu_per_mg_cm3 is None
    found = calibrated(scene(shown_hu(MINDWAYS, 0.9, 0.0)))
    assert (found.verdict, found.reason) == ("refused", "not_physical")
    assert "slope 0.9" in found.found


@pytest.mark.parametrize("noise_hu", [12.0, 50.0])
@pytest.mark.parametrize("pixel_mm", [0.742, 0.977])
def test_rods_of_the_synthetic_scanner(pixel_mm, noise_hu):
    """The rods that lib.phantom draws, with its blur, beam hardening, streaks and noise."""
    size = round(400 / pixel_mm)
    grid = VoxelGrid(
        origin_xyz_mm=(-200.0, -160.0, 0.0),
        spacing_xyz_mm=(pixel_mm, pixel_mm, 2.0),
        size_xyz=(size, size, 40),
    )
    hu = np.repeat(ct_effects.image_hardware(grid, 5.0, 60.0)[None], 40, axis=0)
    x, y = grid.centers_mm(0)[None], grid.centers_mm(1)[:, None]
    body = np.hypot(x / 170, (y + 50) / 105) < 1
    hu[:, body] = 40.0
    ct_effects.blur(hu, grid, 0.8)
    rng = np.random.default_rng(3)
    draw = ct_effects.CtDraw(noise_hu=noise_hu, hardening_hu=20.0, streak_hu=4.0)
    field = ct_effects.CtField(grid=grid, kernel_mm=0.8, dense_xyz_mm=None)
    ct_effects.add_artefacts(hu, np.repeat(body[None], 40, axis=0).astype(np.float32), field, draw, rng)
    image = sitk.GetImageFromArray(ct_effects.to_stored_hu(ct_effects.calibrated(hu, CtScanner(), 0.0)))
    image.SetSpacing((pixel_mm, pixel_mm, 2.0))
    found = calibrated(image)
    assert is_line(found) and found.verdict == "ok" and not found.reversed
    assert [rod["hu_mean"] for rod in found.rods] == pytest.approx(ct_effects.DENSITY_RODS_HU, abs=2)


def test_a_calibration_is_read_back_and_works_on_arrays():
    found = calibrated(scene())
    again = Calibration.from_json(found.to_json() | {"unknown": 1})
    assert again.to_json() == found.to_json()
    hu = np.array([[0, 100], [200, 300]], np.int16)
    density = again.density_mg_cm3(hu)
    assert density.shape == hu.shape
    assert density[0, 1] == pytest.approx((100 - found.intercept_hu) / found.slope_hu_per_mg_cm3)
    refused = calibrated(RodScene())
    with pytest.raises(ValueError, match="refused"):
        refused.density_mg_cm3(hu)
