"""The correction of the bias field is a job of its own, and only where a study asks for it."""

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from ball import OVERLAY, make_balls

from lib.commands.estimate import estimate_rules
from lib.commands.planning.workflow import read_workflow
from tests.study import Study

pytestmark = pytest.mark.workflow
RESAMPLED = "results/resampled/B1/image.nii.gz"


def balls(folder, method) -> Study:
    overlay = folder / f"{method}.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAY | {"bias_field": {"method": method}}))
    return Study(folder, str(overlay), ("cohort=cohort.csv",))


def counted(study) -> dict[str, int]:
    arguments = ["--directory", str(study.folder), "--configfile", study.overlay, "--config", *study.settings]
    return {row.rule: row.jobs for row in estimate_rules(read_workflow(arguments))}


def test_the_bias_field_is_corrected_only_where_it_is_asked_for(tmp_path):
    make_balls(tmp_path)
    without, corrected = balls(tmp_path, "none"), balls(tmp_path, "n4")
    asked, usual = corrected.planned(RESAMPLED), without.planned(RESAMPLED)
    assert asked["correct_bias"] == 1 and "correct_bias" not in usual
    assert asked["convert_scan"] == asked["resample_image"] == usual["resample_image"] == 1
    asked, usual = counted(corrected), counted(without)
    assert asked.keys() - usual.keys() == {"correct_bias"}
    assert asked["correct_bias"] == asked["convert_scan"]

    corrected.run(RESAMPLED)
    converted, divided, resampled = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "results" / folder / "B1/image.nii.gz")))
        for folder in ("converted", "bias_corrected", "resampled")
    )
    assert np.array_equal(resampled, divided) and not np.array_equal(converted, divided)
    # without the correction, the image is resampled again from the converted one
    assert set(without.planned(RESAMPLED)) == {"resample_image"}


def test_a_correction_of_ct_is_refused_before_any_job(tmp_path):
    message = Study(tmp_path).refuse("--dry-run", settings=("bias_field={method: n4}",))
    assert "bias_field.method: n4 corrects the shading of MR images" in message
    assert "screening.modality is CT; set bias_field.method: none" in message and "Traceback" not in message
