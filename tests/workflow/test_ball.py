"""The workflow on another anatomy: two labelled balls in coronal MR, without test people, and a real MR of one's own.

If any of it needed a rule of its own, it would not run here.
"""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from ball import BAD, OVERLAY, PEOPLE, VALUES, ball_volumes_mm3, make_axial, make_balls
from pydicom import dcmread

from lib.cohort.trained_people import describe_people
from lib.commands.rerun import files_to_rerun
from lib.imaging.grid import same_grid
from lib.imaging.nifti import read_image
from lib.learning.architecture import VNetConfig
from lib.learning.checkpoint import weights_on_host, write_model
from lib.learning.vnet import VNet
from lib.reading.image_files import read_values
from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow

REAL = ROOT.parent / "shared/data/real/mri2psm"
NETWORKS = ("unet2d-f8-l2", "unet3d-f8-l2")


@pytest.fixture(scope="module")
def balls(tmp_path_factory) -> Study:
    """Return a study of the balls that has run to the report."""
    folder = tmp_path_factory.mktemp("balls")
    make_balls(folder)
    (folder / "overlay.yaml").write_text(yaml.safe_dump(OVERLAY, sort_keys=False))
    study = Study(folder, overlay=str(folder / "overlay.yaml"), settings=("cohort=cohort.csv",))
    study.run()
    return study


def rows_of(study: Study, table: str) -> list[dict]:
    with open(study.folder / f"results/{table}", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
    assert set(people) == {f"B{person}" for person in range(1, PEOPLE + 1)}
    quantities = rows_of(balls, "tables/measurements.csv")
    for scan, person in people.items():
        for name in VALUES:
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
    for page in [*pages, *balls.folder.glob("results/tables/*.csv")]:
        text = re.sub(
            r"<script.*?</script>|<style.*?</style>", "", page.read_text(encoding="utf-8"), flags=re.S
        )
        found = re.search(r".{0,60}(\bHU\b|_hu\b|Hounsfield|\bCT\b|femoral|\bfemur|\bhip\b).{0,60}", text)
        assert not found, f"{page.name}: {found[0]}"


def test_review_comparison_and_rerun_work_as_for_any_study(balls, tmp_path):
    study = Study(tmp_path / "again", overlay=balls.overlay, settings=balls.settings)
    shutil.copytree(balls.folder, study.folder)
    assert not study.planned()
    again = study.planned("--forcerun", *files_to_rerun("B2", "crop_image", study.folder))
    assert again["crop_image"] == 1 and again["measure_prediction"] and not again["train_fold"]
    (path,) = study.folder.glob(f"results/masks/all/{NETWORKS[0]}/fold-*/B1/labels_full.nii.gz")
    edited = sitk.ReadImage(str(path))
    edited[edited == 2] = 0
    sitk.WriteImage(edited, str(study.folder / "edited.nii.gz"))
    with open(study.folder / "review.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [
                ("scan", "verdict", "comment", "seen_mm3", "corrected_mask"),
                ("B1", "needs-edit", "", "", "edited.nii.gz"),
            ]
        )
    study.run("all", "compare", settings=("review=review.csv", f"other={balls.folder}"))
    (person,) = (row for row in rows_of(study, "tables/people.csv") if row["scan"] == "B1")
    assert person["source"] == "corrected" and float(person["small_whole_volume_mm3"]) == 0
    assert float(person["big_whole_volume_mm3"]) > 10_000
    assert (study.folder / "results/comparison/index.html").exists()


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


def untrained_model(folder: Path) -> Path:
    """Write a finished fold with random weights for axial MR of two structures; return the folder of the models."""
    torch.manual_seed(0)
    shape = {"channels": [2, 4], "encoder_convolutions": [1, 1], "decoder_convolutions": [1], "kernel": 3}
    network = VNet(VNetConfig(**shape, transposed_kernel=2, skip="concat", dropout=0.0, classes=2))
    run = {
        "format": 3,
        "group": "all",
        "takes": {},
        "network": "vnet",
        "structures": ["right", "left"],
        "architecture": {key: getattr(network.config, key) for key in VNetConfig.__dataclass_fields__},
        "preprocessing": {
            "resample": {
                "method": "none",
                "thickness_mm": 3.0,
                "group_start": "distal",
                "inplane_mm": "native",
            },
            "crop": {"method": "none", "size": [192, 192]},
            "intensity": {"scale": "percentile", "low": 0.5, "high": 99.5},
        },
        "intensity": {"scale": "percentile", "low": 0.5, "high": 99.5},
        "slice_axis": "z",
        "window_slices": 8,
        "fold": 0,
        "seed": 0,
        "code": "",
        "best_epoch": 1,
        "best_validation_dice": 0.5,
        **describe_people([], {"training": [], "validation": []}, bytes(32), {}),
    }
    weights = weights_on_host(network)
    (folder / "fold-0").mkdir(parents=True)
    (folder / "fold-0/run.json").write_text(json.dumps(run))
    write_model(folder / "fold-0/model.pt", run | {"last": weights, "best": weights})
    return folder


@pytest.mark.skipif(not REAL.exists(), reason="shared/data is not beside this project")
def test_a_real_mr_of_six_series_is_predicted_in_its_place(tmp_path):
    headers = [dcmread(path, stop_before_pixels=True) for path in (REAL / "dicom").iterdir()]
    by_number = {int(header.SeriesNumber): header.SeriesInstanceUID for header in headers}
    reference = REAL / "pelvis_t1_tse_ax_bones_label.nii.gz"
    with open(tmp_path / "cohort.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "image", "series_uid", "mask"])
        writer.writerow(["M1", REAL / "dicom", by_number[6], reference])
        writer.writerow(["M2", REAL / "dicom", "", ""])
    overlay = {key: OVERLAY[key] for key in ("anatomy", "screening", "intensity", "mask", "resample")} | {
        "structures": {"right": [1], "left": [2]},
        "crop": {"method": "none"},
        "train": {"window_slices": 8},
        "predict": {"step": 4},
    }
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay, sort_keys=False))
    model = untrained_model(tmp_path / "models/all/vnet")
    settings = ("cohort=cohort.csv", f"model={model}")
    study = Study(tmp_path, overlay=str(tmp_path / "overlay.yaml"), settings=settings)
    study.run("measured")
    verdicts = {row["scan"]: row for row in rows_of(study, "cohort/scans.csv")}
    assert verdicts["M1"]["verdict"] == "ok" and "coarse_slices" in verdicts["M1"]["warnings"]
    assert verdicts["M2"]["reason"] == "several_series"
    assert (
        "number 6, MR, 17 slices" in verdicts["M2"]["explanation"]
        and "axial" in verdicts["M2"]["explanation"]
    )
    full = read_image(tmp_path / "results/masks/all/vnet/ensemble/M1/labels_full.nii.gz")
    converted = read_image(tmp_path / "results/converted/M1/image.nii.gz")
    assert same_grid(full, converted) and same_grid(converted, read_values(reference))
    measured = json.loads((tmp_path / "results/measured/all/vnet/ensemble/M1.json").read_text())
    assert set(measured["volume"]) == {"right", "left"}
