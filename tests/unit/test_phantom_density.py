"""Density phantoms of synthetic cohorts: certificates, table, images and truth."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from lib.catalog.reasons import is_rejected
from lib.cohort.table import planned_cohort
from lib.crop_settings import CropConfig
from lib.errors import ConfigError
from lib.phantom.anatomy.hip import draw_hip
from lib.phantom.density_phantoms import (
    CAHA_PHANTOM,
    DENSITY_PHANTOMS,
    K2HPO4_PHANTOM,
    LINES,
    certificates,
    certificates_text,
)
from lib.phantom.people import (
    DENSITY_COLUMNS,
    DENSITY_DEFECTS,
    SPINE,
    TABLE_COLUMNS,
    PhantomConfig,
    find_person,
    phantom_people,
    phantom_table,
)
from lib.phantom.scan import make_phantom_scan, simulate_scan
from lib.phantom.scanner.ct_effects import DENSITY_RODS_HU
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

SIZE = {"matrix": 192, "slice_mm": 5.0, "supersampling": 2}
ASKED = {"density_phantom": K2HPO4_PHANTOM}


def line_of_rods(hu, name):
    """Return slope and intercept as the phantom's manufacturer computes them from the HU of all rods."""
    rods = DENSITY_PHANTOMS[name].rods
    density = np.array([rod.density_mg_cm3 for rod in rods])
    if rods[0].water_mg_cm3 is None:
        return np.polyfit(density, hu, 1)
    water = np.array([rod.water_mg_cm3 for rod in rods])
    sigma, beta = np.polyfit(density, np.array(hu) - water, 1)
    return sigma - 0.2174, beta + 999.6


def simulated(scan="P001", **settings):
    config = PhantomConfig(**{"people": 1} | SIZE | ASKED | settings)
    return simulate_scan(config, find_person(config, scan))


def rods_in(scan):
    """Return the mean HU of each rod that lies wholly in the image, and what the truth says of it."""
    grid, truth = scan.grid, scan.truth["calibration"]
    mean = scan.hu_zyx.mean(axis=0)
    found, shown = [], []
    for rod, hu in zip(truth["rods"], truth["rods_hu_shown"], strict=True):
        far = np.hypot(grid.centers_mm(0)[None, :] - rod["x_mm"], grid.centers_mm(1)[:, None] - rod["y_mm"])
        if rod["share_in_view"] == 1:
            found.append(float(mean[far < 5.5].mean()))
            shown.append(hu)
    return np.array(found), np.array(shown)


def test_the_rods_show_the_line_that_their_certificate_gives():
    slope, intercept = line_of_rods(DENSITY_RODS_HU, K2HPO4_PHANTOM)
    assert slope == pytest.approx(LINES["k2hpo4"].slope_hu_per_mg_cm3, abs=5e-5)
    assert intercept == pytest.approx(LINES["k2hpo4"].intercept_hu, abs=5e-3)
    assert [rod.hu for rod in DENSITY_PHANTOMS[K2HPO4_PHANTOM].rods] == list(DENSITY_RODS_HU)


@pytest.mark.parametrize("name", [K2HPO4_PHANTOM, CAHA_PHANTOM])
@pytest.mark.parametrize(("gain", "offset_hu"), [(1.0, 0.0), (1.03, 4.0), (0.95, -6.0)])
def test_a_calibration_by_the_rods_finds_the_line_of_bone_on_each_scanner(name, gain, offset_hu):
    phantom = DENSITY_PHANTOMS[name]
    slope, intercept = line_of_rods(
        [rod.shown_hu(phantom.line, gain, offset_hu) for rod in phantom.rods], name
    )
    shown = phantom.line.shown(gain, offset_hu)
    assert slope == pytest.approx(shown.slope_hu_per_mg_cm3, abs=1e-4)
    assert intercept == pytest.approx(shown.intercept_hu, abs=0.01)
    assert shown.density(gain * phantom.line.hu(220.0) + offset_hu) == pytest.approx(220.0)


