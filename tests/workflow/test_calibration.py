"""Calibrations of a study of images with phantoms, what a changed certificate runs again, and projected femurs."""

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from PIL import Image

from lib.catalog.calibration import REFUSALS
from lib.figures.areal_picture import HEADER_PX, WIDTH_PX
from lib.imaging.grid import array_zyx, image_like
from lib.imaging.nifti import read_image, write_image
from tests.study import ROOT, Study
from tests.unit.rod_scene import CAHA, MINDWAYS, RodScene, scene, shown_hu

pytestmark = pytest.mark.workflow
TARGETS = [f"results/calibrated/{scan}.json" for scan in ("A", "B", "C")]
LINES = {"A": (1.38, 2.0), "QA": (1.40, -3.0), "C": (1.55, 1.0)}
TABLE = """scan,image,subject,phantom,calibration,calibration_scan,set
A,A.nii.gz,A,mind-1,,,apply
B,B.nii.gz,B,,asynchronous,QA,apply
C,C.nii.gz,C,qrm,,,apply
QA,QA.nii.gz,QA,mind-1,,,apply
"""


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """Return a study with the calibrations of its scans."""
    folder = tmp_path_factory.mktemp("calibrated")
    phantom_only, alone = RodScene(), RodScene()
    phantom_only.phantom(shown_hu(MINDWAYS, *LINES["QA"]))
    alone.body()
    scenes = {
        "A": scene(shown_hu(MINDWAYS, *LINES["A"])),
        "B": alone,
        "C": scene(shown_hu(CAHA, *LINES["C"]), distance_mm=30.0),
        "QA": phantom_only,
    }
    for name, made in scenes.items():
        sitk.WriteImage(made.image(seed=ord(name[0])), str(folder / f"{name}.nii.gz"))
    (folder / "cohort.csv").write_text(TABLE)
    (folder / "phantoms.yaml").write_text(yaml.safe_dump({"mind-1": MINDWAYS, "qrm": CAHA}))
    overlay = folder / "overlay.yaml"
    overlay.write_text("{cohort: cohort.csv, calibration: {phantoms: phantoms.yaml}, groups: {all: {}}}")
    study = Study(folder, overlay=str(overlay))
    study.run(*TARGETS)
    return study


def found(study, scan):
    return json.loads((study.folder / f"results/calibrated/{scan}.json").read_text())


def test_each_scan_has_its_line(calibrated):
    for scan, (slope, intercept_hu) in {**LINES, "B": LINES["QA"]}.items():
        told = found(calibrated, scan)
        assert told["slope_hu_per_mg_cm3"] == pytest.approx(slope, rel=0.005), scan
        assert told["intercept_hu"] == pytest.approx(intercept_hu, abs=1), scan
    assert [found(calibrated, scan)["scale"] for scan in "ABC"] == ["k2hpo4", "k2hpo4", "caha"]
    assert (found(calibrated, "B")["method"], found(calibrated, "B")["calibration_scan"]) == (
        "asynchronous",
        "QA",
    )


def test_a_phantom_alone_is_no_person_and_is_calibrated(calibrated):
    screened = json.loads((calibrated.folder / "results/screened/QA.json").read_text())
    assert screened["verdict"] == "rejected" and found(calibrated, "QA")["verdict"] == "ok"


def test_nothing_is_left_to_do(calibrated):
    assert calibrated.planned(*TARGETS) == {}


def test_a_changed_certificate_calibrates_the_scans_of_its_phantom_again(calibrated):
    path = calibrated.folder / "phantoms.yaml"
    former = path.read_text()
    changed = json.loads(json.dumps(CAHA))
    changed["rods"][2]["density_mg_cm3"] = 801
    path.write_text(yaml.safe_dump({"mind-1": MINDWAYS, "qrm": changed}))
    try:
        assert calibrated.planned(*TARGETS) == {"calibrate_density": 1}
        # where the file lies, and phantoms that no scan names, do not matter
        path.write_text(yaml.safe_dump({"new": CAHA, "qrm": CAHA, "mind-1": MINDWAYS}))
        assert calibrated.planned(*TARGETS) == {}
    finally:
        path.write_text(former)


def test_a_limit_concerns_all_calibrations_and_the_width_of_control_limits_none(calibrated):
    assert calibrated.planned(*TARGETS, settings=("calibration={min_rods: 4}",))["calibrate_density"] == 4
    assert calibrated.planned(*TARGETS, settings=("calibration={drift_sd: 2.5}",)) == {}


