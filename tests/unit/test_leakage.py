"""Leakage: nobody is scored by a model that was trained or chosen on their scans."""

import pytest

from lib.cohort.leakage import FoldPeople, Roster, mark_seen, people_to_be, seen_paths
from lib.cohort.placement import Placement
from lib.cohort.predictions import plan_predictions
from lib.cohort.scans import accepted_scans, gather_screening, refused_between
from lib.cohort.table import planned_cohort
from lib.cohort.trained_people import describe_people

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
TEST, SINGLE = "all/vnet/ensemble/T", "all/vnet/single/T"


def placed(scan, outcome="train", fold=-1, *, subject="", trains=None, has_mask=True):
    return Placement(
        scan=scan, subject=subject or scan, sex="M", age=70, site="", has_mask=has_mask, set=outcome,
        fold=fold, batch=0, trains=outcome == "train" if trains is None else trains,
    )  # fmt: skip


def plan_of(rows, weights="best"):
    return plan_predictions(rows, {"all": {}}, ["vnet"], weights)


def folds_of(**people):
    return {f"all/vnet/{name.replace('_', '-')}": folk for name, folk in people.items()}


def saw(training="", validation=""):
    return FoldPeople(training=frozenset(training), validation=frozenset(validation))


COHORT = [placed("A", fold=0), placed("B", fold=1), placed("T", "test"), placed("U", "apply", has_mask=False)]


def test_a_study_with_its_own_split_has_no_leakage():
    folds = {f"all/vnet/fold-{fold}": people_to_be(COHORT, {}, fold) for fold in (0, 1)}
    assert folds["all/vnet/fold-0"] == saw("B", "A")
    assert seen_paths(plan_of(COHORT), folds) == []


def test_whoever_trained_a_fold_is_seen_by_it_and_by_all_folds_together():
    assert seen_paths(plan_of(COHORT), folds_of(fold_0=saw("A"), fold_1=saw("A"))) == ["all/vnet/fold-0/A"]
    assert seen_paths(plan_of(COHORT), folds_of(fold_0=saw("B"), fold_1=saw("T"))) == [TEST, SINGLE]
    assert seen_paths(plan_of(COHORT), folds_of(fold_0=saw("U"))) == ["all/vnet/ensemble/U"]
    assert seen_paths(plan_of(COHORT), {"all/unet/fold-0": saw("ATU")}) == []


@pytest.mark.parametrize(("weights", "seen"), [("best", [TEST, SINGLE]), ("last", [SINGLE])])
def test_who_chose_weights_or_fold_is_seen_where_that_choice_is_used(weights, seen):
    assert seen_paths(plan_of(COHORT, weights), folds_of(fold_0=saw("B", "AT"))) == seen


def test_seen_predictions_are_measured_and_not_scored():
    marked = {row.path: row for row in mark_seen(plan_of(COHORT), [TEST])}
    assert {path: row.protocol for path, row in marked.items()} == {
        "all/vnet/fold-0/A": "cv",
        "all/vnet/fold-1/B": "cv",
        TEST: "apply",
        SINGLE: "test-single",
        "all/vnet/ensemble/U": "apply",
    }
    assert marked[TEST].members == "ensemble"


def test_a_finished_fold_names_its_people_by_id_and_by_scan():
    facts = {"training": ["B", "B2"], "validation": ["A"]}
    rows = [placed("A", fold=0), placed("B", fold=1), placed("B2", fold=1, subject="B")]
    run = describe_people(rows, facts, SECRET, {})
    subjects = {"A": "A", "B": "B", "B2": "B", "T": "T"}
    assert Roster(subjects, SECRET, {}).people_of(run) == saw("B", "A")
    # the ids of B's scans were corrected since: T and B2 are one person, and B is now C
    assert Roster({"A": "A", "B": "C", "B2": "T", "T": "T"}, SECRET, {}).people_of(run) == saw("CT", "A")
    # a new scan of a training person; the old ones are no longer in the table
    assert Roster({"B3": "B"}, SECRET, {}).people_of(run) == saw("B")
    assert Roster(subjects, OTHER, {}).people_of(run) == saw()


