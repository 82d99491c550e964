"""How far every scan came and why it stopped: from the tables, and from the logs of unfinished jobs."""

import pandas as pd
import pytest

from lib.cohort.failures import (
    explain_failures,
    explain_fold,
    is_measurable,
    job_failure,
    prediction_failure,
)
from lib.cohort.placement import Placement
from lib.cohort.predictions import plan_predictions
from lib.errors import ScanError
from lib.joblog import job_log
from lib.stats.flow import FLOW_COLUMNS, flow_table, seen_in_training


def scan_row(scan, **values):
    row = {"scan": scan, "subject": scan, "sex": "M", "age": "70", "site": "", "set": "auto", "has_mask": "1"}
    return row | {"verdict": "ok", "reason": "", "explanation": ""} | values


def test_flow_tells_how_far_and_why_no_further():
    scans = pd.DataFrame(
        [
            scan_row("scored"),
            scan_row("unscored", has_mask="0"),
            scan_row("stuck"),
            scan_row("metal", verdict="rejected", reason="metal", explanation="a nail; use another scan"),
            scan_row("left-out", verdict="excluded", reason="excluded", explanation="consent withdrawn"),
            scan_row("new", verdict="missing", reason="not_screened"),
        ]
    )
    folds = pd.DataFrame(
        {"scan": ["scored", "unscored", "stuck"], "set": ["train", "apply", "test"], "fold": [3, -1, -1]}
    )
    reached = {
        "converted": ["scored", "unscored", "stuck"],
        "cropped": ["scored", "unscored", "stuck"],
        "predicted": ["scored", "unscored"],
        "scored": ["scored"],
    }
    flow = flow_table(scans, folds, reached)
    assert tuple(flow.columns) == FLOW_COLUMNS
    flow = flow.set_index("scan")
    assert flow["stage"].to_dict() == {
        "scored": "scored",
        "unscored": "predicted",
        "stuck": "cropped",
        "metal": "screened",
        "left-out": "listed",
        "new": "listed",
    }
    assert flow["reason"].to_dict() == {
        "scored": "",
        "unscored": "no_reference",
        "stuck": "not_predicted",
        "metal": "metal",
        "left-out": "excluded",
        "new": "not_screened",
    }
    assert (flow.loc["scored", "set"], flow.loc["scored", "fold"]) == ("train", 3)
    assert flow.loc["left-out", "explanation"] == "consent withdrawn"


def test_a_scan_without_a_reference_that_was_not_predicted_waits_for_its_prediction():
    flow = flow_table(
        pd.DataFrame([scan_row("stuck", has_mask="0"), scan_row("first")]),
        pd.DataFrame({"scan": ["stuck", "first"], "set": ["apply", "train"], "fold": [-1, 0]}),
        {"cropped": ["stuck", "first"], "predicted": ["first"], "scored": ["first"]},
    ).set_index("scan")
    assert flow["reason"].to_dict() == {"stuck": "not_predicted", "first": ""}
    assert flow["fold"].to_dict() == {"stuck": "", "first": 0}  # folds count from 0


def test_flow_keeps_every_scan_of_the_table_before_anything_ran():
    scans = pd.DataFrame([scan_row("a", verdict="missing", reason="not_screened")])
    flow = flow_table(scans, pd.DataFrame(columns=["scan", "set", "fold"]), {})
    assert flow["scan"].tolist() == ["a"]


def test_the_flow_tells_failures_and_reviews():
    names = ("stuck", "partly", "applied", "unscreened", "rejected")
    scans = pd.DataFrame(
        [
            scan_row("stuck"),
            scan_row("partly"),
            scan_row("applied", has_mask="0"),
            scan_row("unscreened", verdict="missing", reason="not_screened", explanation="see the log"),
            scan_row("rejected", verdict="excluded", reason="rejected_in_review", explanation="wrong hip"),
        ]
    )
    reached = {
        "converted": names,
        "cropped": ("partly", "applied", "rejected"),
        "predicted": ("partly", "applied"),
        "scored": ("partly",),
    }
    failures = {"stuck": "no hip", "partly": "test-single not scored: x", "applied": "y", "unscreened": "z"}
    reviews = {"rejected": {"verdict": "rejected", "comment": "wrong hip"}}
    folds = pd.DataFrame({"scan": names, "set": "test", "fold": -1})
    flow = flow_table(scans, folds, reached, failures, reviews).set_index("scan")
    assert flow[["stage", "reason", "explanation"]].T.to_dict("list") == {
        "stuck": ["converted", "not_cropped", "no hip"],
        "partly": ["scored", "partly_missing", "test-single not scored: x"],
        "applied": ["predicted", "partly_missing", "y"],
        "unscreened": ["listed", "not_screened", "see the log: z"],
        "rejected": ["listed", "rejected_in_review", "wrong hip"],
    }
    assert flow.loc["rejected", ["review", "review_comment"]].tolist() == ["rejected", "wrong hip"]
    assert flow.loc["stuck", ["review", "review_comment"]].tolist() == ["", ""]


