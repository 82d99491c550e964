"""A femur whose scan has a calibration, a refused one, or none: densities, or HU alone."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.calibrated import Calibration
from lib.catalog.calibration import NO_CALIBRATION
from lib.density_settings import DensityConfig
from lib.measuring.bone_density import CalibratedScan
from tests.unit.solid_femur import SPACING_MM_ZYX, solid_femur

REFUSED = Calibration(
    method="phantom", phantom="p", scale="k2hpo4", verdict="refused", reason="two_phantoms", found="two rows"
)
MASK = solid_femur(61.0).astype(bool)


def measured(calibration):
    """Return the section `density` of a femur of 300 HU in muscle."""
    image = sitk.GetImageFromArray(np.where(MASK, 300, 40).astype(np.int16))
    image.SetSpacing(SPACING_MM_ZYX[::-1])
    scan = CalibratedScan(image=image, side="left", calibration=calibration, config=DensityConfig())
    return scan.measure({"predicted": MASK}).section


def test_a_refused_calibration_leaves_volumes_and_hu():
    refused, none = measured(REFUSED), measured(None)
    assert (refused["calibration"]["verdict"], refused["calibration"]["reason"]) == (
        "refused",
        "two_phantoms",
    )
    assert none["calibration"]["method"] == ""
    assert refused["calibration"]["no_density"] == "the calibration of the scan was refused (two_phantoms)"
    assert none["calibration"]["no_density"] == NO_CALIBRATION
    neck = refused["predicted"]["regions"]["neck"]["integral"]
    assert neck["hu_mean"] == 300 and neck["volume_mm3"] > 1000
    assert neck["vbmd_mg_cm3"] is None and "two_phantoms" in neck["undefined"]["vbmd_mg_cm3"]
    assert neck | {"undefined": {}} == none["predicted"]["regions"]["neck"]["integral"] | {"undefined": {}}
    assert all(roi["abmd_g_cm2"] is None for roi in refused["predicted"]["areal"].values())


def test_a_calibration_gives_the_density_of_these_hu():
    line = Calibration(
        method="phantom", phantom="p", scale="k2hpo4", slope_hu_per_mg_cm3=1.5, intercept_hu=0.0
    )
    femur = measured(line)["predicted"]["regions"]["femur"]["integral"]
    assert femur["vbmd_mg_cm3"] == pytest.approx(200) and femur["undefined"] == {}
    assert femur["bmc_mg"] == pytest.approx(200 * femur["volume_mm3"] / 1000)
