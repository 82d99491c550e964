"""Real scans, good and bad, with finished models: each gets a verdict, and the run continues to the report."""

import csv
import json
from pathlib import Path

import pytest

from tests.study import Study

REAL = Path(__file__).parents[3] / "shared/data/real"

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.realdata,
    pytest.mark.skipif(
        not REAL.is_dir(), reason=f"no real scans at {REAL}: they are not part of this repository"
    ),
]

SCANS = {
    "right-hip": ("totalsegmentator/example_ct.nii.gz", "right", "ok"),
    "left-hip": ("totalsegmentator/example_ct.nii.gz", "left", "ok"),
    "twenty-slices": ("totalsegmentator/example_ct_dicom", "left", "rejected"),
    "tilted-head": ("dcm_qa_ct/GE", "left", "rejected"),
    "tilted": ("dicom2nifti/failing/gantrytilting/001", "left", "rejected"),
    "one-position": ("dicom2nifti/failing/notavolume/001", "left", "rejected"),
    "two-slices": ("dicom2nifti/failing/slicecount/001", "left", "rejected"),
    "gap": ("dicom2nifti/failing/sliceincrement/001", "left", "rejected"),
    "jpeg-ls": ("dicom2nifti/generic/compressed_jpegls/001", "left", "rejected"),
    "six-series": ("mri2psm/dicom", "left", "rejected"),
}
EXPECTED_REASONS = {
    "tilted-head": "gantry_tilt",
    "tilted": "gantry_tilt",
    "one-position": "duplicate_positions",
    "gap": "missing_slices",
    "six-series": "wrong_modality",
}


@pytest.fixture(scope="module")
def ended(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    lines = ["scan,subject,image,side,mask,mask_label"]
    for scan, (image, side, _) in SCANS.items():
        mask = (
            f"{REAL}/totalsegmentator/example_seg_fast_force_split.nii.gz,76" if scan == "right-hip" else ","
        )
        subject = "both-hips" if SCANS[scan][0] == SCANS["right-hip"][0] else scan
        lines.append(f"{scan},{subject},{REAL / image},{side},{mask}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    model = finished.folder / "results/models/all/vnet"
    study = Study(folder, settings=("cohort=cohort.csv", f"model={model}"))
    study.run()
    return study


def table(study, name):
    with open(study.folder / "results" / name, newline="") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def test_every_scan_has_its_verdict_with_a_reason_and_advice(ended):
    verdicts = table(ended, "cohort/scans.csv")
    assert {scan: row["verdict"] for scan, row in verdicts.items()} == {
        scan: verdict for scan, (_, _, verdict) in SCANS.items()
    }
    for scan, row in verdicts.items():
        assert (row["verdict"] == "ok") == (row["reason"] == ""), scan
        assert row["verdict"] == "ok" or len(row["explanation"]) > 40
    for scan, reason in EXPECTED_REASONS.items():
        assert reason in verdicts[scan]["reason"].split(), scan
    assert "metal" in verdicts["left-hip"]["warnings"]


def test_accepted_scans_are_predicted_and_the_report_is_made(ended):
    assert set(table(ended, "tables/volumes.csv")) == {"right-hip", "left-hip"}
    assert set(table(ended, "tables/metrics.csv")) == {"right-hip"}
    assert (ended.folder / "results/report/index.html").exists()
    assert {row["stage"] for row in table(ended, "tables/flow.csv").values()} == {
        "screened",
        "predicted",
        "scored",
    }


def test_a_tilted_uneven_series_is_repaired_where_that_is_asked_for(ended):
    settings = ("dicom={correct_tilt: true, resample_uneven: true}",)
    ended.run("results/screened/tilted-head.json", settings=settings)
    screened = json.loads((ended.folder / "results/screened/tilted-head.json").read_text())
    found = {reason["code"]: reason["found"] for reason in screened["reasons"]}
    assert "interpolated every 4" in found["slices_interpolated"]
    assert "stacked at 18.5" in found["tilt_corrected"]
    assert "gantry_tilt" not in found and "uneven_slices" not in found
    assert screened["geometry"]["oblique_degrees"] == pytest.approx(18.5, abs=0.01)


def test_source_paths_stay_out_of_the_results(ended):
    for path in (ended.folder / "results").rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            assert b"totalsegmentator" not in path.read_bytes(), path