def log_of(results, job, name, failure=None, facts=("read 40 slices",)):
    """Write the log of a job as the job itself would; `failure` is what it raises."""
    try:
        with job_log(results / "logs" / job / f"{name}.log") as logger:
            for fact in facts:
                logger.info(fact)
            if failure:
                raise failure
    except SystemExit:
        pass


def leave(results, *files):
    for file in files:
        path = results / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def placed(scan, batch=0, **values):
    person = {
        "subject": scan,
        "sex": "F",
        "age": None,
        "site": "",
        "has_mask": True,
        "set": "train",
        "fold": 0,
    }
    return Placement(scan=scan, batch=batch, **(person | values))


def explained(results, rows, measured=(), scored=(), folds=None, corrected=(), unused=()):
    planned = plan_predictions(rows, {"all": {}}, ["vnet"], "best")
    extras = ([row for row in planned if f"{row.folder}/{row.placement.scan}" in scored], corrected)
    missing = [row for row in planned if row.path not in measured]
    return explain_failures(rows, missing, extras, folds or {}, results, unused)


def one_prediction(scan="A"):
    """Return the cross-validated prediction of a scan, and the files that a complete one leaves."""
    (row,) = plan_predictions([placed(scan)], {"all": {}}, ["vnet"], "best")
    files = (
        *(f"{stage}/{scan}/image.nii.gz" for stage in ("converted", "resampled", "cropped")),
        *(f"{stage}/{scan}/labels.nii.gz" for stage in ("resampled", "cropped")),
        f"masks/{row.folder}/{scan}/labels.nii.gz",
        f"predictions/{row.folder}/batch-0/x",
        f"measured/{row.folder}/{scan}.json",
    )
    return row, files


def test_a_scan_that_fails_in_convert_is_told_in_the_words_of_its_log(tmp_path):
    log_of(tmp_path, "convert_scan", "A", ScanError("tilt", "tilt of 18.5 degrees.\nSet dicom.correct_tilt."))
    log_of(tmp_path, "convert_scan", "B", ZeroDivisionError("division by zero"))
    found = explained(tmp_path, [placed("A"), placed("B")])
    assert found["A"] == "tilt of 18.5 degrees. Set dicom.correct_tilt."
    assert found["B"] == "unexpected failure: ZeroDivisionError: division by zero"


def test_a_job_that_succeeded_or_never_began_gives_no_reason(tmp_path):
    log_of(tmp_path, "convert_scan", "A")
    leave(tmp_path, "converted/A/image.nii.gz")
    assert job_failure("convert_scan", tmp_path, scan="A") == ""
    assert job_failure("crop_image", tmp_path, scan="A") == ""
    assert explained(tmp_path, [placed("A")]) == {"A": "not tried yet"}


def test_an_error_of_a_former_try_is_forgotten_once_the_file_is_there(tmp_path):
    log_of(tmp_path, "crop_image", "A", ScanError("no_bone", "no bone"))
    assert job_failure("crop_image", tmp_path, scan="A") == "no bone"
    leave(tmp_path, "cropped/A/image.nii.gz")
    assert job_failure("crop_image", tmp_path, scan="A") == ""


def test_the_reason_is_that_of_the_failed_job_and_not_of_earlier_ones(tmp_path):
    log_of(tmp_path, "convert_scan", "A")
    log_of(tmp_path, "resample_image", "A")
    leave(tmp_path, "converted/A/image.nii.gz", "resampled/A/image.nii.gz")
    log_of(tmp_path, "crop_image", "A", ScanError("no_bone", "no bone in the window"))
    assert explained(tmp_path, [placed("A")]) == {"A": "no bone in the window"}