def test_a_wrong_certificate_is_refused_before_any_job(calibrated):
    path = calibrated.folder / "phantoms.yaml"
    former = path.read_text()
    path.write_text(yaml.safe_dump({"mind-1": MINDWAYS, "qrm": CAHA | {"scale": "hydroxyapatite"}}))
    try:
        told = calibrated.refuse(*TARGETS)
        assert "phantom qrm: scale 'hydroxyapatite' is unknown; expected one of k2hpo4, caha" in told
        path.write_text(yaml.safe_dump({"mind-1": MINDWAYS}))
        assert "row 4, column phantom: 'qrm'; phantoms.yaml has mind-1" in calibrated.refuse(*TARGETS)
    finally:
        path.write_text(former)


PHANTOM = {"matrix": 256, "people": 4, "density_phantom": "synthetic-k2hpo4"}
PROJECTED, REFUSED, BARE = "X08-right-side", "X20-rods-lost", "X23-no-phantom"
PAGES, BATCH = "results/report/scans/batch-0", "all/vnet/ensemble"


@pytest.fixture(scope="module")
def femurs(tmp_path_factory):
    """Return a study of calibrated hips with the pages of a batch, whose predictions are the reference masks.

    The tiny network of the study does not learn in its few updates what a femur is.
    """
    folder = tmp_path_factory.mktemp("femurs")
    settings = yaml.safe_load((ROOT / "studies/ci.yaml").read_text())
    settings["phantom"] |= PHANTOM | {"defects": ["right_side", "rods_lost", "no_phantom"]}
    settings["calibration"] = {"phantoms": "phantoms.yaml"}
    (folder / "overlay.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    study = Study(folder, overlay=str(folder / "overlay.yaml"))
    masks = {scan: f"results/cropped/{scan}/labels.nii.gz" for scan in (PROJECTED, REFUSED, BARE)}
    study.run(f"results/predictions/{BATCH}/batch-0", *masks.values())
    for scan, path in masks.items():
        mask = read_image(folder / path)
        probability = image_like(array_zyx(mask).astype(np.float32), mask)
        write_image(probability, folder / f"results/predictions/{BATCH}/batch-0/{scan}/probability.nii.gz")
    study.run(PAGES)
    return study


def page_of(study, scan):
    return (study.folder / f"{PAGES}/{scan}.html").read_text(encoding="utf-8")


def picture_of(study, scan):
    return study.folder / f"results/projected/{BATCH}/{scan}.webp"


def shown_projection(study, scan):
    """Return source and text of the projected femur on the page of a scan; None: it has none."""
    found = re.findall(r'<img src="([^"]*/projected/[^"]*)" alt="([^"]*)"', page_of(study, scan))
    return found[0] if found else None


def test_a_calibrated_femur_has_a_picture_of_its_projection_on_its_page(femurs):
    measured = json.loads((femurs.folder / f"results/measured/{BATCH}/{PROJECTED}.json").read_text())
    areal = measured["density"]["femur"]["predicted"]["areal"]
    told = ", ".join(f"{roi} {row['abmd_g_cm2']:.3f}" for roi, row in areal.items())
    source, words = shown_projection(femurs, PROJECTED)
    assert (femurs.folder / PAGES / source).resolve() == picture_of(femurs, PROJECTED).resolve()
    assert words == f"Projected femur with its regions; areal density in g/cm² (K2HPO4): {told}."
    with Image.open(picture_of(femurs, PROJECTED)) as picture:
        assert picture.width == WIDTH_PX and picture.height > 5 * HEADER_PX
        assert not picture.getexif() and "xmp" not in picture.info


def test_without_a_projection_there_is_a_picture_in_words(femurs):
    for scan in (REFUSED, BARE):
        with Image.open(picture_of(femurs, scan)) as picture:
            assert picture.width == WIDTH_PX and picture.height < 3 * HEADER_PX
    _, words = shown_projection(femurs, REFUSED)
    assert REFUSALS["too_few_rods"].meaning.replace("`", "") in words
    assert shown_projection(femurs, BARE) is None


def test_a_lost_picture_is_made_again_with_its_measures(femurs):
    assert femurs.planned(PAGES) == {}
    path = picture_of(femurs, PROJECTED)
    path.rename(path.with_suffix(".away"))
    try:
        assert femurs.planned(str(path.relative_to(femurs.folder))) == {"measure_prediction": 1}
    finally:
        path.with_suffix(".away").rename(path)
