"""The workflow on another anatomy: two labelled balls in coronal MR, without test people.

If any of it needed a rule of its own, it would not run here.
"""

import csv
import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from ball import BAD, OVERLAY, PEOPLE, VALUES, ball_volumes_mm3, make_axial, make_balls

from lib.commands.rerun import files_to_rerun
from lib.imaging.grid import same_grid
from lib.imaging.nifti import read_image
from lib.reading.image_files import read_values
from tests.study import Study, read_rows

pytestmark = pytest.mark.workflow

NETWORKS = ("unet2d-f8-l2", "unet3d-f8-l2")
CORRECTED = "B1"
# as in `make demo`: folds of small networks train side by side, each with one thread
SIDE_BY_SIDE = ("--cores", str(os.cpu_count()), "--set-threads", "train_fold=1", "predict_scans=1")


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Study:
    """Return a study of the balls that has run to the report and to a comparison, as a user runs it.

    The masks are measured first, one of them is corrected by hand, and the results are compared with those before.
    """
    folder = tmp_path_factory.mktemp("balls")
    make_balls(folder)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY, sort_keys=False))
    study = Study(
        folder, overlay=str(folder / "overlay.yaml"), settings=("cohort=cohort.csv",), options=SIDE_BY_SIDE
    )
    study.run("measured", "results/cohort/run.json")
    before = tmp_path_factory.mktemp("before")
    shutil.copytree(folder / "results", before / "results")
    remove_small_ball(study)
    reviewed = replace(study, settings=(*study.settings, "review=review.csv", f"other={before}"))
    reviewed.run("all", "compare")
    return reviewed


def remove_small_ball(study: Study) -> None:
    """Review the mask of one scan: the small ball is removed by hand."""
    (path,) = study.folder.glob(f"results/masks/all/{NETWORKS[0]}/fold-*/{CORRECTED}/labels_full.nii.gz")
    edited = sitk.ReadImage(str(path))
    edited[edited == 2] = 0
    sitk.WriteImage(edited, str(study.folder / "edited.nii.gz"))
    with open(study.folder / "review.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ("scan", "verdict", "comment", "seen_mm3", "corrected_mask"),
                (CORRECTED, "needs-edit", "", "", "edited.nii.gz"),
            ]
        )


def rows_of(study: Study, table: str) -> list[dict]:
    return read_rows(study.folder / f"results/{table}")


def test_every_person_is_cross_validated_and_the_bad_scan_stops_nothing(balls):
    verdicts = {row["scan"]: row for row in rows_of(balls, "cohort/scans.csv")}
    assert verdicts.pop(BAD)["reason"] == "not_magnitude"
    assert {row["structures"] for row in verdicts.values()} == {"big small"}
    assert {row["side"] for row in verdicts.values()} == {""}
    metrics = rows_of(balls, "tables/metrics.csv")
    assert len(metrics) == PEOPLE * len(NETWORKS) * len(VALUES)
    assert {row["protocol"] for row in metrics} == {"cv"}
    for row in metrics:
        assert float(row["dsc"]) > 0.8 and float(row["dsc_native"]) > 0.8, row


def test_labels_lie_on_the_grid_of_the_source_with_the_true_volumes(balls):
    for person in range(1, PEOPLE + 1):
        scan = f"B{person}"
        (path,) = balls.folder.glob(f"results/masks/all/{NETWORKS[1]}/fold-*/{scan}/labels_full.nii.gz")
        full, reference = sitk.ReadImage(str(path)), read_values(balls.folder / f"{scan}.nii.gz")
        assert same_grid(read_image(path), reference)
        labels_zyx, drawn_zyx = (sitk.GetArrayFromImage(image) for image in (full, reference))
        for number, (name, value) in enumerate(VALUES.items(), start=1):
            found, drawn = labels_zyx == number, drawn_zyx == value
            assert 2 * (found & drawn).sum() / (found.sum() + drawn.sum()) > 0.8
            volume_mm3 = found.sum() * np.prod(full.GetSpacing())
            assert volume_mm3 == pytest.approx(ball_volumes_mm3(person)[name], rel=0.25)
        crop = json.loads((balls.folder / f"results/cropped/{scan}/crop.json").read_text())
        assert crop["frame"] == {"mirrored": False, "slice_axis": "y"} and crop["size_xyz"] == [24, 12, 24]
        assert crop["intensity"]["padding"] <= crop["intensity"]["low"] < crop["intensity"]["high"]