def test_a_killed_training_is_told_with_its_last_words(tmp_path):
    log_of(tmp_path, "train_fold", "all/vnet/fold-0", facts=("epoch 1", "epoch 2: dice 0.71"))
    why = explain_fold("all/vnet/fold-0", tmp_path)
    assert why == "its job train_fold was killed or still runs; its last words: epoch 2: dice 0.71"
    assert explain_fold("all/vnet/fold-1", tmp_path) == "not tried yet"


def test_a_missing_fold_takes_its_own_people_and_the_ensemble(tmp_path):
    rows = [placed("A"), placed("B", fold=1), placed("T", set="test", fold=-1), placed("S", batch=1)]
    for row in rows[:3]:
        leave(tmp_path, f"cropped/{row.scan}/image.nii.gz")
    folds = {"all/vnet/fold-0": "out of memory", "male/vnet/fold-1": "other cohort"}
    found = explained(
        tmp_path, rows, measured={"all/vnet/fold-1/B"}, scored={"all/vnet/fold-1/B"}, folds=folds
    )
    assert found["A"] == "cv (all/vnet/fold-0) not predicted: no model of all/vnet/fold-0 (out of memory)"
    assert "B" not in found
    assert found["T"] == (
        "test (all/vnet/ensemble), test-single (all/vnet/single) not predicted: "
        "no model of all/vnet/fold-0 (out of memory)"
    )
    assert found["S"] == "not tried yet"


def test_scans_of_one_batch_wait_for_the_one_that_failed(tmp_path):
    log_of(tmp_path, "convert_scan", "A", ScanError("tilt", "tilted"))
    leave(tmp_path, "cropped/B/image.nii.gz", "cropped/C/image.nii.gz")
    found = explained(tmp_path, [placed("A"), placed("B"), placed("C", batch=1)])
    assert found["B"] == "cv (all/vnet/fold-0) not predicted: its batch waits for A"
    assert found["C"] == "cv (all/vnet/fold-0) not predicted: not tried yet"


@pytest.mark.parametrize(
    ("job", "name", "words"),
    [
        ("predict_scans", "all/vnet/single/batch-2", "not predicted: broken"),
        ("measure_prediction", "all/vnet/single/T", "not predicted: broken"),
        ("crop_labels", "T", "not predicted: broken"),
    ],
)
def test_one_protocol_that_failed_is_told_alone(tmp_path, job, name, words):
    leave(tmp_path, "cropped/T/image.nii.gz")
    log_of(tmp_path, job, name, ScanError("x", "broken"))
    row = placed("T", set="test", fold=-1, batch=2)
    path = "all/vnet/ensemble/T"
    found = explained(tmp_path, [row], measured={path}, scored={path})
    assert found == {"T": f"test-single (all/vnet/single) {words}"}


def test_a_part_that_no_stage_makes_is_refused(tmp_path):
    single = plan_predictions([placed("T", set="test", fold=-1)], {"all": {}}, ["vnet"], "best")[1]
    with pytest.raises(ValueError, match="is no part"):
        prediction_failure(single, ("measure_prediction",), tmp_path)


@pytest.mark.parametrize(
    ("job", "name", "file"),
    [
        ("convert_scan", "A", "converted/A/image.nii.gz"),
        ("resample_image", "A", "resampled/A/image.nii.gz"),
        ("crop_labels", "A", "cropped/A/labels.nii.gz"),
        ("measure_prediction", "all/vnet/fold-0/A", "measured/all/vnet/fold-0/A.json"),
    ],
)
def test_files_of_an_earlier_run_do_not_count_behind_a_job_that_failed(tmp_path, job, name, file):
    row, files = one_prediction()
    leave(tmp_path, *files)
    assert is_measurable(row, {}, tmp_path)
    log_of(tmp_path, job, name, ScanError("x", "broken"))
    assert is_measurable(row, {}, tmp_path)
    (tmp_path / file).unlink()  # Snakemake removes the outputs of a failed job
    assert not is_measurable(row, {}, tmp_path)
    (why,) = explained(tmp_path, [placed("A")]).values()
    assert why.endswith("broken")


def test_a_failure_of_a_stage_that_no_longer_runs_is_not_told(tmp_path):
    row, files = one_prediction()
    leave(tmp_path, *files)
    log_of(tmp_path, "correct_bias", "A", ScanError("x", "no contrast"))
    assert not is_measurable(row, {}, tmp_path) and is_measurable(row, {}, tmp_path, ["correct_bias"])
    assert explained(tmp_path, [placed("A")]) == {"A": "no contrast"}
    (why,) = explained(tmp_path, [placed("A")], unused=["correct_bias"]).values()
    assert "no contrast" not in why


