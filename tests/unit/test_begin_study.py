"""`osteoflow init`: settings and table from a folder of scans, without anybody's identity."""

import csv
import io
import os
import random
import re
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import yaml
from snakemake.utils import update_config

from lib.checked_study import Typed, read_study
from lib.commands import init
from lib.commands.beginning.begin_study import begin_study
from lib.commands.beginning.guessed_study import known_structure
from lib.commands.beginning.masks_found import NOT_CHOSEN
from lib.errors import ConfigError
from lib.phantom.people import find_person
from lib.phantom.series.identity import CANARY
from tests.study import ROOT
from tests.unit.scan_folders import HU, PEOPLE, change_headers, write_dicom, write_image, write_labels

SCANS = ("P001", "P002", "P003", "X05-localizer", "X06-second-series", "X09-repeat")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    for name in SCANS:
        write_dicom(root, name)
    write_labels(root / "P001/mask.nii.gz", left=1)
    write_labels(root / "masks/P002_femur_seg.nii.gz", right=1)
    return root


@pytest.fixture
def scans(made, tmp_path):
    """Return a folder of DICOM series with canaries; two have a mask."""
    return shutil.copytree(made, tmp_path / "scans")


def begin(folder, study, modality="", seed=0):
    """Return what was told, the overlay and the table's rows by their image."""
    told = begin_study(folder, study, modality, random.Random(seed))
    overlay = yaml.safe_load((study / "study.yaml").read_text())
    rows = list(csv.DictReader(io.StringIO((study / "cohort.csv").read_text())))
    return told, overlay, {row["image"]: row for row in rows}


def read(study, overlay, monkeypatch):
    """Read the study as Snakemake does."""
    monkeypatch.chdir(study)
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(settings, overlay)
    return read_study(settings, Typed(words=(), overlays=(), settings=overlay), study)


def test_a_folder_of_series_becomes_a_study_that_can_be_read(scans, tmp_path, monkeypatch):
    told, overlay, rows = begin(scans, tmp_path / "study")
    assert told[0].startswith(
        "8 DICOM series in 6 folders: 6 CT, 1 further series of the same examinations, 1 localizer left out"
    )
    assert told[0].endswith("2 masks matched, 4 without")
    assert overlay["anatomy"] == "proximal-femur" and overlay["structures"] == {"femur": "any"}
    first = rows["../scans/P001/dicom"]
    person = find_person(PEOPLE, "P001")
    assert (first["sex"], first["age"]) == (person.sex, f"{person.age}" if person.age < 90 else "90+")
    assert (
        first["mask"] == "../scans/P001/mask.nii.gz"
        and first["side"] == "left"
        and first["vendor"] == "siemens"
    )
    second = rows["../scans/P002/dicom"]
    assert second["mask"] == "../scans/masks/P002_femur_seg.nii.gz" and second["side"] == "right"
    study = read(tmp_path / "study", overlay, monkeypatch)
    assert len(study.scans) == 6 and study.config["folds"]["folds"] == 2


def test_scans_of_one_person_get_one_subject(scans, tmp_path):
    _, _, rows = begin(scans, tmp_path / "study")
    of = {image.split("/")[2]: row["subject"] for image, row in rows.items()}
    repeated = find_person(PEOPLE, "X09-repeat").subject
    assert of["X09-repeat"] == of[repeated] and len(set(of.values())) == 5


def test_a_folder_with_several_series_names_the_one_that_is_used(scans, tmp_path):
    begin(scans, tmp_path / "study")
    table = list(csv.DictReader(io.StringIO((tmp_path / "study/cohort.csv").read_text())))
    several = [row for row in table if "second-series" in row["image"]]
    assert len({row["series_uid"] for row in several} - {""}) == 2
    assert sorted(row["exclude"] for row in several) == ["", NOT_CHOSEN]
    assert {row["series_uid"] for row in table if row not in several} == {""}


