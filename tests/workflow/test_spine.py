"""The spine through every rule: levels, densities by a second network, vendors and classes, on few small spines."""

import json
import os
from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from lib.imaging.grid import array_zyx
from lib.imaging.nifti import read_image
from lib.phantom.given_spine import scan_given_spine
from lib.phantom.scanner.ct import CtImages
from lib.phantom.scanner.machines import CtScanner
from lib.pseudonyms import pseudonyms, read_secret
from lib.stats.formats import fixed
from tests.real_spine import needs_shapes, read_real_spine
from tests.study import ROOT, Study, read_rows, write_rows

pytestmark = pytest.mark.workflow

LEVELS = ("L1", "L2", "L3", "L4")
TRAINED, TESTED = 16, 2  # people who train on A and B, test people on A and on C
SIDE_BY_SIDE = (
    *("--cores", str(os.cpu_count()), "--set-threads"),
    *("train_fold=1", "predict_scans=1", "train_regression=1", "predict_regression=1"),
)


def small_overlay():
    """Return the settings of the demo with fewer people, larger voxels and shorter trainings."""
    settings = yaml.safe_load((ROOT / "studies/ct-spine-demo.yaml").read_text())
    scanners = settings["phantom"]["scanners"]
    settings["phantom"] |= {
        "people": TRAINED,
        "matrix": 96,
        "training_defects": {},
        "defects": ["contrast", "mirrored_labels"],
        "scanners": {
            "A": scanners["A"] | {"test_people": TESTED},
            "B": scanners["B"] | {"test_people": 0},
            "C": scanners["C"] | {"test_people": TESTED},
        },
    }
    settings["resample"]["inplane_mm"] = 3.0
    settings["crop"]["size"] = [32, 32]
    settings["folds"]["folds"] = 2
    settings["train"] |= {"epochs": 70, "validate_every": 70, "window_slices": 64, "learning_rate": 5.0e-3}
    settings["regression"]["networks"] = {
        "densenet": {"growth": 4, "initial_maps": 8, "blocks": [1, 1], "bottleneck": 2, "dimensions": 3}
    }
    settings["regression"]["crop"] = {"size": [16, 16, 16], "voxel_mm": 3.8}
    settings["regression"]["train"] = {"epochs": 12, "validate_every": 12}
    return settings


@pytest.fixture(scope="module")
def spines(tmp_path_factory) -> Study:
    """Return a study of small spines that has run to the report."""
    folder = tmp_path_factory.mktemp("spines")
    (folder / "overlay.yaml").write_text(yaml.safe_dump(small_overlay(), sort_keys=False))
    study = Study(folder, overlay=str(folder / "overlay.yaml"), options=SIDE_BY_SIDE)
    study.run()
    return study


def rows_of(study, table):
    return read_rows(study.folder / f"results/{table}")


def test_a_reference_numbered_from_below_is_refused(spines):
    verdicts = {row["scan"]: row for row in rows_of(spines, "cohort/scans.csv")}
    (refused,) = (row for row in verdicts.values() if row["verdict"] == "rejected")
    assert refused["reason"] == "labels_out_of_order" and "mirrored" in refused["scan"]
    vendors = Counter(row["vendor"] for row in verdicts.values() if row["set"] == "test")
    assert vendors == {"siemens": TESTED, "philips": TESTED}


def test_the_levels_are_found(spines):
    """The networks are tiny; still they tell every level of nearly every scan."""
    metrics = [row for row in rows_of(spines, "tables/metrics.csv") if row["protocol"] in ("cv", "test")]
    assert {row["structure"] for row in metrics} == {*LEVELS, "L5", "sacrum"}
    dice = [float(row["dsc"]) for row in metrics if row["structure"] in LEVELS]
    assert np.median(dice) > 0.8
    found = [row for row in rows_of(spines, "tables/levels_found.csv") if row["structure"] in LEVELS]
    assert np.mean([row["found"] == "yes" for row in found]) > 0.9


def test_crops_come_from_models_that_never_saw_the_person(spines):
    folds = {row["scan"]: row for row in rows_of(spines, "folds/folds.csv") if row["set"] == "train"}
    crops = spines.folder / "results/structure_crops/all/unet"
    for scan, row in folds.items():
        (made,) = (path.parent.name for path in crops.glob(f"fold-*/{scan}"))
        assert made == f"fold-{row['fold']}"
        run = json.loads((spines.folder / f"results/models/all/unet/{made}/run.json").read_text())
        (pseudonym,) = pseudonyms([scan], read_secret(spines.folder / "study.secret"))
        assert pseudonym in run["validation"] and pseudonym not in run["training"]
    (scan, *_) = folds
    (image,) = crops.glob(f"fold-*/{scan}/L3.nii.gz")
    hu, mask = read_image(image), read_image(image.with_name("L3_mask.nii.gz"))
    assert hu.GetSize() == mask.GetSize() == (16, 16, 16) and hu.GetSpacing() == pytest.approx(
        (3.8, 3.8, 3.8)
    )
    assert array_zyx(hu)[array_zyx(mask) > 0].mean() > 40


def test_the_scan_with_contrast_medium_gets_densities_and_no_class(spines):
    people = [row for row in rows_of(spines, "tables/bmd_people.csv") if "contrast" in row["scan"]]
    assert people and {row["predicted_class"] for row in people} == {""}
    assert {row["class_withheld"] for row in people} == {"contrast"}


def error_of(rows) -> float:
    """Return the root mean square of predicted - reference density, mg/cm3."""
    names = ("predicted_k2hpo4_mg_cm3", "reference_k2hpo4_mg_cm3")
    predicted, reference = (np.array([float(row[name]) for row in rows]) for name in names)
    return float(np.sqrt(np.mean(np.square(predicted - reference))))


