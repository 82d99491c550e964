"""What stands at the top of the report."""

from lib.cohort.notes import leaks_of, missing_notes, model_notes, overlap_notes


def record(scan, stage, verdict="ok", has_mask="1", reason=""):
    return {"scan": scan, "stage": stage, "verdict": verdict, "has_mask": has_mask, "reason": reason}


def test_a_complete_study_needs_no_note():
    flow = [
        record("A", "scored"),
        record("B", "predicted", has_mask="0", reason="no_reference"),
        record("C", "screened", verdict="rejected", reason="gantry_tilt"),
        record("D", "listed", verdict="excluded", reason="excluded"),
    ]
    assert missing_notes(flow, partial=False) == []
    assert missing_notes(flow, partial=True) == [
        "This report was made from what is there (partial=true); every accepted scan is in it."
    ]


def test_lost_scans_are_counted_and_named():
    flow = [
        record("A", "scored"),
        record("B", "cropped", reason="not_predicted"),
        record("C", "listed", "missing"),
    ]
    (note,) = missing_notes(flow, partial=True)
    assert "2 of 3 scans are missing" in note and "B, C" in note and "1 not predicted" in note


def test_models_that_are_older_are_named_once_for_each_change():
    notes = model_notes(
        {"all/vnet fold 0": ["seed changed"], "all/vnet fold 1": ["seed changed", "code changed"]}
    )
    assert len(notes) == 2
    assert "all folds): seed changed" in notes[0]
    assert "(all/vnet fold 1): code changed" in notes[1]


def test_scans_known_to_finished_models_are_pointed_out():
    runs = [{"training": ["A", "B"], "validation": ["C"]}]
    assert overlap_notes(runs, {"X", "Y"}) == []
    assert overlap_notes(runs, {"B", "C", "X"})[0].startswith("2 scans have ids")


def test_a_model_scored_on_its_training_scans_is_pointed_out():
    assert leaks_of({"training": ["A", "B"]}, ["C"]) == []
    assert "NOT VALID" in leaks_of({"training": ["A", "B"]}, ["B", "C"])[0]