def test_the_file_of_certificates_says_what_is_known_of_the_phantoms():
    assert yaml.safe_load(certificates_text()) == certificates()
    rods = certificates()[K2HPO4_PHANTOM]["rods"]
    assert rods[0] == {"density_mg_cm3": -51.83, "water_mg_cm3": 1012.25}
    assert certificates()[CAHA_PHANTOM]["rods"][2] == {"density_mg_cm3": 800.0}
    assert [entry["scale"] for entry in certificates().values()] == ["k2hpo4", "caha"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"density_phantom": "mindways"},
            "phantom.density_phantom is 'mindways': expected synthetic-k2hpo4, synth",
        ),
        ({"physical_tissues": 1}, "phantom.physical_tissues is 1: expected true or false"),
        ({"modality": "MR", **ASKED}, "phantom.density_phantom is drawn in CT only"),
        (
            {"anatomy": SPINE, "physical_tissues": True},
            "phantom.physical_tissues is drawn for proximal-femur in CT",
        ),
        ({"defects": ["rods_cut"]}, "'rods_cut', which needs a density phantom"),
        ({"anatomy": SPINE, "defects": ["no_phantom"]}, "'no_phantom', which needs a density phantom"),
        ({"scanners": {"A": {"density_phantom": "x"}}, **ASKED}, "phantom.scanners.A.density_phantom is 'x'"),
        ({"scanners": {"A": {"drift_per_scan": 3}}}, "phantom.scanners.A.drift_per_scan is 3"),
    ],
)
def test_bad_settings_of_density_phantoms_are_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        PhantomConfig(**changes)


def test_the_table_says_how_each_scan_is_calibrated():
    config = PhantomConfig(people=2, unlabelled_people=1, defects=[*DENSITY_DEFECTS, "repeat"], **ASKED)
    rows = {row["scan"]: row for row in phantom_table(config)}
    assert all(tuple(row) == (*TABLE_COLUMNS, *DENSITY_COLUMNS) for row in rows.values())
    assert {row["phantom"] for row in rows.values()} == {K2HPO4_PHANTOM, CAHA_PHANTOM, ""}
    assert [rows["P001"][name] for name in DENSITY_COLUMNS] == [
        K2HPO4_PHANTOM,
        "phantom",
        "",
        "Sensation 64",
        "1",
    ]
    assert rows["X21-caha-phantom"]["phantom"] == CAHA_PHANTOM
    alone, without = rows["X22-phantom-only"], rows["X23-no-phantom"]
    assert (alone["mask"], alone["calibration"]) == ("", "phantom")
    assert (without["phantom"], without["calibration"], without["calibration_scan"]) == (
        "",
        "asynchronous",
        "X22-phantom-only",
    )
    assert [int(row["scan_order"]) for row in rows.values()] == list(range(1, len(rows) + 1))
    assert set(planned_cohort(rows.values(), "cohort.csv")) == set(rows)


def test_without_a_scan_of_the_phantom_a_person_without_one_is_not_calibrated():
    config = PhantomConfig(people=1, defects=["no_phantom"], **ASKED)
    row = phantom_table(config)[-1]
    assert [row[name] for name in DENSITY_COLUMNS[:3]] == ["", "none", ""]


def test_scans_are_counted_by_date_on_each_scanner():
    scanners = {"A": {}, "B": {"density_phantom": CAHA_PHANTOM}}
    config = PhantomConfig(people=12, scanners=scanners, defects=["phantom_only", "no_phantom"], **ASKED)
    people, rows = phantom_people(config), phantom_table(config)
    for name, phantom in (("A", K2HPO4_PHANTOM), ("B", CAHA_PHANTOM)):
        seen = sorted((person for person in people if person.scanner == name), key=lambda one: one.scan_order)
        assert [person.scan_order for person in seen] == list(range(1, len(seen) + 1))
        assert [person.scan_date for person in seen] == sorted(person.scan_date for person in seen)
        assert {row["phantom"] for row in rows if row["scanner"] == name} <= {phantom, ""}
    assert people[-1].scanner == people[-2].scanner
    plain = phantom_people(PhantomConfig(people=12, scanners={"A": {}, "B": {}}))
    assert [replace(person, scan_order=0) for person in people[:12]] == list(plain)