def test_fresh_models_are_not_told_to_be_older_than_the_study(spines):
    notes = json.loads((spines.folder / "results/cohort/notes.json").read_text())["notes"]
    assert not [note for note in notes if note.startswith("Models are older")], notes


def test_densities_stand_beside_their_baselines(spines):
    bmd = rows_of(spines, "tables/bmd.csv")
    assert {row["method"] for row in bmd} == {
        "network",
        "phantom",
        "hu_linear",
        "hu_linear_vendor",
        "age_sex",
    }
    own = [row for row in bmd if row["method"] == "phantom" and row["predicted_k2hpo4_mg_cm3"]]
    assert {row["vendor"] for row in own} == {"philips"} and len(own) == len(LEVELS) * TESTED
    assert error_of(own) < 5  # this scanner reads 9 mg/cm3 low, and the phantom beneath its people tells so
    lines = [row for row in bmd if row["method"] == "hu_linear" and row["predicted_k2hpo4_mg_cm3"]]
    trained = [
        row
        for row in lines
        if row["reference_k2hpo4_mg_cm3"] and row["vendor"] != "philips" and row["usable"] == "yes"
    ]
    assert len(trained) > 20 and error_of(trained) < 12
    new = [row for row in bmd if row["method"] == "hu_linear_vendor" and row["vendor"] == "philips"]
    assert new and not any(row["predicted_k2hpo4_mg_cm3"] for row in new)
    for row in bmd:
        assert row["predicted_k2hpo4_mg_cm3"] or row["undefined"], row


def test_the_new_vendor_is_named_as_new(spines):
    agreement = rows_of(spines, "tables/bmd_agreement.csv")
    trained = {row["vendor"]: row["vendor_trained"] for row in agreement if row["protocol"] == "test"}
    assert trained["siemens"] == "yes" and trained["philips"] == "no"
    page = (spines.folder / "results/report/index.html").read_text()
    assert "Bone mineral density" in page and "K₂HPO₄" in page


def test_pages_name_the_levels(spines):
    (page,) = (spines.folder / "results/report/scans").glob("batch-*/TC-01.html")
    text = page.read_text()
    assert 'id="levels"' in text
    for name in (*LEVELS, "L5", "sacrum"):
        assert f'<th scope="row">{name}</th>' in text


def test_the_page_of_a_scan_has_the_densities_of_the_tables(spines):
    (page,) = (spines.folder / "results/report/scans").glob("batch-*/TC-01.html")
    text = page.read_text()
    assert 'id="read"' in text and "K₂HPO₄" in text and "Mean of L1 to L4" in text
    assert "calibrated/TC-01.webp" in text and "Calibration of the scan: the rods of the phantom" in text
    shown = [
        row[name]
        for table in ("tables/bmd.csv", "tables/bmd_people.csv")
        for row in rows_of(spines, table)
        for name in ("reference_k2hpo4_mg_cm3", "predicted_k2hpo4_mg_cm3")
        if row["scan"] == "TC-01" and row["method"] in ("network", "phantom") and row[name]
    ]
    assert len(shown) >= 2 * len(LEVELS)
    for value in shown:
        assert f'<td class="n">{fixed(float(value), 1)}' in text, value
    assert text.count("<td>not read</td>") == 2  # L5 and the sacrum


@pytest.mark.realdata
@needs_shapes
def test_a_real_spine_is_predicted_with_the_names_of_its_levels(spines, tmp_path):
    """Surfaces of another origin in the synthetic scanner, with the finished models: no density, but HU.

    The networks are tiny, and trained on 16 people in voxels of 3 mm. Those of the demo reach a Dice of 0.93 here.
    """
    images = CtImages(matrix=96, pixel_mm=3.0, slice_mm=3.0)
    scan = scan_given_spine(read_real_spine(), images, CtScanner(noise_hu=16.0, kernel_mm=0.6), 5)
    for name, values in (("image", scan.hu_zyx), ("mask", scan.mask_zyx)):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(scan.grid.spacing_xyz_mm)
        image.SetOrigin(scan.grid.origin_xyz_mm)
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    row = {"scan": "R1", "image": "image.nii.gz", "subject": "R1", "mask": "mask.nii.gz", "set": "external"}
    write_rows(tmp_path / "cohort.csv", [row])
    settings = small_overlay() | {"study": "real-spine"}
    del settings["phantom"], settings["calibration"]
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    models = spines.folder / "results/models/all"
    study = Study(
        tmp_path,
        overlay=str(tmp_path / "overlay.yaml"),
        options=SIDE_BY_SIDE,
        settings=(f"cohort={tmp_path / 'cohort.csv'}", f"model={models}"),
    )
    study.run("results/tables/metrics.csv", "results/tables/bmd.csv")
    dice = {row["structure"]: float(row["dsc"]) for row in rows_of(study, "tables/metrics.csv")}
    assert min(dice[level] for level in (*LEVELS, "L5")) > 0.6 and np.median(list(dice.values())) > 0.8, dice
    bmd = [row for row in rows_of(study, "tables/bmd.csv") if row["method"] == "network"]
    assert not any(row["predicted_k2hpo4_mg_cm3"] for row in bmd) and all(row["hu_mean"] for row in bmd)


def test_a_second_run_has_nothing_to_do(spines):
    assert spines.planned() == {}


def test_another_erosion_changes_measures_and_densities_alone(spines):
    planned = spines.planned(settings=("regression={baseline: {erode_mm: 4.0}}",))
    assert planned["measure_prediction"] and planned["gather_bmd"] == planned["summarize_bmd"] == 1
    assert not planned["train_fold"] and not planned["train_regression"] and not planned["predict_scans"]