def test_files_that_were_cleared_away_are_no_failure(tmp_path):
    row, files = one_prediction()
    log_of(tmp_path, "convert_scan", "A")
    leave(tmp_path, *(file for file in files if not file.startswith("converted/")))
    assert is_measurable(row, {}, tmp_path)
    path = f"{row.folder}/A"
    assert explained(tmp_path, [placed("A")], measured={path}, scored={path}) == {}


def test_masks_of_a_model_that_is_gone_do_not_count(tmp_path):
    row, files = one_prediction()
    leave(tmp_path, *files)
    assert is_measurable(row, {"all/vnet/fold-1": "another fold"}, tmp_path)
    assert not is_measurable(row, {"all/vnet/fold-0": "out of memory"}, tmp_path)


def test_a_probability_map_is_measured_unless_that_has_failed_before(tmp_path):
    row, files = one_prediction()
    leave(tmp_path, *(file for file in files if not file.startswith(("masks/", "measured/"))))
    assert is_measurable(row, {}, tmp_path)
    # killed: its log holds no error
    log_of(tmp_path, "measure_prediction", "all/vnet/fold-0/A")
    assert not is_measurable(row, {}, tmp_path)


def test_a_second_reader_and_a_corrected_mask_that_failed_are_told(tmp_path):
    leave(tmp_path, "cropped/A/image.nii.gz")
    log_of(tmp_path, "crop_labels2", "A", ScanError("x", "cut off"))
    log_of(tmp_path, "measure_corrected", "A", ScanError("x", "another grid"))
    path = "all/vnet/fold-0/A"
    found = explained(tmp_path, [placed("A")], measured={path}, scored={path}, corrected=["A"])
    assert found["A"].split(" | ") == [
        "cv (all/vnet/fold-0) not set beside the second reader: cut off",
        "corrected mask not measured: another grid",
    ]


def test_a_long_error_is_cut(tmp_path):
    log_of(tmp_path, "crop_image", "A", ScanError("x", "word " * 200))
    assert len(job_failure("crop_image", tmp_path, scan="A")) == 300


def test_a_source_never_enters_an_explanation(tmp_path):
    source = tmp_path / "Doe, Jane 19430217"
    with pytest.raises(SystemExit), job_log(tmp_path / "logs/convert_scan/A.log", hide=[source]):
        raise FileNotFoundError(2, "No such file", str(source / "1.dcm"))
    why = explained(tmp_path, [placed("A")])["A"]
    assert why.startswith("unexpected failure: FileNotFoundError") and "Doe" not in why


def test_a_scan_that_models_have_seen_is_not_scored_and_not_missing():
    scans = pd.DataFrame([scan_row("A"), scan_row("B"), scan_row("C", has_mask="0"), scan_row("D")])
    folds = pd.DataFrame({"scan": list("ABCD"), "set": "train", "fold": 0})
    volumes = pd.DataFrame(
        [
            {"group": cohort, "network": "vnet", "members": "fold-0", "scan": scan, "flags": flags}
            for cohort, scan, flags in (
                ("all", "A", "padded seen_in_training"),
                ("male", "A", "seen_in_training"),
                ("all", "B", "seen_in_training"),
                ("male", "B", ""),
                ("all", "C", "seen_in_training"),
                ("all", "D", "seen_in_training"),
            )
        ]
    )
    seen = seen_in_training(volumes)
    assert seen["A"] == ["all/vnet/fold-0", "male/vnet/fold-0"] and seen["B"] == ["all/vnet/fold-0"]
    reached = {"cropped": list("ABCD"), "predicted": list("ABCD"), "scored": ["B"]}
    flow = flow_table(scans, folds, reached, {"D": "male: disk full"}, seen=seen).set_index("scan")
    assert flow["stage"].to_dict() == {"A": "predicted", "B": "scored", "C": "predicted", "D": "predicted"}
    assert flow["reason"].to_dict() == {
        "A": "seen_in_training",
        "B": "seen_in_training",
        "C": "no_reference",
        "D": "partly_missing",
    }
    assert flow.loc["A", "explanation"].startswith(
        "not scored by all/vnet/fold-0, male/vnet/fold-0: trained on"
    )
    assert flow.loc["D", "explanation"].startswith("male: disk full | not scored by all/vnet/fold-0: ")