def test_no_identity_reaches_a_file_or_the_terminal(scans, tmp_path, capfd):
    change_headers(
        scans / "P003/dicom",
        BodyPartExamined=f"{CANARY} HIP", Manufacturer=f"{CANARY} Siemens", Laterality=CANARY, PatientAge="093Y",
        PatientSex=CANARY,
    )  # fmt: skip
    (scans / "P003/dicom/damaged.dcm").write_bytes(b"x" * 128 + b"DICM" + f"{CANARY}".encode() * 9)
    assert init.main([str(scans), "--study", str(tmp_path / "study")]) == 0
    printed = "".join(capfd.readouterr())
    made = [path.read_text() for path in (tmp_path / "study").iterdir()]
    assert len(made) == 2
    dates = {f"{find_person(PEOPLE, name).scan_date:%Y%m%d}" for name in ("P001", "P002", "P003")} | {
        "19010203"
    }
    for text in (*made, printed):
        assert CANARY.lower() not in text.lower() and "093" not in text and not any(d in text for d in dates)
    assert "1 damaged file left out" in printed and ",90+," in made[0] + made[1]


def test_ids_are_numbers_in_random_order(scans, tmp_path):
    orders = set()
    for seed in range(4):
        _, _, rows = begin(scans, tmp_path / f"study{seed}", seed=seed)
        assert all(
            re.fullmatch(r"S\d{3}", row["scan"]) and re.fullmatch(r"P\d{3}", row["subject"])
            for row in rows.values()
        )
        orders.add(tuple(rows))
    assert len(orders) > 1


def test_institutions_are_numbered(scans, tmp_path):
    _, _, rows = begin(scans, tmp_path / "one")
    assert "site" not in next(iter(rows.values()))
    change_headers(scans / "P001/dicom", InstitutionName="Another Hospital")
    _, _, rows = begin(scans, tmp_path / "two")
    assert {row["site"] for row in rows.values()} == {"site-1", "site-2"}
    assert [row["site"] for row in rows.values()].count(rows["../scans/P001/dicom"]["site"]) == 1


def test_a_blank_patient_id_joins_nobody(scans, tmp_path):
    for name in ("P001", "P002", "P003"):
        change_headers(scans / name / "dicom", PatientID="ANONYMOUS")
    told, _, rows = begin(scans, tmp_path / "study")
    assert len({rows[f"../scans/{name}/dicom"]["subject"] for name in ("P001", "P002", "P003")}) == 3
    assert any("3 series without a PatientID of their own" in line for line in told)


