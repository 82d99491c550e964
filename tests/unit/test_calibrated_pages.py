"""Calibrated densities on the pages: the section of the report, and the table on the page of a scan."""

import pandas as pd
import pytest

from lib.bone_densities import flat_densities
from lib.catalog.bone_parts import COMPARTMENTS, COMPOSITES, REGIONS, ROIS
from lib.catalog.calibration import NO_CALIBRATION as NO_DENSITY
from lib.catalog.calibration import REFUSALS
from lib.pages.calibrated_section import (
    agreement_view,
    calibrated_section,
    density_rows,
    scanner_view,
    voltages_in_words,
)
from lib.pages.density_table import NO_CALIBRATION, density_table
from lib.report_settings import AgreementConfig
from lib.stats.calibration_tables import CALIBRATION_COLUMNS
from lib.stats.density_precision import density_precision_table
from lib.stats.geometry_table import GEOMETRY_COLUMNS, geometry_table
from lib.stats.measurements import measurements_table, people_table

GEOMETRY = {
    "head_center_xyz_mm": [10.0, -20.0, 500.0],
    "head_radius_mm": 22.0,
    "neck_axis_xyz": [0.6, 0.0, -0.8],
    "isthmus_xyz_mm": [21.0, -20.0, 486.0],
    "isthmus_mm2": 640.0,
    "neck_axis_length_mm": 95.0,
    "lesser_trochanter_xyz_mm": None,
    "shaft_axis_xyz": [0.0, 0.0, 1.0],
    "shaft_mm": None,
    "neck_shaft_degrees": None,
    "anteversion_degrees": None,
    "flags": ["shaft_axis_assumed"],
    "undefined": {"neck_shaft_degrees": "too short", "anteversion_degrees": "no condyles"},
}


UNKNOWN = dict.fromkeys(("area_cm2", "bmc_g", "abmd_g_cm2"))
UNKNOWN |= {"undefined": dict.fromkeys(UNKNOWN, NO_DENSITY)}


def of_mask(factor=1.0, *, calibrated=True):
    """Return what is measured of a mask; density of region k and compartment c is 100 k + 10 c."""
    regions = {}
    for k, region in enumerate((*REGIONS, *COMPOSITES), start=1):
        regions[region] = {}
        for c, compartment in enumerate(COMPARTMENTS):
            value = factor * (100.0 * k + 10.0 * c) if calibrated else None
            why = {} if calibrated else {"vbmd_mg_cm3": "none", "bmc_mg": "none"}
            regions[region][compartment] = {
                "volume_mm3": 10_000.0 * k,
                "hu_mean": 200.0,
                "vbmd_mg_cm3": value,
                "bmc_mg": value and value * 10.0 * k,
                "undefined": why,
            }
    areal = {
        roi: {"area_cm2": 20.0, "bmc_g": 16.0, "abmd_g_cm2": 0.8 * factor, "undefined": {}} for roi in ROIS
    }
    if not calibrated:
        areal = dict.fromkeys(ROIS, UNKNOWN)
    return {"regions": regions, "areal": areal, "t_scores": {}, "geometry": GEOMETRY}


def section(**calibration):
    told = {
        "method": "phantom",
        "phantom": "p",
        "scale": "k2hpo4",
        "verdict": "ok",
        "reason": "",
        "flags": [],
        "no_density": "",
    }
    return {"calibration": told | calibration, "predicted": of_mask(1.1), "reference": of_mask()}


def test_flat_names_carry_the_scale():
    flat = flat_densities(section())
    assert flat["reference_femoral_neck_trabecular_vbmd_k2hpo4"] == 210.0
    assert flat["predicted_total_hip_projected_abmd_k2hpo4"] == pytest.approx(0.88)
    assert flat["predicted_femoral_head_integral_radius"] == 22.0
    assert flat["undefined"]["reference_proximal_femur_integral_neck_shaft_angle"] == "too short"
    assert not any("caha" in name or "t_score" in name for name in flat)


def test_without_a_calibration_there_are_volumes_and_hu():
    bare = section(method="", phantom="", scale="", verdict="")
    bare = {"calibration": bare["calibration"], "predicted": of_mask(calibrated=False)}
    flat = flat_densities(bare)
    assert flat["predicted_femoral_neck_integral_volume"] == 20_000.0
    assert not any("vbmd" in name for name in (*flat, *flat["undefined"]))
    assert density_table({"femur": bare})["sentences"] == [NO_CALIBRATION]


PREDICTION = {
    **{"group": "all", "network": "vnet", "members": "ensemble", "protocol": "test", "scan": "A1"},
    **{
        "structure": "femur",
        "subject": "A",
        "sex": "F",
        "age": 60.0,
        "site": "",
        "fold": None,
        "weights": "best",
    },
}


