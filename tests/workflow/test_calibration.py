"""Calibrations of a study of images with phantoms, what a changed certificate runs again, and projected femurs."""

import csv
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
TARGETS = [f"results/calibrated/{scan}.json" for scan in ("A", "A-right", "B", "C", "D")]
LINES = {"A": (1.38, 2.0), "QA": (1.40, -3.0), "C": (1.55, 1.0)}
# A and A-right are two hips of one image; D takes the same line as B, long after it
TABLE = """scan,image,subject,side,phantom,calibration,calibration_scan,scan_order,set
A,A.nii.gz,A,left,mind-1,,,1,apply
A-right,A.nii.gz,A,right,mind-1,,,1,apply
B,B.nii.gz,B,,,asynchronous,QA,2,apply
C,C.nii.gz,C,,qrm,,,3,apply
D,D.nii.gz,D,,,asynchronous,QA,90,apply
QA,QA.nii.gz,QA,,mind-1,,,4,apply
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
        "D": alone,
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
    for scan, (slope, intercept_hu) in {**LINES, "B": LINES["QA"], "D": LINES["QA"]}.items():
        told = found(calibrated, scan)
        assert told["slope_hu_per_mg_cm3"] == pytest.approx(slope, rel=0.005), scan
        assert told["intercept_hu"] == pytest.approx(intercept_hu, abs=1), scan
    assert [found(calibrated, scan)["scale"] for scan in "ABC"] == ["k2hpo4", "k2hpo4", "caha"]
    assert (found(calibrated, "B")["method"], found(calibrated, "B")["calibration_scan"]) == (
        "asynchronous",
        "QA",
    )


def test_two_hips_of_one_image_have_one_line_bit_by_bit(calibrated):
    left, right = (
        (calibrated.folder / f"results/calibrated/{scan}.json").read_bytes() for scan in ("A", "A-right")
    )
    assert left == right and json.loads(left)["verdict"] == "ok"


def test_a_window_of_the_line_concerns_scans_that_pass_it(calibrated):
    for most, jobs in ((100, 0), (86, 0), (85, 1), (2, 1), (1.5, 2)):
        planned = calibrated.planned(*TARGETS, settings=(f"calibration={{max_scan_order_gap: {most}}}",))
        assert planned.get("calibrate_density", 0) == jobs, most
    table = calibrated.folder / "cohort.csv"
    window = ("calibration={max_scan_order_gap: 85}",)
    former, target = table.read_text(), "results/calibrated/D.json"
    try:
        calibrated.run(target, settings=window)
        told = found(calibrated, "D")
        assert (told["verdict"], told["reason"], told["slope_hu_per_mg_cm3"]) == (
            "refused",
            "scan_order_gap",
            None,
        )
        assert told["found"] == "scan_order 90, and QA 4: a difference of 86; allowed are 85"
        assert calibrated.planned(*TARGETS, settings=window) == {}
        # B, A and C change their places within the window: nothing; D comes into it
        table.write_text(former.replace(",1,", ",6,").replace("QA,2,", "QA,9,").replace(",3,", ",8,"))
        assert calibrated.planned(*TARGETS, settings=window) == {}
        table.write_text(former.replace(",90,", ",89,"))
        assert calibrated.planned(*TARGETS, settings=window) == {"calibrate_density": 1}
        table.write_text(former.replace(",90,", ",,"))
        calibrated.run(target, settings=window)
        told = found(calibrated, "D")
        assert (told["reason"], told["found"]) == ("scan_order_unknown", "no scan_order of D")
    finally:
        table.write_text(former)
    calibrated.run(target)
    assert found(calibrated, "D")["verdict"] == "flagged" and calibrated.planned(*TARGETS) == {}


def test_the_table_names_the_hips_of_one_image(tmp_path):
    """Both hips of A are one acquisition; copies of one image are one, too, whatever their files are called."""
    rows = ["scan,image,mask,subject,side,phantom,scanner,scan_order"]
    for number, person in enumerate("ABC", start=1):
        made = scene(shown_hu(MINDWAYS, 1.38, 2.0), slices=24, pixel_mm=1.5)
        image = made.image(seed=number)
        mask = sitk.GetImageFromArray((sitk.GetArrayViewFromImage(image) > 500).astype("uint8"))
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(tmp_path / f"{person}-mask.nii.gz"))
        for side in ("left", "right") if person in "AB" else ("left",):
            file = f"{person}.nii.gz" if person == "A" else f"{person}-{side}.nii.gz"
            sitk.WriteImage(image, str(tmp_path / file))
            rows.append(f"{person}-{side},{file},{person}-mask.nii.gz,{person},{side},mind-1,room 3,{number}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "phantoms.yaml").write_text(yaml.safe_dump({"mind-1": MINDWAYS}))
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        "{cohort: cohort.csv, calibration: {phantoms: phantoms.yaml}, groups: {all: {}}, anatomy: generic, "
        "structures: {bone: any}, crop: {method: centre}, folds: {folds: 2, test_fraction: 0}}"
    )
    Study(tmp_path, overlay=str(overlay)).run("results/tables/calibration.csv")
    table = list(csv.DictReader((tmp_path / "results/tables/calibration.csv").read_text().splitlines()))
    assert [(row["scan"], row["same_image_as"]) for row in table] == [
        ("A-left", ""),
        ("A-right", "A-left"),
        ("B-left", ""),
        ("B-right", "B-left"),
        ("C-left", ""),
    ]
    slopes = [row["slope_hu_per_mg_cm3"] for row in table]
    assert slopes[0] == slopes[1] != slopes[2] == slopes[3] != slopes[4]


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
    assert calibrated.planned(*TARGETS, settings=("calibration={min_rods: 4}",))["calibrate_density"] == 6
    assert calibrated.planned(*TARGETS, settings=("calibration={drift_sd: 2.5}",)) == {}


def test_a_wrong_certificate_is_refused_before_any_job(calibrated):
    path = calibrated.folder / "phantoms.yaml"
    former = path.read_text()
    path.write_text(yaml.safe_dump({"mind-1": MINDWAYS, "qrm": CAHA | {"scale": "hydroxyapatite"}}))
    try:
        told = calibrated.refuse(*TARGETS)
        assert "phantom qrm: scale 'hydroxyapatite' is unknown; expected one of k2hpo4, caha" in told
        path.write_text(yaml.safe_dump({"mind-1": MINDWAYS}))
        assert "row 5, column phantom: 'qrm'; phantoms.yaml has mind-1" in calibrated.refuse(*TARGETS)
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
    assert words == f"Projected femur with its regions; areal density in g/cm² (K₂HPO₄): {told}."
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