def test_no_file_is_overwritten(scans, tmp_path, capsys):
    (tmp_path / "study").mkdir()
    (tmp_path / "study/cohort.csv").write_text("mine")
    assert init.main([str(scans), "--study", str(tmp_path / "study")]) == 1
    assert "already has cohort.csv; nothing was written" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["cohort.csv"]
    assert (tmp_path / "study/cohort.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: None, "it is empty"),
        (lambda folder: (folder / "a.txt").write_text("x"), "1 file of other kinds"),
        (lambda folder: (folder / "a.dcm").write_text("x"), "1 damaged file"),
        (
            lambda folder: (folder / "a.tar").write_bytes(b"x" * 600),
            "1 archive other than zip: unpack them",
        ),
        (lambda folder: (folder / "a.nii.gz").write_text("x"), "1 damaged file"),
        (lambda folder: write_labels(folder / "mask.nii.gz", left=1), "1 mask"),
    ],
)
def test_a_folder_without_scans_is_told_with_what_to_do(make, expected, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    make(folder)
    with pytest.raises(ConfigError, match="Give the folder that holds the scans") as error:
        begin(folder, tmp_path / "study")
    assert expected in str(error.value) and not (tmp_path / "study").exists()


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        begin(tmp_path / "nowhere", tmp_path / "study")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        begin(tmp_path / "file", tmp_path / "study")


def test_a_study_reads_one_modality(scans, tmp_path):
    change_headers(scans / "P003/dicom", Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    told, _, rows = begin(scans, tmp_path / "ct")
    assert "../scans/P003/dicom" not in rows and "1 MR series left out" in told[0]
    assert any("--modality MR" in line for line in told)
    _, overlay, rows = begin(scans, tmp_path / "mr", "MR")
    assert list(rows) == ["../scans/P003/dicom"] and overlay["screening"] == {"modality": "MR"}


def test_archives_are_read(scans, tmp_path):
    folder = tmp_path / "archives"
    folder.mkdir()
    for name in ("P001", "P002"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in (scans / name / "dicom").iterdir():
                archive.write(path, f"{CANARY}/{path.name}")
    shutil.copy(scans / "P001/mask.nii.gz", folder / "P001_mask.nii.gz")
    _, _, rows = begin(folder, tmp_path / "study")
    assert set(rows) == {"../archives/P001.zip", "../archives/P002.zip"}
    assert rows["../archives/P001.zip"]["mask"] == "../archives/P001_mask.nii.gz"


def test_series_of_one_flat_folder_are_named(scans, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("P001", "P002"):
        for path in (scans / name / "dicom").iterdir():
            shutil.copy(path, flat / f"{name}-{path.name}")
    _, _, rows = begin(flat, tmp_path / "study")
    table = list(csv.DictReader(io.StringIO((tmp_path / "study/cohort.csv").read_text())))
    assert list(rows) == ["../flat"] and len({row["series_uid"] for row in table}) == 2


def test_series_with_one_blanked_uid_stay_apart(scans, tmp_path):
    for name in ("P001", "P002"):
        change_headers(scans / name / "dicom", SeriesInstanceUID="")
    _, _, rows = begin(scans, tmp_path / "study")
    assert {"../scans/P001/dicom", "../scans/P002/dicom"} <= set(rows)


def test_a_series_in_parts_is_one_scan(scans, tmp_path):
    folder = scans / "P003/dicom"
    for number, path in enumerate(sorted(folder.iterdir())):
        part = folder / f"part{number % 2}"
        part.mkdir(exist_ok=True)
        path.rename(part / path.name)
    told, _, rows = begin(scans, tmp_path / "study")
    assert "../scans/P003/dicom" in rows and "6 CT" in told[0]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("imagesTr/hip_{n}_0000.nii.gz", "labelsTr/hip_{n}.nii.gz"),
        ("{n}/ct.nii.gz", "{n}/segmentations/femur_left.nii.gz"),
        ("img/case{n}.nrrd", "seg/case{n}.seg.nrrd"),
        ("case{n}_image.mha", "case{n}_mask.mha"),
        ("sub-{n}/anat/sub-{n}_ct.nii.gz", "derivatives/labels/sub-{n}/anat/sub-{n}_msk.nii.gz"),
    ],
)
def test_label_maps_find_their_scans(image, mask, tmp_path, monkeypatch):
    for n in ("07", "11"):
        write_image(tmp_path / "scans" / image.format(n=n))
        write_labels(tmp_path / "scans" / mask.format(n=n), left=1)
    told, overlay, rows = begin(tmp_path / "scans", tmp_path / "study")
    assert {row["image"]: row["mask"] for row in rows.values()} == {
        f"../scans/{image.format(n=n)}": f"../scans/{mask.format(n=n)}" for n in ("07", "11")
    }
    assert "2 CT; 2 masks matched, 0 without" in told[0]
    assert len(read(tmp_path / "study", overlay, monkeypatch).scans) == 2


def test_a_mask_that_could_belong_to_two_scans_belongs_to_none(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_image(tmp_path / "scans" / name)
    write_labels(tmp_path / "scans/mask.nii.gz", left=1)
    told, _, rows = begin(tmp_path / "scans", tmp_path / "study")
    assert not any(row["mask"] for row in rows.values()) and "1 mask of no scan, or of several" in told[0]
    assert any("masks of at least two people" in line for line in told)


def test_two_femora_of_a_label_map_are_told_apart(tmp_path):
    for n, places in (("1", {"left": 5, "right": 3}), ("2", {"left": 3, "right": 5})):
        write_image(tmp_path / f"scans/{n}.nii.gz")
        write_labels(tmp_path / f"scans/{n}_label.nii.gz", **places)
    _, overlay, rows = begin(tmp_path / "scans", tmp_path / "study")
    assert overlay["anatomy"] == "proximal-femur"
    assert {image: (row["mask_label"], row["side"]) for image, row in rows.items()} == {
        "../scans/1.nii.gz": ("5", "left"),
        "../scans/2.nii.gz": ("3", "left"),
    }


def test_vertebrae_of_verse_become_structures(tmp_path, monkeypatch):
    for n in ("1", "2"):
        write_image(tmp_path / f"scans/{n}.nii.gz")
        write_labels(tmp_path / f"scans/{n}_msk.nii.gz", a=20, b=21, c=22, d=23)
    _, overlay, rows = begin(tmp_path / "scans", tmp_path / "study")
    assert overlay["anatomy"] == "lumbar-spine"
    assert overlay["structures"] == {"L1": [20], "L2": [21], "L3": [22], "L4": [23]}
    assert "side" not in next(iter(rows.values()))
    assert len(read(tmp_path / "study", overlay, monkeypatch).structures) == 4


def test_values_without_a_name_are_left_to_the_user(tmp_path, monkeypatch):
    signal = (HU.astype(np.int32) + 1100).astype(np.int16)
    for n in ("1", "2"):
        write_image(tmp_path / f"scans/{n}.nii.gz", signal)
        write_labels(tmp_path / f"scans/{n}_seg.nii.gz", a=1, b=2, c=7)
    _, overlay, _ = begin(tmp_path / "scans", tmp_path / "study")
    assert overlay["structures"] == {"label-1": [1], "label-2": [2], "label-7": [7]}
    assert overlay["screening"] == {"modality": "MR"} and overlay["anatomy"] == "generic"
    assert len(read(tmp_path / "study", overlay, monkeypatch).structures) == 3


def test_names_of_label_values_are_read_from_slicer_and_nnunet(tmp_path):
    for n in ("1", "2"):
        write_image(tmp_path / f"scans/imagesTr/{n}_0000.nii.gz")
        write_labels(tmp_path / f"scans/labelsTr/{n}.nii.gz", a=1, b=2)
    names = '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "tibia": 1, "%s": 2}}' % CANARY  # noqa: UP031
    (tmp_path / "scans/dataset.json").write_text(names)
    _, overlay, _ = begin(tmp_path / "scans", tmp_path / "study")
    assert (
        overlay["structures"] == {"tibia": [1]} and CANARY not in (tmp_path / "study/study.yaml").read_text()
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vertebrae_L3", "L3"),
        ("Left Femur", "femur-left"),
        ("femur_right", "femur-right"),
        ("Jane Doe", ""),
        ("sacrum", "sacrum"),
    ],
)
def test_only_bones_are_named(name, expected):
    assert known_structure(name) == expected


def test_image_files_beside_series_may_be_copies(scans, tmp_path):
    write_image(scans / "P001/converted.nii.gz")
    told, _, rows = begin(scans, tmp_path / "study")
    assert not any("converted" in image for image in rows)
    assert any("may be copies of the DICOM series" in line for line in told)


def test_images_that_are_named_like_masks_are_not_used(tmp_path):
    write_image(tmp_path / "scans/1.nii.gz")
    write_image(tmp_path / "scans/1_mask.nii.gz")
    told, _, rows = begin(tmp_path / "scans", tmp_path / "study")
    assert not next(iter(rows.values()))["mask"] and any(
        "1 file named like masks cannot be used" in line for line in told
    )


def test_results_of_the_study_itself_are_not_scans(tmp_path):
    write_image(tmp_path / "1.nii.gz")
    write_image(tmp_path / "results/converted/1/image.nii.gz")
    _, _, rows = begin(tmp_path, tmp_path)
    assert list(rows) == ["1.nii.gz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_may_not_be_read_are_told(scans, tmp_path):
    (scans / "P001").chmod(0)
    with pytest.raises(ConfigError, match="1 folders below"):
        begin(scans, tmp_path / "study")
    (scans / "P001").chmod(0o755)


def test_the_age_is_that_at_the_examination(scans, tmp_path):
    for path in (scans / "P001/dicom").iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.PatientAge
        dataset.PatientBirthDate, dataset.StudyDate = "19500615", "20100614"
        dataset.save_as(path)
    _, _, rows = begin(scans, tmp_path / "study")
    assert rows["../scans/P001/dicom"]["age"] == "59"