def test_asking_for_the_truth_changes_no_voxel_and_no_other_value():
    asked, plain = simulated(), simulated(density_phantom="")
    assert np.array_equal(asked.hu_zyx, plain.hu_zyx)
    assert {key: asked.truth[key] for key in plain.truth} == plain.truth
    new = set(asked.truth) - set(plain.truth)
    assert new == {
        *("calibration", "density", "density_in_mask", "areal", "areal_in_mask", "density_undefined"),
        *("femur_landmarks", "scan_order"),
    }


@pytest.mark.parametrize(
    ("scan", "settings", "rods"),
    [
        ("P001", {}, 5),
        ("P001", {"density_phantom": CAHA_PHANTOM}, 3),
        ("P001", {"physical_tissues": True}, 5),
        ("P001", {"scanners": {"A": {"scale": 1.03, "offset_hu": 5.0, "drift_per_year": -0.01}}}, 5),
        ("P009", {"people": 9, "scanners": {"A": {"drift_per_scan": 0.005}}}, 5),
        ("X18-rods-reversed", {"defects": ["rods_reversed"]}, 5),
        ("X19-rods-cut", {"defects": ["rods_cut"]}, 3),
        ("X20-rods-lost", {"defects": ["rods_lost"]}, 2),
        ("X21-caha-phantom", {"defects": ["caha_phantom"]}, 3),
        ("X22-phantom-only", {"defects": ["phantom_only"]}, 5),
        ("X23-no-phantom", {"defects": ["no_phantom"]}, 0),
    ],
)
def test_the_rods_in_the_image_show_what_the_truth_says(scan, settings, rods):
    made = simulated(scan, **settings)
    found, shown = rods_in(made)
    assert len(found) == rods
    assert found == pytest.approx(shown, abs=1.5)
    truth = made.truth["calibration"]
    if rods == len(truth["rods"]) > 0:
        slope, intercept = line_of_rods(found, truth["phantom"])
        assert slope == pytest.approx(truth["slope_hu_per_mg_cm3"], rel=0.005)
        assert intercept == pytest.approx(truth["intercept_hu"], abs=1.5)


def test_a_drifting_scanner_changes_its_slope_from_scan_to_scan():
    settings = {"people": 9, "scanners": {"A": {"drift_per_scan": 0.005}}, **ASKED}
    config = PhantomConfig(**settings)
    orders = {person.scan: person.scan_order for person in phantom_people(config)}
    gains = {scan: 1 + 0.005 * (order - 1) for scan, order in orders.items()}
    made = simulated("P005", **settings)
    assert made.truth["scan_order"] == orders["P005"]
    slope = made.truth["calibration"]["slope_hu_per_mg_cm3"]
    assert slope == pytest.approx(1.3846 * gains["P005"])
    assert max(gains.values()) == pytest.approx(1.04)


def test_reversed_rods_lie_the_other_way_round():
    usual, other = simulated(), simulated("X18-rods-reversed", defects=["rods_reversed"])
    for scan, ascending in ((usual, True), (other, False)):
        places = [rod["x_mm"] for rod in scan.truth["calibration"]["rods"]]
        assert (places == sorted(places)) is ascending


def test_the_edge_of_the_image_runs_through_a_rod():
    rods = simulated("X19-rods-cut", defects=["rods_cut"]).truth["calibration"]["rods"]
    assert [rod["share_in_view"] for rod in rods] == [1, 1, 1, 0.5, 0]


def test_a_scan_of_the_phantom_alone_shows_nobody(tmp_path):
    config = PhantomConfig(people=1, defects=["phantom_only"], **SIZE, **ASKED)
    made = simulate_scan(config, find_person(config, "X22-phantom-only"))
    assert not made.mask_zyx.any()
    assert made.hu_zyx[:, :90].max() < -900  # air where a person would lie
    assert {"calibration", "scan"} <= set(made.truth) and "density" not in made.truth
    make_phantom_scan(
        config, "X22-phantom-only", tmp_path / "dicom", tmp_path / "m.nii.gz", tmp_path / "t.json"
    )
    assert len(list((tmp_path / "dicom").iterdir())) == 12
    assert json.loads((tmp_path / "t.json").read_text())["calibration"]["scale"] == "k2hpo4"


