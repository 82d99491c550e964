"""Tables of calibrations and rods; control limits of scanners."""

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
from lib.stats.calibration_tables import CALIBRATION_COLUMNS, ROD_COLUMNS, calibration_tables, control_limits
from lib.stats.tables import METRIC_COLUMNS

ACQUIRED = {"subject": "P", "kvp": "120", "kernel": "B30s", "manufacturer": "Maker", "model": "One"}

NO_METRICS = pd.DataFrame(columns=list(METRIC_COLUMNS))


def line(slope=1.38, intercept_hu=0.0, **changed):
    told = {"method": "phantom", "phantom": "p", "scale": "k2hpo4", "reversed": False, "slices_used": 30}
    return Calibration(**told | {"slope_hu_per_mg_cm3": slope, "intercept_hu": intercept_hu} | changed)


def tables(calibrations, scanner="", orders=None):
    found = {f"S{k}": calibration for k, calibration in enumerate(calibrations)}
    scanners = {
        scan: {"scanner": scanner, "scan_order": orders[k] if orders else None}
        for k, scan in enumerate(found)
    }
    return calibration_tables(found, scanners, dict.fromkeys(found, ACQUIRED), 3.0)


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
    assert (refused.verdict, refused.reason) == (
        "refused",
        "other_kvp",
    ) and "140 kV, and QA 120 kV" in refused.found
    assert list(calibrate_by_other_scan(source(), {"kvp": None}).flags) == ["kvp_unknown"]
    heights = {"kvp": 120.0, "table_height_mm": 100.0}
    assert list(calibrate_by_other_scan(source(table_height_mm=160.0), heights).flags) == [
        "table_height_differs"
    ]
    assert calibrate_by_other_scan(source(table_height_mm=140.0), heights).verdict == "ok"


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
    assert "1 scanners with 10 scans: 1 lie outside of the limits" in drawing.alt
    assert set(drawing.data["scanner"]) == {"room 3"} and len(drawing.figure.axes) == 3
    red = drawing.figure.axes[0].lines[-1]
    assert list(red.get_xdata()) == [9.0] and list(red.get_ydata()) == pytest.approx([1.38 * 1.02])
    assert draw_calibration_drift(second) is None
    results = StudyResults(metrics=NO_METRICS, agreement=pd.DataFrame(), calibration=both)
    (entry,) = draw_figures(results, tmp_path)
    assert entry["kind"] == "calibration_drift" and entry["width"] <= 560
    assert (tmp_path / "calibration-drift.png").exists() and (tmp_path / entry["csv"]).exists()