def test_tables_have_a_row_and_a_column_for_each_density():
    key = "all/vnet/ensemble/A1/femur"
    volumes = {key: {"predicted_mm3": 90_000.0, "undefined": {}, "flags": []}}
    overlaps = {key: {"reference_mm3": 88_000.0, "undefined": {}}}
    rows = measurements_table([PREDICTION], overlaps, volumes, {}, "HU", {key: section()})
    (neck,) = rows[
        (rows["region"] == "femoral_neck")
        & (rows["compartment"] == "integral")
        & (rows["measure"] == "vbmd_k2hpo4")
    ].to_dict("records")
    assert (neck["reference"], neck["predicted"], neck["unit"]) == (200.0, pytest.approx(220.0), "mg_cm3")
    assert not rows["measure"].str.contains("caha").any()
    primary = pd.DataFrame([PREDICTION | {"flags": "", "repeat_of": ""}])
    (person,) = people_table(rows, primary, {}).to_dict("records")
    assert person["femur_femoral_neck_trabecular_vbmd_k2hpo4_mg_cm3"] == pytest.approx(231.0)
    assert person["femur_total_hip_projected_abmd_k2hpo4_g_cm2"] == pytest.approx(0.88)
    assert "neck_shaft_angle" in person["undefined"]


def test_precision_of_repeated_scans_is_by_quantity_and_mask():
    key, again = "all/vnet/ensemble/A1/femur", "all/vnet/ensemble/A2/femur"
    second = section()
    second["predicted"] = of_mask(1.2)
    second.pop("reference")
    volumes = dict.fromkeys((key, again), {"predicted_mm3": 90_000.0, "undefined": {}, "flags": []})
    scans = [PREDICTION, PREDICTION | {"scan": "A2", "protocol": "apply"}]
    overlaps = {key: {"reference_mm3": 88_000.0, "undefined": {}}}
    rows = measurements_table(scans, overlaps, volumes, {"A2": "A1"}, "HU", {key: section(), again: second})
    table = density_precision_table(rows, AgreementConfig())
    assert set(table["mask"]) == {"predicted"} and set(table["protocol"]) == {"test"}
    (neck,) = table[
        (table["region"] == "femoral_neck")
        & (table["compartment"] == "integral")
        & (table["measure"] == "vbmd_k2hpo4")
    ].to_dict("records")
    # 220 and 240: SD of two values is their difference / sqrt(2)
    assert neck["rms_sd"] == pytest.approx(20 / 2**0.5) and neck["lsc"] == pytest.approx(2.77 * 20 / 2**0.5)
    assert neck["rms_cv_percent"] == pytest.approx(100 * 20 / 2**0.5 / 230) and not neck["enough"]


def test_geometry_has_a_row_for_each_mask():
    table = geometry_table([PREDICTION], {"all/vnet/ensemble/A1/femur": section()})
    assert list(table) == list(GEOMETRY_COLUMNS) and table["mask"].tolist() == ["predicted", "reference"]
    row = table.iloc[0]
    assert (row["head_center_z_mm"], row["neck_axis_x"]) == (500.0, 0.6)
    assert pd.isna(row["lesser_trochanter_x_mm"]) and row["flags"] == "shaft_axis_assumed"
    assert "anteversion_degrees: no condyles" in row["undefined"]


def test_the_page_of_a_scan_shows_both_masks():
    shown = density_table({"femur": section()})
    rows = {row["region"]: row for row in shown["rows"]}
    assert rows["femoral neck"]["vbmd"] == "220.0 (200.0)" and rows["total hip"]["abmd"] == "0.880 (0.800)"
    assert rows["femoral head"]["abmd"] == "– (–)"  # DXA has no such region
    words = "areal density in g/cm² (K₂HPO₄): total 0.880, neck 0.880, trochanter 0.880."
    assert shown["projected"].endswith(words)
    refused = section(verdict="refused", reason="two_phantoms", scale="")
    refused = density_table({"femur": refused | {"predicted": of_mask(calibrated=False)}})
    assert REFUSALS["two_phantoms"].meaning in refused["sentences"][0]
    assert refused["projected"].endswith(REFUSALS["two_phantoms"].meaning)
    assert density_table({}) == {}


def calibration(**changes):
    known = dict.fromkeys(CALIBRATION_COLUMNS) | {
        **{
            "scan": "A1",
            "scanner": "S",
            "method": "phantom",
            "scale": "k2hpo4",
            "verdict": "ok",
            "reason": "",
        },
        **{"slope_hu_per_mg_cm3": 1.38, "intercept_hu": -0.5, "flags": ""},
    }
    return known | changes


def agreement(**changes):
    known = {
        **{"group": "all", "network": "vnet", "protocol": "test", "stratum": "all", "structure": "femur"},
        **{"region": "femoral_neck", "compartment": "trabecular", "measure": "vbmd_k2hpo4", "unit": "mg_cm3"},
        **{
            "n": 6,
            "reference_mean": 120.0,
            "bias": -1.5,
            "bias_ci_low": -2.0,
            "bias_ci_high": -1.0,
            "undefined": "",
        },
        **{
            "loa_low": -6.0,
            "loa_high": 4.0,
            "rmse": 2.0,
            "rmse_ci_low": 1.0,
            "rmse_ci_high": 3.0,
            "ccc": 0.98,
        },
    }
    return known | changes