def test_screening_knows_a_scan_of_the_phantom_alone_by_those_that_name_it(tmp_path):
    config = PhantomConfig(people=1, defects=["phantom_only"], **SIZE, **ASKED)
    paths = [tmp_path / name for name in ("dicom", "m.nii.gz", "t.json")]
    make_phantom_scan(config, "X22-phantom-only", *paths)
    codes = {}
    for serves in (True, False):
        request = ScanRequest(side="left", serves_calibration=serves)
        for least_mm in (30.0, 90.0):
            limits = ScreeningConfig(min_length_mm=least_mm)
            found = screen_scan(paths[0], request, limits, CropConfig(size=(32, 32)))
            codes[serves, least_mm] = [reason.code for reason in found.reasons if is_rejected([reason])]
    assert codes[True, 30.0] == codes[True, 90.0] == ["calibration_only"]
    assert codes[False, 30.0] == ["not_in_view"] and "too_short" in codes[False, 90.0]


def test_tissues_may_have_the_hu_of_their_attenuation():
    usual, physical = simulated(), simulated(physical_tissues=True)
    air = (slice(None), slice(0, 8))
    assert physical.hu_zyx[air].mean() - usual.hu_zyx[air].mean() == pytest.approx(1, abs=0.2)
    # the noise is the same, so that each voxel changes by what its tissue changes
    change = physical.hu_zyx.astype(int) - usual.hu_zyx
    for low, high, shift in ((-120, -90, -79 + 105), (50, 65, 43 - 55)):
        assert np.median(change[(usual.hu_zyx > low) & (usual.hu_zyx < high)]) == pytest.approx(shift, abs=2)
    cortical = physical.truth["density"]["shaft"]["cortical"]["vbmd_mg_cm3"]
    assert cortical == pytest.approx((1594 + 0.59) / 1.3846)


def test_densities_are_those_of_the_drawn_bone_on_the_scale_of_the_phantom():
    config = PhantomConfig(people=1, **SIZE, **ASKED)
    person = find_person(config, "P001")
    state = draw_hip(person, np.random.default_rng([person.person_seed, 1])).state
    k2hpo4 = simulated().truth["density"]
    caha = simulated(density_phantom=CAHA_PHANTOM).truth["density"]
    for density, slope, intercept in ((k2hpo4, 1.3846, -0.59), (caha, 1.35, -3.0)):
        assert density["femur"]["cortical"]["vbmd_mg_cm3"] == pytest.approx(
            (state.cortical_hu - intercept) / slope
        )
        hu = density["femur"]["integral"]["vbmd_mg_cm3"] * slope + intercept
        assert hu == pytest.approx(k2hpo4["femur"]["integral"]["vbmd_mg_cm3"] * 1.3846 - 0.59)
    # the head has dense trabeculae, the shaft holds fat
    assert k2hpo4["head"]["trabecular"]["vbmd_mg_cm3"] > 150
    assert k2hpo4["shaft"]["trabecular"]["vbmd_mg_cm3"] == pytest.approx((-60 + 0.59) / 1.3846, abs=12)


def test_regions_fill_the_exact_volume_and_the_image_shows_their_density():
    made = simulated(matrix=384, slice_mm=2.5, supersampling=3)
    density, truth = made.truth["density"], made.truth
    volume = sum(
        density[region]["integral"]["volume_mm3"] for region in ("head", "neck", "trochanter", "shaft")
    )
    assert volume == pytest.approx(truth["exact_mm3"], rel=0.001)
    # trabecular bone deep in the head, away from all borders
    grid = made.grid
    offsets = [grid.centers_mm(axis) - truth["head_center_xyz_mm"][axis] for axis in range(3)]
    from_center = np.sqrt(
        offsets[2][:, None, None] ** 2 + offsets[1][None, :, None] ** 2 + offsets[0][None, None, :] ** 2
    )
    line = truth["calibration"]
    shown = made.hu_zyx[from_center < 0.75 * truth["head_radius_mm"]].mean()
    seen_mg_cm3 = (shown - line["intercept_hu"]) / line["slope_hu_per_mg_cm3"]
    assert seen_mg_cm3 == pytest.approx(density["head"]["trabecular_peeled"]["vbmd_mg_cm3"], rel=0.15)
    assert truth["areal"]["total"]["bmc_g"] == pytest.approx(density["total"]["integral"]["bmc_mg"] / 1000)


