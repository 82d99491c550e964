"""Calibration without a phantom: the published record, tissues of synthetic bodies, references."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from rod_scene import RodScene, certificate, scene

from lib.calibrated import Calibration
from lib.calibration_settings import CalibrationConfig
from lib.density.attenuation import COEFFICIENTS_CM2_G, coefficient_cm2_g
from lib.density.calibrate_scan import CalibrationRequest, calibrate_scan
from lib.density.internal_calibration import calibrate_by_references, calibrate_by_tables
from lib.density.michalski import fit_tissues
from lib.density.tissues import MissingTissue, clipped_share_of_air, measure_tissues, mode_hu

# of the scan VerSe 004, published with the code of Michalski et al.
RECORD = {"adipose": -82.579, "air": -956.834, "blood": 39.249, "cortical": 1226.214, "muscle": 24.561}
TISSUES = {"air": -1000.0, "adipose": -100.0, "muscle": 50.0, "cortical": 1200.0}


def test_the_published_record_is_reproduced_to_its_digits():
    curve = fit_tissues(RECORD)
    assert f"{curve.kev:.1f} {curve.r2:.6f}" == "97.0 0.998965"
    assert f"{curve.attenuation_slope:.6f} {curve.attenuation_intercept:.6f}" == "0.000016 0.171240"
    assert f"{curve.density_slope:.6f} {curve.density_intercept:.6f}" == "0.000893 0.968731"
    with pytest.raises(ValueError, match="four tissues are needed; got adipose"):
        fit_tissues({"adipose": -82.6})


def test_the_curve_of_the_record_is_not_that_of_a_phantom():
    """It gives 33 to 39 mg/cm3 at 0 HU, where a line of rods gives about 0, and it bends upwards."""
    curve = fit_tissues(RECORD)
    found = Calibration(method="michalski2020", scale="k2hpo4_michalski", curve=curve.__dict__)
    at_0, at_500, at_1000 = found.density_mg_cm3(np.array([0.0, 500.0, 1000.0]))
    assert 33 <= at_0 <= 39 and at_1000 - at_500 > at_500 - at_0 > 200
    # by hand at 0 HU: density 0.968731 g/cm3, coefficient 0.171240 cm2/g
    tri, mineral = 0.1683 + 0.15 * (0.1789 - 0.1683), 0.1972 + 0.15 * (0.2508 - 0.1972)
    assert at_0 == pytest.approx(968.731 * (0.171240 - tri) / (mineral - tri), abs=0.1)


def test_coefficients_are_interpolated_between_the_energies_of_the_table():
    assert coefficient_cm2_g("water", 80.0) == 0.1837
    assert coefficient_cm2_g("water", 90.0) == pytest.approx((0.1837 + 0.1707) / 2)
    assert all(list(row) == sorted(row, reverse=True) for row in COEFFICIENTS_CM2_G.values())
    with pytest.raises(ValueError, match="30 to 150 keV; got 20"):
        coefficient_cm2_g("water", 20.0)


def person(tissues=TISSUES, gain=1.0, offset_hu=0.0, seed=4):
    """A CT of a body with fat, muscle and two bones, over a phantom body and a table, by a scanner's own line."""
    made = RodScene()
    made.hu[:] = tissues["air"]
    made.fill(80 - np.hypot(made.x * 80 / 130, made.y + 20), tissues["adipose"])
    made.fill(60 - np.hypot(made.x * 60 / 105, made.y + 20), tissues["muscle"])
    for side in (-1, 1):
        distance_mm = np.hypot(made.x - side * 50, made.y + 10)
        made.fill(17 - distance_mm, tissues["cortical"])
        made.fill(9 - distance_mm, -40.0)
    made.fill(13.5 - np.hypot(np.maximum(np.abs(made.x) - 68, 0), made.y - 90), 55.0)
    made.hu = gain * made.hu + offset_hu
    return made.image(seed=seed)


def test_tissues_of_a_body_are_measured():
    found = measure_tissues(person())
    assert found == pytest.approx(TISSUES, abs=3)


def test_a_mode_is_not_moved_by_a_tail():
    rng = np.random.default_rng(5)
    values = np.concatenate([50 + 8 * rng.standard_normal(4000), rng.uniform(60, 300, 2000)])
    assert mode_hu(values) == pytest.approx(50, abs=1.5) and values.mean() > 80


def test_a_tissue_that_is_missing_or_has_wrong_hu_is_named():
    with pytest.raises(MissingTissue, match=r"^0.00 cm³ of cortical; 0.5 are needed"):
        measure_tissues(person(TISSUES | {"cortical": 600.0}))
    with pytest.raises(MissingTissue, match=r"cortical has 15\d\d HU; expected are 950 to 1450"):
        measure_tissues(person(TISSUES | {"cortical": 1590.0}))
    found = calibrate_by_tables(person(TISSUES | {"cortical": 1590.0}))
    assert (found.verdict, found.reason, found.curve) == ("refused", "no_tissues", None)
    assert calibrate_by_tables(RodScene().image()).reason == "no_tissues"