def test_each_tube_voltage_and_method_has_a_line_of_its_own():
    limits = {"slope_low": 1.30, "slope_high": 1.50, "intercept_low_hu": -2.0, "intercept_high_hu": 2.0}
    rows = [
        calibration(phantom="MP-7", kvp=120.0, slope_hu_per_mg_cm3=1.40, **limits),
        calibration(scan="A2", phantom="MP-7", kvp=100.0, slope_hu_per_mg_cm3=1.60),
        calibration(scan="A3", method="referenced", phantom="", kvp=120.0, slope_hu_per_mg_cm3=1.20),
    ]
    lines = scanner_view(rows).lines
    assert [(line[1][0], line[2][0], line[5][0]) for line in lines] == [
        ("120", "MP-7", "1.4000"),
        ("100", "MP-7", "1.6000"),
        ("120", "referenced", "1.2000"),
    ]
    assert [line[5][1] for line in lines] == [
        "limits 1.3000 to 1.5000",
        "no limits: fewer than 8 scans",
        "no limits: no phantom in these scans",
    ]


def test_tube_voltages_that_differ_are_told():
    rows = [calibration(kvp=120.0), calibration(scan="A2", kvp=120.0), calibration(scan="A3", kvp=100.0)]
    assert voltages_in_words(rows[:2]) == "" == voltages_in_words([*rows[:2], calibration(scan="A4")])
    rows += [calibration(scan="A5", kvp=100.0, same_image_as="A3")]  # the other hip of A3
    assert voltages_in_words([*rows, calibration(scan="A4")]) == (
        "100 kV in 1 scan, 120 kV in 2 scans, not stated in 1"
    )


def test_two_hips_of_one_image_are_one_scan_of_the_scanner():
    rows = [
        calibration(),
        calibration(scan="A2", same_image_as="A1"),
        calibration(scan="B1", slope_hu_per_mg_cm3=1.40),
        calibration(scan="B2", slope_hu_per_mg_cm3=1.40, same_image_as="B1"),
        calibration(scan="C1", slope_hu_per_mg_cm3=1.41),
    ]
    (shown,) = scanner_view(rows).lines
    assert (shown[4][0], shown[5][0]) == ("3", "1.4000")


def test_limits_of_agreement_that_are_not_defined_are_one_dash_with_the_reason():
    alone = agreement(loa_low=None, loa_high=None, n=1, undefined="loa_low, loa_high: fewer than 3 people")
    cell = str(agreement_view(density_rows([alone])).lines[1][6][0])
    assert cell.count("–") == 1 and "fewer than 3 people" in cell and " to " not in cell
    two = agreement(loa_low=-6.04, loa_high=4.0)
    assert str(agreement_view(density_rows([two])).lines[1][6][0]) == "\N{MINUS SIGN}6.0 to 4.0"


def test_the_section_counts_verdicts_and_never_pools_scales():
    tables = {
        "calibration": pd.DataFrame(
            [
                calibration(),
                calibration(scan="A2", scale="caha", slope_hu_per_mg_cm3=1.35),
                calibration(scan="A3", verdict="flagged", flags="rods_left_out"),
                calibration(scan="A4", verdict="refused", reason="too_few_rods", slope_hu_per_mg_cm3=None),
            ]
        ),
        "agreement": pd.DataFrame([agreement(), agreement(measure="vbmd_caha"), agreement(measure="volume")]),
        # B1 is used and asks for no calibration; B2 asks for none either, and was refused at screening
        "flow": pd.DataFrame(
            [
                *({"scan": f"A{n}", "verdict": "ok", "stage": "scored"} for n in (1, 2, 3, 4)),
                {"scan": "B1", "verdict": "ok", "stage": "predicted"},
                {"scan": "B2", "verdict": "rejected", "stage": "screened"},
            ]
        ),
    }
    shown = calibrated_section(tables)
    assert shown["without"] == 1
    assert shown["verdicts"] == {"ok": 2, "flagged": 1, "refused": 1}
    (scanners,) = shown["views"]["scanners"]
    assert [line[4][0] for line in scanners.lines] == ["2", "1"]
    (findings,) = shown["views"]["findings"]
    assert [(line[0][0], line[1][0]) for line in findings.lines] == [
        ("too few rods", "no density"),
        ("rods left out", "used"),
    ]
    (view,) = shown["views"]["agreement"]
    cells = [line for line in view.lines if not isinstance(line, str)]
    assert [cell[2][0] for cell in cells] == ["mg/cm³, K₂HPO₄", "mg/cm³, CaHA"]
    assert "&lt;span" not in str(cells[0][6][0]) and "4.0" in str(cells[0][6][0])
    assert calibrated_section({}) == {} and density_rows([agreement(stratum="sex=M")]) == []