@pytest.mark.parametrize("phantom", [K2HPO4_PHANTOM, CAHA_PHANTOM])
def test_the_image_holds_in_the_mask_what_the_truth_says(phantom):
    scanners = {"A": {"scale": 1.02, "offset_hu": 4.0}}
    made = simulated("P002", people=2, density_phantom=phantom, scanners=scanners, matrix=384, slice_mm=2.5)
    truth, line = made.truth, made.truth["calibration"]
    density = (made.hu_zyx[made.mask_zyx > 0] - line["intercept_hu"]) / line["slope_hu_per_mg_cm3"]
    regions = ("head", "neck", "trochanter", "shaft")
    in_mask, drawn = (
        sum(truth[section][name]["integral"]["bmc_mg"] for name in regions)
        for section in ("density_in_mask", "density")
    )
    assert density.sum() * np.prod(made.grid.spacing_xyz_mm) / 1000 == pytest.approx(in_mask, rel=0.005)
    # blur takes mineral out of the mask
    assert 0.85 * drawn < in_mask < 0.95 * drawn


def test_a_nail_leaves_no_density():
    truth = simulated("X07-metal-nail", defects=["metal_nail"]).truth
    assert truth["density"] == {} and truth["areal"] == {}
    assert truth["density_undefined"]["density"] == truth["density_undefined"]["areal_in_mask"] == "metal"


def test_a_short_scan_has_no_trochanteric_region():
    config = PhantomConfig(people=12, **SIZE, **ASKED)
    truths = [simulate_scan(config, find_person(config, f"P{k:03d}")).truth for k in (2, 5)]
    assert [set(truth["density_undefined"]) for truth in truths] == [
        set(),
        {"trochanter", "shaft", "total", "femur"},
    ]
    assert set(truths[1]["density"]) == {"head", "neck"}
    assert truths[1]["density_undefined"]["total"] == "trochanter_cut"


def test_a_prefix_gives_other_ids_to_the_same_images():
    plain = PhantomConfig(people=2, defects=["repeat", "phantom_only", "no_phantom"], **ASKED)
    named = replace(plain, prefix="D")
    rows = [phantom_table(config) for config in (plain, named)]
    assert [row["scan"] for row in rows[1]] == [f"D{row['scan']}" for row in rows[0]]
    assert {row["subject"] for row in rows[1]} == {f"D{row['subject']}" for row in rows[0]}
    assert [(row["repeat_of"], row["calibration_scan"]) for row in rows[1]][2:] == [
        ("DP001", ""),
        ("", ""),
        ("", "DX22-phantom-only"),
    ]
    assert [person.scan_seed for person in phantom_people(named)] == [
        person.scan_seed for person in phantom_people(plain)
    ]
    assert find_person(named, "DP002").person_seed == find_person(plain, "P002").person_seed
    with pytest.raises(ConfigError, match="phantom.prefix is 'a_1': expected"):
        PhantomConfig(prefix="a_1")


def test_scanners_may_lack_a_phantom_and_then_ask_for_the_persons_tissues():
    scanners = {
        "A": {"density_phantom": K2HPO4_PHANTOM},
        "C": {"trains": False, "test_people": 1, "calibration": "referenced"},
        "D": {"trains": False, "test_people": 1},
    }
    config = PhantomConfig(people=1, defects=["rods_reversed", "phantom_only"], scanners=scanners)
    rows = {row["scan"]: tuple(row[name] for name in DENSITY_COLUMNS[:3]) for row in phantom_table(config)}
    assert rows["P001"] == rows["X18-rods-reversed"] == (K2HPO4_PHANTOM, "phantom", "")
    assert rows["TC-01"] == ("", "referenced", "")
    assert rows["TD-01"] == ("", "asynchronous", "X22-phantom-only")
    with pytest.raises(ConfigError, match="'rods_reversed', which needs a density phantom"):
        PhantomConfig(people=1, defects=["rods_reversed"], scanners={"A": scanners["A"], "B": {}})
    with pytest.raises(ConfigError, match="phantom.scanners.A.calibration is 'rods'"):
        PhantomConfig(people=1, scanners={"A": {"calibration": "rods"}})
