"""The notes at the top of the report."""

from lib.cohort.notes import (
    FEW_TEST_PEOPLE,
    DensityScan,
    density_scans,
    failed_notes,
    fold_notes,
    late_notes,
    missing_notes,
    model_notes,
    origin_notes,
    review_notes,
    secret_notes,
    seen_notes,
    vendor_notes,
)
from lib.cohort.placement import Placement

SECRET = bytes(range(32))


def record(scan, stage, verdict="ok", has_mask="1", reason="", explanation=""):
    told = {"reason": reason, "explanation": explanation}
    return {"scan": scan, "stage": stage, "verdict": verdict, "has_mask": has_mask} | told


def test_a_complete_study_needs_no_note():
    flow = [
        record("A", "scored"),
        record("B", "predicted", has_mask="0", reason="no_reference"),
        record("C", "screened", verdict="rejected", reason="gantry_tilt"),
        record("D", "listed", verdict="excluded", reason="excluded"),
        record("E", "predicted", reason="seen_in_training"),
    ]
    assert missing_notes(flow, partial=False) == []
    assert missing_notes(flow, partial=True) == [
        "This report was made from what is there (partial=true); every accepted scan is in it."
    ]


def test_lost_scans_are_counted_and_named_with_their_reasons():
    flow = [
        record("A", "scored"),
        record("B", "cropped", reason="not_predicted", explanation="no model of all/vnet/fold-0"),
        record("C", "listed", "missing", reason="not_screened", explanation="killed"),
        record("D", "cropped", reason="not_predicted", explanation="no model of all/vnet/fold-0"),
        record("E", "scored", reason="partly_missing", explanation="test-single not scored: off grid"),
    ]
    head, *reasons = missing_notes(flow, partial=True)
    assert "4 of 5 scans are missing from its numbers, whole or in part" in head
    assert "2 not predicted, 1 not screened, 1 partly missing" in head
    assert reasons == [
        "B, D: not predicted. no model of all/vnet/fold-0",
        "C: not screened. killed",
        "E: partly missing. test-single not scored: off grid",
    ]


def test_many_reasons_are_counted_not_listed():
    flow = [record(f"S{i}", "screened", reason="not_converted", explanation=f"error {i}") for i in range(25)]
    flow += [record(f"T{i}", "screened", reason="not_converted", explanation="disk full") for i in range(12)]
    _, first, *middle, last = missing_notes(flow, partial=True)
    assert first.startswith("T0, T1,") and "T9 and 2 more: not converted. disk full" in first
    assert len(middle) == 9 and last.startswith("16 more scans")


def test_folds_without_a_model_are_told_with_what_they_leave_out():
    assert fold_notes({}, 10) == []
    (note,) = fold_notes({"all/vnet/fold-3": "out of memory"}, 10)
    assert "Folds without a model: 1 of 10 (all/vnet/fold-3: out of memory)" in note and "ensemble" in note


def test_models_of_synthetic_people_are_no_models_of_real_ones():
    runs = [{"synthetic": True}, {"synthetic": True}]
    (note,) = origin_notes(runs, synthetic=False)
    assert "trained on synthetic people" in note and "not results" in note
    assert not origin_notes(runs, synthetic=True) and not origin_notes(
        [{"synthetic": False}], synthetic=False
    )


def test_folds_that_failed_to_learn_are_named_once_for_each_kind_of_failure():
    assert failed_notes({"all/vnet fold 0": "", "all/vnet fold 1": ""}) == []
    none, all_bone = failed_notes(
        {
            "all/vnet fold 0": "No bone.",
            "all/vnet fold 1": "",
            "all/vnet fold 2": "No bone.",
            "male/vnet fold 0": "All.",
        }
    )
    assert none.startswith("Trainings that failed (all/vnet fold 0, all/vnet fold 2). No bone. ")
    assert all_bone.startswith("Trainings that failed (male/vnet fold 0). All. ")
    (everywhere,) = failed_notes({"all/vnet fold 0": "No bone.", "all/vnet fold 1": "No bone."})
    assert "(all folds)" in everywhere


def test_a_review_of_another_mask_is_pointed_out():
    assert review_notes([], []) == []
    (note,) = review_notes([], ["A", "B"])
    assert note.startswith("The review of A, B was of another mask")


