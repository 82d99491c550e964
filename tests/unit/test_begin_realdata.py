"""`osteoflow init` on folders of real scans."""

import csv
import random
import shutil
from pathlib import Path

import pytest
import yaml

from lib.commands.beginning.begin_study import begin_study

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REAL.is_dir(), reason="the folder shared/data/real beside the checkout is absent"),
]


def begin(folder, study):
    told = begin_study(folder, study, "", random.Random(0))
    with open(study / "cohort.csv", newline="") as file:
        return told, yaml.safe_load((study / "study.yaml").read_text()), list(csv.DictReader(file))


def copied(folder, *names):
    folder.mkdir()
    for name in names:
        shutil.copy(REAL / name, folder)
    return folder


def test_a_ct_with_labels_of_totalsegmentator(tmp_path):
    names = [f"totalsegmentator/example_{name}.nii.gz" for name in ("ct", "seg_fast_force_split")]
    _, overlay, (row,) = begin(copied(tmp_path / "scans", *names), tmp_path / "study")
    assert overlay["anatomy"] == "proximal-femur" and "screening" not in overlay
    assert (row["mask_label"], row["side"]) == ("75", "left")


def test_an_mr_with_both_femora_and_pelvis(tmp_path):
    names = ["mri2psm/pelvis_t1_tse_ax.nii.gz", "mri2psm/pelvis_t1_tse_ax_bones_label.nii.gz"]
    _, overlay, (row,) = begin(copied(tmp_path / "scans", *names), tmp_path / "study")
    assert overlay["screening"] == {"modality": "MR"} and overlay["anatomy"] == "proximal-femur"
    assert (row["mask_label"], row["side"]) == ("2", "left")  # 1 is the right femur


def test_six_series_in_one_folder(tmp_path):
    told, overlay, rows = begin(REAL / "mri2psm/dicom", tmp_path / "study")
    assert told[0].startswith("6 DICOM series in 1 folder: 1 MR, 2 further series of the same examinations")
    assert [bool(row["exclude"]) for row in rows] == [False, True, True]
    assert len({row["series_uid"] for row in rows}) == 3 and len({row["subject"] for row in rows}) == 1
    assert overlay["resample"] == {"method": "none"}


def test_a_vertebra_with_label_maps_named_after_bids(tmp_path):
    told, _, (row,) = begin(REAL / "tptbox/sample_ct", tmp_path / "study")
    assert row["image"].endswith("sub-ct_label-22_ct.nii.gz") and not row["mask"]
    assert "2 masks of no scan, or of several" in told[0]


def test_a_tilted_head_is_no_hip(tmp_path):
    _, overlay, _ = begin(REAL / "dcm_qa_ct", tmp_path / "study")
    assert overlay["anatomy"] == "generic"
