"""What stands at the top of the report."""

import pytest

from lib.cohort.notes import leaks_of, missing_notes, model_notes, overlap_notes
from lib.pseudonyms import key_of, pseudonyms

SECRET = bytes(range(32))


@pytest.fixture
def run():
    """A fold that A and B trained and C validated."""
    return {
        "people": {
            "training": {"pseudonyms": pseudonyms("AB", SECRET)},
            "validation": {"pseudonyms": pseudonyms("C", SECRET)},
        },
        "pseudonym_key": key_of(SECRET),
    }


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


def test_people_known_to_finished_models_are_pointed_out(run):
    assert overlap_notes([(run, SECRET)], {"X", "Y"}) == []
    (note,) = overlap_notes([(run, SECRET), (run, SECRET)], {"B", "C", "X"})
    assert note.startswith("2 people have ids")


def test_that_nobody_can_be_recognised_is_said_once_and_is_no_acquittal(run):
    (note,) = overlap_notes([(run, None), (run, None)], {"A", "X"})
    assert "cannot be told" in note and "study.secret" in note


def test_a_model_scored_on_people_it_was_trained_on_is_pointed_out(run):
    assert leaks_of(run, ["C", "D"], SECRET) == []
    (leak,) = leaks_of(run, ["B", "B", "C"], SECRET)
    assert "trained on 1 people" in leak and "NOT VALID" in leak
    assert leaks_of(run, ["B"], None) == []