def test_the_plan_is_the_same_before_and_after_the_training():
    late = placed("E", "external", subject="B")  # the subject was corrected after the draw
    rows = [*COHORT, late]
    subjects = {row.scan: row.subject for row in rows}
    before = {fold: people_to_be(rows, {}, fold) for fold in (0, 1)}
    runs = {0: {"training": ["B"], "validation": ["A"]}, 1: {"training": ["A"], "validation": ["B"]}}
    after = {
        fold: Roster(subjects, SECRET, {}).people_of(describe_people(rows, facts, SECRET, {}))
        for fold, facts in runs.items()
    }
    assert before == after
    assert seen_paths(plan_of(rows), folds_of(fold_0=before[0])) == ["all/vnet/ensemble/E"]


def test_whoever_trained_a_model_is_known_by_the_image_under_any_id():
    rows = [placed("A", fold=0), placed("B", fold=1), placed("C", fold=1)]
    digests = {"A": "a0", "B": "b0"}  # C was screened by an older version
    run = describe_people(rows, {"training": ["B", "C"], "validation": ["A"]}, SECRET, digests)
    # another study's people: N1 has B's image, N2 and N3 A's, N4 one of their own
    subjects = {"S1": "N1", "S2": "N2", "S3": "N3", "S4": "N4"}
    new = {"S1": "b0", "S2": "a0", "S3": "a0", "S4": "d0", "gone": "b0"}
    assert Roster(subjects, SECRET, new).people_of(run) == saw(["N1"], ["N2", "N3"])
    assert Roster(subjects, SECRET, {}).people_of(run) == saw()
    assert Roster(subjects, OTHER, new).people_of(run) == saw()
    del run["images"]  # as models of older versions
    assert Roster(subjects, SECRET, new).people_of(run) == saw()


COLUMNS = ("scan", "subject", "side", "repeat_of", "exclude")


def judged(*rows, digests, rejected=()):
    """Return verdict, reason and warnings of scans given as (scan, subject, side, repeat_of, exclude)."""
    records = [dict(zip(COLUMNS, row, strict=False)) | {"image": row[0]} for row in rows]
    warned = {"code": "metal", "severity": "warning", "found": "metal", "action": "Look."}
    screened = {
        scan: {"verdict": "rejected" if scan in rejected else "ok", "reasons": [warned], "voxels": digest}
        for scan, digest in digests.items()
    }
    found = gather_screening(planned_cohort(records, "cohort.csv"), screened)
    return {row["scan"]: (row["verdict"], row["reason"], row["warnings"]) for row in found}, found


OK, REFUSED = ("ok", "", "metal"), ("rejected", "same_voxels", "metal")


def test_one_image_of_several_people_is_refused_for_all_of_them():
    verdicts, records = judged(
        ("A", "P"), ("B", "Q"), ("C", "R"), ("D", "P"), digests={"A": "1", "B": "1", "C": "2", "D": "3"}
    )
    assert verdicts == {"A": REFUSED, "B": REFUSED, "C": OK, "D": OK}
    told = records[0]["explanation"]
    assert told.startswith(
        "metal. What to do: Look. | voxel by voxel the image of B, which belongs to another subject. Correct"
    )
    assert [row.scan for row in accepted_scans(records)] == ["C", "D"]
    screened = {row["scan"]: {"verdict": "ok"} for row in records}
    first, second = refused_between(records, screened)
    assert first.startswith(
        "Refused: A, same_voxels: voxel by voxel the image of B, which belongs to another"
    )
    assert second.startswith("Refused: B, same_voxels: ")
    # what screening itself refuses was told when the scan was screened
    assert list(refused_between(records, {scan: {"verdict": "rejected"} for scan in screened})) == []


def test_one_hip_of_one_image_is_one_scan():
    rows = (
        ("A", "P", "left"),
        ("B", "P", "left"),
        ("C", "P", "right"),
        ("D", "P", "left", "A"),
        ("E", "P", "right", "C"),
    )
    verdicts, records = judged(*rows, digests=dict.fromkeys("ABCDE", "1"))
    flagged = ("ok", "", "metal same_voxels")
    assert verdicts == {"A": OK, "B": REFUSED, "C": OK, "D": flagged, "E": flagged}
    assert "the image of A, of the same subject and side. Correct" in records[1]["explanation"]
    assert (
        "the image of A, of the same subject and side. Check `image`: a repeat" in records[3]["explanation"]
    )


def test_scans_that_are_not_used_make_no_others_doubtful():
    rows = ("A", "P", "", "", "hip replacement"), ("B", "Q"), ("C", "R"), ("D", "S"), ("E", "T")
    verdicts, _ = judged(*rows, digests={"B": "1", "C": "1", "D": None, "E": None}, rejected=("C",))
    assert verdicts["B"] == verdicts["D"] == verdicts["E"] == OK
