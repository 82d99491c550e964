"""A review of the finished study, its effect on the next run, and the comparison of both runs."""

import csv
import shutil

import pytest

pytestmark = pytest.mark.workflow
COMMENT = "blurred <script>alert(1)</script>, again"


def rows_of(study, table: str) -> list[dict]:
    with open(study.folder / f"results/{table}", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_review(study, *rows: tuple[str, ...]) -> None:
    with open(study.folder / "review.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("scan", "verdict", "comment", "seen_mm3", "corrected_mask"), *rows])


def test_a_review_leaves_out_flags_and_measures(study, finished):
    primary = {row["scan"]: row for row in rows_of(study, "tables/volumes.csv") if row["group"] == "all"}
    mended, rejected = "P001", "P002"
    folder = primary[mended]["members"]
    shutil.copy(
        study.folder / f"results/masks/all/vnet/{folder}/{mended}/labels_full.nii.gz",
        study.folder / "mended.nii.gz",
    )
    write_review(
        study, (rejected, "rejected", COMMENT, "", ""), (mended, "needs-edit", "", "1", "mended.nii.gz")
    )
    before = (study.folder / "results/folds/folds.csv").read_bytes()
    plan = study.planned(settings=("review=review.csv",))
    assert plan["gather_screening"] == 1 and not plan["train_fold"] and not plan["convert_scan"]

    study.run(settings=("review=review.csv",))
    assert (study.folder / "results/folds/folds.csv").read_bytes() == before
    flow = {row["scan"]: row for row in rows_of(study, "tables/flow.csv")}
    assert flow[rejected]["reason"] == "rejected_in_review" and COMMENT in flow[rejected]["explanation"]
    assert flow[mended]["review"] == "needs-edit"
    assert rejected not in {row["scan"] for row in rows_of(study, "tables/metrics.csv")}
    for row in rows_of(study, "tables/volumes.csv"):
        flags = row["flags"].split()
        assert ("needs_edit" in flags) == ("corrected" in flags) == (row["scan"] == mended)
    corrected = next(row for row in rows_of(study, "tables/volumes.csv") if row["scan"] == mended)
    assert float(corrected["corrected_mm3"]) == pytest.approx(float(primary[mended]["predicted_full_mm3"]))
    (person,) = (row for row in rows_of(study, "tables/people.csv") if row["scan"] == mended)
    assert person["source"] == "corrected" and person["femur_whole_volume_mm3"] == corrected["corrected_mm3"]
    assert (person["final_mask_from"], person["review"]) == ("corrected", "needs-edit")
    final = study.folder / "results" / person["final_mask"]
    assert final.readlink().name == f"{mended}_labels_full.nii.gz"
    assert not (final.parent / f"{rejected}_labels.nii.gz").is_symlink()  # of a scan that left
    page = (study.folder / "results/report/index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "blurred" in page
    assert "was of another mask" in page
    assert not study.planned(settings=("review=review.csv",))

    study.run("compare", settings=("review=review.csv", f"other={finished.folder}"))
    moved = {row["scan"] for row in rows_of(study, "comparison/scans.csv") if row["moved"]}
    assert rejected in moved and "P003" not in moved


def test_a_review_with_mistakes_stops_the_run(study):
    write_review(study, ("P001", "perhaps", "", "", ""), ("P999", "rejected", "", "", "nowhere.nii.gz"))
    printed = study.refuse("--dry-run", settings=("review=review.csv",))
    assert "perhaps" in printed and "P999" in printed and "nowhere.nii.gz" in printed
    assert "row 2" in printed and "row 3" in printed


def test_a_comparison_needs_another_run(study):
    assert "name the run to compare with" in study.refuse("compare")
    assert "other: there is no folder nowhere" in study.refuse("compare", settings=("other=nowhere",))
    assert "this study itself" in study.refuse("compare", settings=(f"other={study.folder}",))