def test_scored_scans_that_were_rejected_after_a_look_are_counted():
    flow = [record("A", "screened", reason="rejected_in_review"), record("B", "scored")]
    flow.append(record("C", "screened", reason="rejected_in_review") | {"has_mask": "0"})
    (note,) = review_notes(flow, [])
    assert "rejected in review: 1." in note and "flatters" in note


def test_models_that_are_older_are_named_once_for_each_change():
    notes = model_notes(
        {"all/vnet fold 0": ["seed changed"], "all/vnet fold 1": ["seed changed", "code changed"]}
    )
    assert len(notes) == 2
    assert "all folds): seed changed" in notes[0]
    assert "(all/vnet fold 1): code changed" in notes[1]


def test_people_who_came_after_the_draw_make_the_models_old():
    def placed(scan, subject, outcome):
        return Placement(
            scan=scan, subject=subject, sex="M", age=70, site="", has_mask=outcome != "apply", set=outcome
        )

    placements = [
        placed("T", "T", "train"),
        placed("N1", "N", "later"),
        placed("N2", "N", "later"),
        placed("H", "H", "later"),
        placed("U", "U", "apply"),
    ]
    wishes = dict.fromkeys(("T", "N1", "N2", "H", "U"), "auto")
    (note,) = late_notes(placements, wishes | {"H": "apply"})
    assert "1 people with a reference came after" in note and "redraw=true retrain=true" in note
    assert "scored as later and train no model" in note
    elsewhere = [*placements, placed("E1", "E1", "external"), placed("E2", "E2", "external")]
    (note,) = late_notes(elsewhere, wishes | {"H": "apply", "E1": "auto", "E2": "external"})
    assert ": 2 people" in note and "scored as later or external" in note
    assert late_notes(placements, wishes | dict.fromkeys(("N1", "N2", "H"), "apply")) == []


def test_scans_that_models_have_seen_are_counted_with_what_to_do():
    flow = [record("A", "predicted", reason="seen_in_training"), record("B", "scored")]
    (own,) = seen_notes(flow, finished=False)
    (finished,) = seen_notes(flow, finished=True)
    assert ": 1 (A; seen_in_training" in own and "--config retrain=true" in own
    assert "retrain" not in finished and "give them other ids" in finished
    assert seen_notes(flow[1:], finished=False) == []


def test_one_note_states_that_training_people_cannot_be_recognised():
    (note,) = secret_notes([SECRET, None, None])
    assert "cannot be told" in note and "study.secret" in note
    assert secret_notes([SECRET]) == []


def density(subject, vendor, structures=("L1", "L2"), *, is_test=True):
    return DensityScan(subject=subject, vendor=vendor, is_test=is_test, structures=structures)


def test_vendors_that_can_hardly_be_tested_are_named():
    many = [density(f"S{i}", "siemens") for i in range(FEW_TEST_PEOPLE)]
    assert vendor_notes(many, ["L1", "L2"]) == [] and vendor_notes([], []) == []
    some = [density("A", "ge", ["L1"]), density("B", "ge", ["L2"]), density("B", "ge", ["L2"])]
    few, partial = vendor_notes([*many, *some, density("C", "philips", is_test=False)], ["L1", "L2"])
    assert few == (
        "Vendors with fewer than 10 test people who have a reference density: ge (2), philips (0). Their agreement "
        "is a hint only. To test a vendor, give more of its people `set: test`."
    )
    assert partial == (
        "Vendors of whom nobody has a reference density of each of L1, L2: ge. Means over all of these structures "
        "are not compared there."
    )
    (unknown,) = vendor_notes([density("D", "")], ["L1"])
    assert "vendor not known (1)" in unknown


def test_densities_are_those_of_accepted_scans_with_their_outcome():
    placements = [
        Placement(scan=scan, subject=scan, sex="", age=None, site="", has_mask=True, set=outcome)
        for scan, outcome in {"A": "test", "B": "train", "C": "test"}.items()
    ]
    found = density_scans(
        placements, {"A": "ge", "B": "", "C": "ge"}, {"A": ["L1"], "B": ["L1", "L2"], "X": ["L1"]}
    )
    assert found == [density("A", "ge", ["L1"]), density("B", "", ["L1", "L2"], is_test=False)]
