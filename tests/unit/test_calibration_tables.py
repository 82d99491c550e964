"""Tables of calibrations and rods; control limits of scanners."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rod_scene import MINDWAYS, certificate, scene

from lib.calibrated import Calibration
from lib.calibration_settings import CalibrationConfig
from lib.catalog.calibration import CALIBRATION_FLAGS, METHODS, REFUSALS, findings_table
from lib.density.calibrate_scan import (
    CalibrationRequest,
    CalibrationScan,
    calibrate_by_other_scan,
    calibrate_scan,
)
from lib.errors import ConfigError
from lib.figures.calibration_figures import draw_calibration_drift
from lib.figures.gallery import StudyResults, draw_figures
from lib.stats.calibration_tables import (
    CALIBRATION_COLUMNS,
    ROD_COLUMNS,
    ScanFacts,
    calibration_tables,
    control_limits,
)
from lib.stats.tables import METRIC_COLUMNS

ACQUIRED = {"subject": "P", "kvp": "120", "kernel": "B30s", "manufacturer": "Maker", "model": "One"}

NO_METRICS = pd.DataFrame(columns=list(METRIC_COLUMNS))


def line(slope=1.38, intercept_hu=0.0, **changed):
    told = {"method": "phantom", "phantom": "p", "scale": "k2hpo4", "reversed": False, "slices_used": 30}
    return Calibration(**told | {"slope_hu_per_mg_cm3": slope, "intercept_hu": intercept_hu} | changed)


def tables(calibrations, scanner="", orders=None, digests=None):
    found = {f"S{k}": calibration for k, calibration in enumerate(calibrations)}
    scanners = {
        scan: {"scanner": scanner, "scan_order": orders[k] if orders else None}
        for k, scan in enumerate(found)
    }
    facts = ScanFacts(
        scanners=scanners, acquisition=dict.fromkeys(found, ACQUIRED), digests=dict(digests or {})
    )
    return calibration_tables(found, facts, 3.0)


def noisy(count, sd=0.001, seed=1):
    return 1.38 * (1 + sd * np.random.default_rng(seed).standard_normal(count))


def test_limits_by_hand():
    """Slopes 1, 2, ..., 8 in order: median 4.5, MAD 2, neighbours 1 apart."""
    lines = [(float(k), 10.0 * k) for k in range(1, 9)]
    limits = control_limits(lines, 3.0, in_order=False)
    assert limits.slope == 4.5 and limits.slope_within == pytest.approx(3 * 1.4826 * 2)
    assert limits.intercept_within_hu == pytest.approx(3 * 1.4826 * 20)
    assert control_limits(lines, 3.0, in_order=True).slope_within == pytest.approx(3 / 0.954)
    assert control_limits(lines[:7], 3.0, in_order=True) is None
    # equal lines still differ by what a measurement may be off
    limits = control_limits([(1.4, 2.0)] * 8, 3.0, in_order=True)
    assert (limits.slope_within, limits.intercept_within_hu) == pytest.approx((0.007, 1.0))


def test_a_step_of_two_percent_is_flagged():
    slopes = [*noisy(9), 1.38 * 1.02]
    table, _ = tables([line(slope) for slope in slopes])
    assert list(table["flags"]) == [""] * 9 + ["calibration_drift"]
    assert list(table["verdict"]) == ["ok"] * 9 + ["flagged"]
    last = table.iloc[-1]
    assert not last["slope_low"] <= last["slope_hu_per_mg_cm3"] <= last["slope_high"]
    # what reads 300 mg/cm3 usually reads 2 % less now
    assert last["change_at_300_mg_cm3"] == pytest.approx(-300 * 0.02 / 1.02, abs=0.5)
    assert last["change_at_0_mg_cm3"] == pytest.approx(0, abs=1e-6)


def test_a_slow_drift_is_flagged_if_the_order_is_known():
    slopes = noisy(20, sd=0.0005) * (1 + 0.02 * np.linspace(-0.5, 0.5, 20))
    shuffled = np.random.default_rng(2).permutation(20)
    calibrations = [line(slopes[k]) for k in shuffled]
    flagged, _ = tables(calibrations, orders=[float(k) for k in shuffled])
    drifted = {k for k, flags in zip(shuffled, flagged["flags"], strict=True) if flags}
    assert {0, 19} <= drifted and 10 not in drifted
    assert not tables(calibrations)[0]["flags"].any()


def test_an_offset_is_flagged_by_the_intercept():
    table, _ = tables([line(intercept_hu=float(b)) for b in (0, 0.3, -0.2, 0.1, -0.4, 0.2, 0, 0.1, 6)])
    assert list(table["flags"]).index("calibration_drift") == 8


def test_each_scanner_phantom_and_voltage_has_its_own_limits():
    two = [line(slope) for slope in noisy(8)] + [line(1.6 * slope / 1.38, phantom="q") for slope in noisy(7)]
    table, _ = tables(two)
    assert not table["flags"].any() and table["slope_low"].notna().tolist() == [True] * 8 + [False] * 7
    assert set(table["scanner"]) == {"Maker One B30s"}
    assert set(tables(two, scanner="room 3")[0]["scanner"]) == {"room 3"}


def both_hips(people, sd=0.001):
    """Return the calibrations of both hips of people, and the digests of their images: two scans of each."""
    calibrations = [line(slope) for slope in noisy(people, sd) for _ in range(2)]
    return calibrations, {f"S{k}": f"image {k // 2}" for k in range(2 * people)}


def test_two_hips_of_an_image_are_one_acquisition():
    calibrations, digests = both_hips(4)
    table, _ = tables(calibrations, digests=digests)
    assert list(table["same_image_as"]) == ["", "S0", "", "S2", "", "S4", "", "S6"]
    assert table["slope_low"].isna().all()  # four scans, not eight
    assert tables(calibrations)[0]["slope_low"].notna().all()
    calibrations, digests = both_hips(9, sd=0.01)
    table, _ = tables(calibrations, orders=[k // 2 for k in range(18)], digests=digests)
    once, _ = tables(calibrations[::2], orders=list(range(9)))
    # limits of nine scans: had each counted twice, every other step between neighbours would be 0
    twice, _ = tables(calibrations, orders=list(range(18)))
    width = [found["slope_high"][0] - found["slope_low"][0] for found in (table, once, twice)]
    assert width[0] == width[1] != pytest.approx(width[2])
    assert table["slope_low"].notna().all() and list(table["flags"][::2]) == list(table["flags"][1::2])


def test_a_hip_with_another_method_is_no_second_row_of_the_acquisition():
    own, taken = line(), line(method="asynchronous", calibration_scan="S2")
    table, _ = tables([taken, own, own], digests={"S0": "a", "S1": "a", "S2": "a"})
    assert list(table["same_image_as"]) == ["", "", "S1"]


def test_the_control_chart_has_a_point_for_each_acquisition():
    calibrations, digests = both_hips(8)
    table, _ = tables(calibrations, scanner="room 3", digests=digests)
    drawing = draw_calibration_drift(table)
    assert "1 scanner with 8 scans" in drawing.alt and len(drawing.data) == 8
    assert draw_calibration_drift(tables(*both_hips(7)[:1], digests=both_hips(7)[1])[0]) is None


def test_refused_and_taken_calibrations_have_no_part_in_limits():
    refused = Calibration(method="phantom", phantom="p", verdict="refused", reason="no_rods")
    taken = line(1.9, method="asynchronous", calibration_scan="S0")
    table, _ = tables([*(line(slope) for slope in noisy(8)), refused, taken])
    assert table["slope_low"].notna().sum() == 8 and list(table["verdict"][8:]) == ["refused", "ok"]
    assert table["slope_hu_per_mg_cm3"].isna()[8] and not table["flags"].any()


def test_rows_of_scans_and_rods():
    found = calibrate_scan(
        scene().image(),
        CalibrationRequest(method="phantom", acquisition={}, certificate=certificate()),
        CalibrationConfig(),
    )
    table, rods = tables([found], orders=[4.0])
    assert tuple(table.columns) == CALIBRATION_COLUMNS and tuple(rods.columns) == ROD_COLUMNS
    row = table.iloc[0]
    assert (row["rods_found"], row["reversed"], row["scan_order"], row["kvp"]) == (5, 0, 4.0, "120")
    assert list(rods["density_mg_cm3"]) == [rod["density_mg_cm3"] for rod in MINDWAYS["rods"]]
    assert set(rods["scan"]) == {"S0"}
    # residuals are those of the line: HU less water, less what the fit expects
    expected = (row["slope_hu_per_mg_cm3"] + 0.2174) * rods["density_mg_cm3"] + row["intercept_hu"] - 999.6
    assert np.allclose(rods["hu_mean"] - rods["water_mg_cm3"] - expected, rods["residual_hu"])


def source(calibration=None, **acquired):
    calibration = calibration or line(1.41, 3.0)
    return CalibrationScan(scan="QA", calibration=calibration, acquisition={"kvp": 120.0} | acquired)


def test_a_scan_takes_the_line_of_another_one():
    found = calibrate_by_other_scan(source(), {"kvp": 120.0})
    assert (found.slope_hu_per_mg_cm3, found.intercept_hu, found.scale) == (1.41, 3.0, "k2hpo4")
    assert (found.method, found.calibration_scan, found.verdict) == ("asynchronous", "QA", "ok")
    assert Calibration.from_json(found.to_json()) == found


def test_another_voltage_or_table_height_is_told():
    refused = calibrate_by_other_scan(source(), {"kvp": 140.0})
    assert (refused.verdict, refused.reason) == ("refused", "other_kvp")
    assert "140 kV, and QA 120 kV" in refused.found
    assert calibrate_by_other_scan(source(), {"kvp": 121.0}).verdict == "ok"
    assert list(calibrate_by_other_scan(source(), {"kvp": None}).flags) == ["kvp_unknown"]
    assert list(calibrate_by_other_scan(source(kvp=None), {"kvp": 120.0}).flags) == ["kvp_unknown"]
    for height_mm, flags in (
        (160.0, ["table_height_differs"]),
        (40.0, ["table_height_differs"]),
        (140.0, []),
    ):
        heights = {"kvp": 120.0, "table_height_mm": 100.0}
        assert list(calibrate_by_other_scan(source(table_height_mm=height_mm), heights).flags) == flags
    # what one header does not state is not compared
    assert calibrate_by_other_scan(source(table_height_mm=160.0), {"kvp": 120.0}).verdict == "ok"


def test_another_kernel_is_flagged():
    sharp = {"kvp": 120.0, "kernel": "B70s"}
    found = calibrate_by_other_scan(source(kernel="B30s"), sharp)
    assert (found.verdict, list(found.flags)) == ("flagged", ["kernel_differs"])
    assert calibrate_by_other_scan(source(kernel="b70s"), sharp).verdict == "ok"
    assert calibrate_by_other_scan(source(), sharp).verdict == "ok"


def test_another_scanner_lends_no_line():
    second = {"kvp": 120.0, "model": "Two"}
    found = calibrate_by_other_scan(source(model="One"), second)
    assert (found.verdict, found.reason) == ("refused", "other_scanner")
    assert found.found == "model Two, and QA One" and found.slope_hu_per_mg_cm3 is None
    # the table's word decides over the headers: a scanner may have got a new name
    assert calibrate_by_other_scan(replace(source(model="One"), is_one_scanner=True), second).is_usable
    assert calibrate_by_other_scan(source(model="TWO"), second).is_usable
    assert calibrate_by_other_scan(source(), second).is_usable


def test_what_the_table_forbids_is_refused():
    told = {"reason": "scan_order_gap", "found": "too far"}
    found = calibrate_by_other_scan(replace(source(), refusal=told), {"kvp": 120.0})
    assert (found.verdict, found.reason, found.found) == ("refused", "scan_order_gap", "too far")
    assert (found.scale, found.calibration_scan, found.slope_hu_per_mg_cm3) == ("k2hpo4", "QA", None)


def test_flags_come_along_and_a_refused_scan_gives_nothing():
    flagged = calibrate_by_other_scan(
        source(line(verdict="flagged", flags=("drifts_along_z",))), {"kvp": 120.0}
    )
    assert (flagged.verdict, list(flagged.flags)) == ("flagged", ["drifts_along_z"])
    none = Calibration(method="phantom", phantom="p", verdict="refused", reason="no_rods")
    found = calibrate_by_other_scan(source(none), {"kvp": 120.0})
    assert (found.reason, found.slope_hu_per_mg_cm3) == ("no_calibration_scan", None)


def test_an_unknown_method_is_an_error():
    with pytest.raises(ConfigError, match="calibration by magic is not known"):
        calibrate_scan(None, CalibrationRequest(method="magic", acquisition={}), CalibrationConfig())


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "refused"},
        {"verdict": "ok", "reason": "no_rods"},
        {"verdict": "ok", "slope_hu_per_mg_cm3": None},
        {"verdict": "refused", "reason": "no_rods"},
    ],
)
def test_a_calibration_does_not_contradict_itself(wrong):
    with pytest.raises(ValueError, match="verdict"):
        line(**wrong)


def test_codes_are_words_with_a_meaning_and_advice():
    for told in (*REFUSALS.items(), *CALIBRATION_FLAGS.items()):
        code, finding = told
        assert code == code.lower() and finding.meaning.endswith(".") and finding.action.endswith(".")
    assert not REFUSALS.keys() & CALIBRATION_FLAGS.keys()


def test_the_page_explains_every_code():
    page = (Path(__file__).parents[2] / "docs/calibration.md").read_text(encoding="utf-8")
    assert findings_table(REFUSALS) in page and findings_table(CALIBRATION_FLAGS) in page
    assert all(f"| `{method}` |" in page for method in METHODS)


def test_the_control_chart_has_scanners_with_eight_scans_and_their_numbers(tmp_path):
    slopes = [*noisy(9), 1.38 * 1.02]
    first, _ = tables(
        [line(slope) for slope in slopes], scanner="room 3", orders=[float(k) for k in range(10)]
    )
    second, _ = tables([line(slope, phantom="q") for slope in noisy(7)])
    both = pd.concat([first, second], ignore_index=True)
    drawing = draw_calibration_drift(both)
    assert "1 scanner with 10 scans: 1 lies outside of the limits" in drawing.alt
    assert set(drawing.data["scanner"]) == {"room 3"} and len(drawing.figure.axes) == 3
    red = drawing.figure.axes[0].lines[-1]
    assert list(red.get_xdata()) == [9.0] and list(red.get_ydata()) == pytest.approx([1.38 * 1.02])
    assert draw_calibration_drift(second) is None
    results = StudyResults(metrics=NO_METRICS, agreement=pd.DataFrame(), calibration=both)
    (entry,) = draw_figures(results, tmp_path)
    assert entry["kind"] == "calibration_drift" and entry["width"] > 560  # three panels: across the page
    assert (tmp_path / "calibration-drift.png").exists() and (tmp_path / entry["csv"]).exists()