def test_clipped_air_is_flagged():
    """Air of -1020 HU with noise of 15 loses what lies below -1024; padding outside of the view is no air."""
    image, dark = person(), person(TISSUES | {"air": -1020.0})
    references = [reference() for _ in range(10)]
    assert clipped_share_of_air(image) < 0.1 and clipped_share_of_air(dark) == pytest.approx(0.4, abs=0.05)
    for found in (calibrate_by_references(dark, 120.0, references), calibrate_by_tables(dark)):
        assert (found.verdict, list(found.flags)) == ("flagged", ["air_clipped"])
        assert found.tissues["air"] > -1018
    hu = sitk.GetArrayFromImage(image)
    hu[:, :40], hu[:, :, :40] = -1024, -1024
    padded = sitk.GetImageFromArray(hu)
    padded.CopyInformation(image)
    assert clipped_share_of_air(padded) < 0.1
    assert calibrate_by_references(padded, 120.0, references).verdict == "ok"


def test_a_scan_is_calibrated_by_tables():
    found = calibrate_scan(
        person(), CalibrationRequest(method="michalski2020", acquisition={"kvp": 120.0}), CalibrationConfig()
    )
    assert (found.verdict, found.scale, found.slope_hu_per_mg_cm3) == ("ok", "k2hpo4_michalski", None)
    assert found.tissues == pytest.approx(TISSUES, abs=3) and found.kvp == 120.0
    again = Calibration.from_json(found.to_json())
    assert again.density_mg_cm3(300.0) == found.density_mg_cm3(300.0) > 200


def reference(**changed):
    tissues = {name: TISSUES[name] for name in ("air", "adipose", "muscle")}
    told = {"method": "phantom", "phantom": "p", "scale": "k2hpo4", "kvp": 120.0, "tissues": tissues}
    return Calibration(**told | {"slope_hu_per_mg_cm3": 1.38, "intercept_hu": 1.0} | changed)


def test_tissues_bring_the_scans_of_another_scanner_to_the_references():
    """A scanner shows 0.99 HU + 4, so its slope is 0.99 times that of the references."""
    references = [reference() for _ in range(10)]
    found = calibrate_by_references(person(gain=0.99, offset_hu=4.0), 120.0, references)
    assert (found.verdict, found.method, found.scale) == ("ok", "referenced", "k2hpo4_referenced")
    assert found.slope_hu_per_mg_cm3 == pytest.approx(0.99 * 1.38, rel=0.004)
    assert found.intercept_hu == pytest.approx(0.99 * 1.0 + 4.0, abs=2)
    assert found.density_mg_cm3(0.99 * (1.38 * 150 + 1.0) + 4.0) == pytest.approx(150, abs=2)


@pytest.mark.parametrize(
    "missing",
    [{"kvp": 140.0}, {"kvp": None}, {"tissues": None}, {"scale": "caha"}, {"method": "asynchronous"}],
)
def test_nine_references_are_too_few(missing):
    references = [reference() for _ in range(9)] + [reference(**missing)]
    found = calibrate_by_references(person(), 120.0, references)
    assert (found.reason, found.slope_hu_per_mg_cm3) == (
        "too_few_references",
        None,
    ) and "9 scans" in found.found
    unknown = calibrate_by_references(person(), None, [reference() for _ in range(20)])
    assert unknown.reason == "too_few_references" and "does not state its voltage" in unknown.found


def test_a_refused_phantom_is_no_reference():
    refused = Calibration(method="phantom", phantom="p", verdict="refused", reason="no_rods", kvp=120.0)
    references = [refused, *(reference() for _ in range(10))]
    request = CalibrationRequest(method="referenced", acquisition={"kvp": 120.0}, references=references)
    found = calibrate_scan(person(), request, CalibrationConfig())
    assert found.is_usable and "10 scans with a phantom" in found.found


def test_a_scan_with_a_phantom_keeps_its_tissues_for_the_others():
    made = scene()
    request = CalibrationRequest(method="phantom", acquisition={"kvp": 120.0}, certificate=certificate())
    assert calibrate_scan(made.image(), request, CalibrationConfig()).tissues is None
    found = calibrate_scan(made.image(), replace(request, with_tissues=True), CalibrationConfig())
    assert found.tissues == pytest.approx({"air": -1000, "adipose": -100, "muscle": 40}, abs=3)
    assert Calibration.from_json(found.to_json()) == found