def test_tables_join_by_scan_and_name_each_structure(balls):
    people = {row["scan"]: row for row in rows_of(balls, "tables/people.csv")}
    bad = people.pop(BAD)
    assert (bad["verdict"], bad["reason"], bad["final_mask"]) == ("rejected", "not_magnitude", "")
    assert set(people) == {f"B{person}" for person in range(1, PEOPLE + 1)}
    quantities = rows_of(balls, "tables/measurements.csv")
    for scan, person in people.items():
        for name in VALUES if scan != CORRECTED else ():
            (volume,) = (
                row["predicted"]
                for row in quantities
                if (row["scan"], row["structure"], row["measure"]) == (scan, name, "volume")
                and row["network"] == person["network"]
            )
            assert person[f"{name}_whole_volume_mm3"] == volume
    agreement = rows_of(balls, "tables/agreement.csv")
    whole = [row for row in agreement if row["stratum"] == "all" and row["measure"] == "volume"]
    assert {(row["network"], row["structure"], row["unit"]) for row in whole} == {
        (network, name, "mm3") for network in NETWORKS for name in VALUES
    }
    (acquired,) = {
        (row["modality"], row["plane"], row["sequence"], row["te_ms"])
        for row in rows_of(balls, "tables/acquisition.csv")
        if row["verdict"] == "ok"
    }
    assert acquired == ("MR", "coronal", "GR", "4.92")


def test_nothing_of_ct_or_of_the_femur_is_told(balls):
    pages = [*balls.folder.glob("results/report/**/*.html"), *balls.folder.glob("results/models/*/*/*/*.md")]
    assert len(pages) >= PEOPLE + 1 + 4
    tables = set(balls.folder.glob("results/tables/*.csv"))
    # its sentences are those of the documentation, which hold for every study
    tables.remove(balls.folder / "results/tables/data-dictionary.csv")
    for page in [*pages, *tables]:
        text = re.sub(
            r"<script.*?</script>|<style.*?</style>", "", page.read_text(encoding="utf-8"), flags=re.S
        )
        found = re.search(r"\b(?:HU|CT|hip)\b|_hu\b|Hounsfield|femoral|\bfemur", text)
        assert not found, f"{page.name}: {text[max(found.start() - 60, 0) : found.end() + 60]}"


def test_a_corrected_mask_is_told_and_compared(balls):
    people = {row["scan"]: row for row in rows_of(balls, "tables/people.csv")}
    person = people.pop(CORRECTED)
    assert person["source"] == "corrected" and float(person["small_whole_volume_mm3"]) == 0
    assert float(person["big_whole_volume_mm3"]) > 10_000
    assert {row["source"] for row in people.values()} == {"predicted", ""}
    final = sitk.ReadImage(str(balls.folder / "results" / person["final_mask"]))
    assert person["final_mask_from"] == "corrected"
    assert set(np.unique(sitk.GetArrayFromImage(final))) == {0, 1}
    assert same_grid(final, read_values(balls.folder / f"{CORRECTED}.nii.gz"))
    colors = (balls.folder / "results/masks/final/labels.ctbl").read_text().splitlines()
    assert [line.split()[:2] for line in colors[3:]] == [["1", "big"], ["2", "small"]]
    compared = rows_of(balls, "comparison/scans.csv")
    assert {row["scan"] for row in compared if row["moved"]} == {CORRECTED}
    assert {row["moved"] for row in compared if row["scan"] == CORRECTED} == {"review flags"}
    assert (balls.folder / "results/comparison/index.html").exists()


def test_as_many_scans_along_one_axis_as_along_another_stop_the_split(tmp_path):
    make_balls(tmp_path)
    for person in (3, 4):
        make_axial(tmp_path, person)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAY, sort_keys=False))
    study = Study(tmp_path, overlay=str(overlay), settings=("cohort=cohort.csv",))
    ended, folds = study.call("results/folds/folds.csv"), tmp_path / "results/folds/folds.csv"
    assert ended.returncode != 0 and not folds.exists()
    told = "2 along y (coronal slices) and 2 along z (axial slices). Set model_frame.slice_axis to y or z"
    assert told in ended.stdout
    verdicts = {row["scan"]: row["verdict"] for row in rows_of(study, "cohort/scans.csv")}
    assert verdicts == {"B1": "ok", "B2": "ok", "B3": "ok", "B4": "ok", BAD: "rejected"}
    study.run("results/folds/folds.csv", settings=("model_frame={slice_axis: y}",))
    assert {row["scan"] for row in rows_of(study, "folds/folds.csv")} == {"B1", "B2", "B3", "B4"}


def test_a_finished_study_has_nothing_to_do_and_one_scan_can_run_again(balls):
    assert not balls.planned("all", "compare")
    again = balls.planned("--forcerun", *files_to_rerun("B2", "crop_image", balls.folder))
    assert again["crop_image"] == 1 and again["predict_scans"] == len(NETWORKS)
    assert not again["train_fold"]
