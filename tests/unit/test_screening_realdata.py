"""Verdicts on real scans of hips: an intact femur, a nailed one, and scans without a hip."""

from pathlib import Path

import pytest

from lib.crop_settings import CropConfig
from lib.screening.screen_scan import ScanRequest, screen_scan
from lib.screening_settings import ScreeningConfig

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
PELVIS = REAL / "totalsegmentator/example_ct.nii.gz"
LABELS = REAL / "totalsegmentator/example_seg_fast_force_split.nii.gz"
LEFT_FEMUR, RIGHT_FEMUR = 75, 76

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data/real beside the checkout is absent"),
]


def screen(path, **fields):
    screening = screen_scan(path, ScanRequest(**fields), ScreeningConfig(), CropConfig())
    return screening.verdict, {reason.code: reason.found for reason in screening.reasons}


def test_intact_hip_is_accepted_with_its_mask():
    assert screen(PELVIS, side="right", mask=LABELS, structures={"femur": (RIGHT_FEMUR,)}) == ("ok", {})


def test_nailed_hip_is_accepted_with_a_warning():
    verdict, found = screen(PELVIS, side="left", mask=LABELS, structures={"femur": (LEFT_FEMUR,)})
    assert verdict == "ok"
    assert found == {"metal": "11.6 cm³ above 2500 HU near the hip; at most 0.2 cm³ is allowed"}


def test_mask_of_the_other_femur_is_refused():
    verdict, found = screen(PELVIS, side="left", mask=LABELS, structures={"femur": (RIGHT_FEMUR,)})
    assert verdict == "rejected"
    assert "mask_elsewhere" in found


@pytest.mark.parametrize(
    "name",
    ["tptbox/sample_ct/sub-ct_label-22_ct.nii.gz", "totalsegmentator/example_ct_vertebrae_body.nii.gz"],
)
def test_what_shows_no_hip_is_refused(name):
    assert screen(REAL / name)[0] == "rejected"


def test_short_real_series_says_how_short():
    verdict, found = screen(REAL / "totalsegmentator/example_ct_dicom")
    assert verdict == "rejected"
    assert found["too_short"] == "40.0 mm from feet to head; 60.0 mm are needed"
