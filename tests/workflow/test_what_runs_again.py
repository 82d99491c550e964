"""Reruns after a change: each row of the table in docs/reruns.md is checked by a dry run."""

import csv
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
import yaml

from lib.commands.rerun import files_to_rerun
from tests.study import ROOT, Study, make_another_image

pytestmark = pytest.mark.workflow

PAGE = ROOT / "docs/reruns.md"
HEADING = "## What changes, and what runs"
FOLDS = "results/folds/folds.csv"

RECORD = {"record_run"}
REPORT = {"write_report"}
DICTIONARY = {"describe_tables"}  # describes every table, and so follows each
PEOPLE = {"gather_people", "link_final_masks"} | DICTIONARY
# rules that make figures, tables and pages from the two tables of predictions
STATISTICS = {
    "summarize_agreement",
    "gather_notes",
    "tabulate_table1",
    "tabulate_table2",
    "draw_figures",
} | REPORT
TABLES = {"gather_metrics", "gather_volumes", "gather_flow"} | PEOPLE | STATISTICS
ERRORS = {"gather_volume_errors"}  # errors of cross-validation, for intervals of volumes
MEASURES = {"measure_prediction", "write_scan_pages"} | ERRORS | TABLES
SPLIT = {"split_folds"} | ERRORS | TABLES
PREDICTIONS = {"predict_scans"} | MEASURES
CROPS = {"crop_image", "crop_labels", "crop_labels2", "draw_crop"} | PREDICTIONS
SLICES = {"resample_image", "resample_labels", "resample_labels2"} | CROPS


def with_settings(study: Study, changes: Mapping, file: Path) -> Study:
    """Return the study with an overlay, written to `file`, of its own settings and `changes`."""
    own = yaml.safe_load((ROOT / study.overlay).read_text())
    # keys keep their order, because Snakemake compares settings as written
    file.write_text(yaml.safe_dump(merged(own, changes), sort_keys=False))
    return replace(study, overlay=str(file))


def merged(settings: Mapping, changes: Mapping) -> dict:
    both = dict(settings)
    for key, value in changes.items():
        both[key] = merged(both.get(key, {}), value) if isinstance(value, dict) else value
    return both


def table(study: Study, name: str) -> list[dict]:
    with open(study.folder / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def edit_table(study: Study, edit: Callable[[list[dict]], Iterable[dict]]) -> None:
    """Rewrite the cohort table with the rows that `edit` returns."""
    rows = list(edit(table(study, "source/cohort.csv")))
    with open(study.folder / "source/cohort.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def set_cells(**scans: Mapping[str, str]) -> Callable[[Study], None]:
    """Return a change of a study that sets cells of its cohort table, by scan."""

    def edit(rows):
        return [row | scans.get(row["scan"], {}) for row in rows]

    return lambda study: edit_table(study, edit)


SETTINGS = {
    "nothing": ({}, set()),
    "`mask`, `measure`, `predict.review_member_dice`, `spacing_factor`": (
        {
            "mask": {"keep_largest": False},
            "measure": {"distal_cut_mm": 12},
            "predict": {"review_member_dice": 0.8},
        },
        MEASURES | RECORD,
    ),
    "`report`": ({"report": {"confidence": 0.9}}, {"write_scan_pages"} | TABLES | RECORD),
    "`predict.step`, `z_padding`, `batch_windows`; `train.device`, `precision`; `reproducible`": (
        {"predict": {"step": 2}, "train": {"precision": "float32"}},
        PREDICTIONS | RECORD,
    ),
    "`acquisition_protocol`": (
        {"acquisition_protocol": {"kvp": 100}},
        {"gather_acquisition"} | TABLES | RECORD,
    ),
    "`networks`, `train` (but for device and precision)": (
        {"networks": {"vnet": {"dropout": 0.3}}, "train": {"epochs": 20}},
        {"gather_notes"} | REPORT | RECORD,
    ),
    "a network is added to `networks`, `grid` or `only_networks`": (
        {"networks": {"unet": {"unet": {"initial_maps": 4, "levels": 2}}}},
        {"train_fold", "compare_networks"} | PREDICTIONS | RECORD,
    ),
    "`publication`": ({"publication": "none"}, DICTIONARY | REPORT | RECORD),
    "`network_comparison`": ({"network_comparison": {"bootstrap": 500}}, REPORT | RECORD),
    "`compare`": ({"compare": {"dsc": 0.1}}, set()),
    # jobs after a new verdict or a new split are unknown before it exists
    "`screening`, `dicom`, or `crop` but for `size` and `method`": (
        {"screening": {"metal_hu": 2600.0}},
        {"screen_scan", "gather_screening", "gather_acquisition"} | SPLIT | RECORD,
    ),
    "`structures`: other values of the same bones": (
        {"structures": {"femur": [1]}},
        {"screen_scan", "gather_screening", "gather_acquisition"} | SPLIT | RECORD,
    ),
    "a network or a group is removed, or is not among `only_networks`": (
        {"groups": {"male": None, "female": None}},
        SPLIT | RECORD,
    ),
    "`predict.batch_scans`, `folds.test_fraction`, `folds.age_bands`": (
        {"predict": {"batch_scans": 5}, "folds": {"test_fraction": 0.3}},
        SPLIT | RECORD,
    ),
    "`seed`": ({"seed": 7}, SPLIT | RECORD),
}


@pytest.mark.parametrize("row", SETTINGS)
def test_a_changed_setting_runs_what_depends_on_it(finished, tmp_path, row):
    changes, expected = SETTINGS[row]
    planned = with_settings(finished, changes, tmp_path / "overlay.yaml").planned()
    assert set(planned) == expected, planned


def add_a_scan(study: Study) -> None:
    shutil.copytree(study.folder / "source/P001", study.folder / "source/N001")
    make_another_image(study.folder / "source/N001")
    own = {"scan": "N001", "subject": "N001", "mask2": ""}

    def edit(rows):
        first = next(row for row in rows if row["scan"] == "P001")
        moved = {name: first[name].replace("P001", "N001", 1) for name in ("image", "mask")}
        return [*rows, first | own | moved]

    edit_table(study, edit)


def other_images(study: Study) -> None:
    (study.folder / "source/P001/dicom").touch()
    (row,) = (row for row in table(study, "source/cohort.csv") if row["scan"] == "P004")
    set_cells(P004={"crop_x_mm": str(float(row["crop_x_mm"]) + 1)})(study)


def erode(path: Path) -> None:
    """Remove a layer of voxels from a mask; only touching the file would not change its checksum."""
    mask = sitk.ReadImage(str(path))
    path.unlink()  # the finished study has a link to it
    sitk.WriteImage(sitk.BinaryErode(mask, (1, 1, 0)), str(path))


def shorten(path: Path) -> None:
    """Remove the lowest slice of a mask."""
    mask = sitk.ReadImage(str(path))
    mask[:, :, next(k for k in range(mask.GetDepth()) if any(mask[:, :, k]))] = 0
    path.unlink()  # the finished study has a link to it
    sitk.WriteImage(mask, str(path))


def other_references(study: Study) -> None:
    (row,) = (row for row in table(study, "source/cohort.csv") if row["scan"] == "P002")
    shorten(study.folder / "source" / row["mask"])
    set_cells(P003={"mask_label": "1"})(study)


def leave_out(study: Study) -> None:
    def edit(rows):
        left_out = {"P002": "hip replacement"}
        return [row | {"exclude": left_out.get(row["scan"], "")} for row in rows if row["scan"] != "P003"]

    edit_table(study, edit)


PER_SCAN = ("convert_scan", "resample_image", "resample_labels", "crop_image", "crop_labels", "draw_crop")
# rules that run after the split, and rules with their exact number of jobs
COHORT = {
    "a scan is added": (
        add_a_scan,
        ({"gather_acquisition", "convert_scan"} | SLICES) - {"resample_labels2", "crop_labels2"} - ERRORS,
        dict.fromkeys(PER_SCAN, 1) | dict.fromkeys(("predict_scans", "measure_prediction"), 2),
    ),
    "image, `series_uid`, `side` or crop centre of a scan": (
        other_images,
        {"gather_acquisition", "convert_scan"} | SLICES,
        {"convert_scan": 2, "resample_image": 2, "crop_image": 2, "crop_labels2": 1},
    ),
    "`mask` or `mask_label` of a scan": (
        other_references,
        {"resample_labels", "crop_labels"} | MEASURES,
        {"resample_labels": 2, "crop_labels": 2},
    ),
    "`mask2` of a scan": (
        lambda study: erode(study.folder / "source/P001/second.nii.gz"),
        {"resample_labels2", "crop_labels2"} | MEASURES,
        {"resample_labels2": 1, "crop_labels2": 1, "measure_prediction": 2},
    ),
    "`contrast` of a scan": (
        set_cells(P002={"contrast": "no"}),  # the headers say yes
        {"gather_acquisition"} | MEASURES,
        {"measure_prediction": 2},
    ),
    "`subject`, `age`, `site`, `vendor`, `repeat_of` or `set` of a scan": (
        set_cells(P002={"subject": "Q002", "age": "70", "site": "B", "vendor": "ge", "set": "test"}),
        {"gather_acquisition", "write_scan_pages"} | ERRORS | TABLES,
        {},
    ),
    "a scan is excluded or removed": (
        leave_out,
        {"gather_acquisition"} | PREDICTIONS,
        {},
    ),
    "a column that is not read, the order of rows": (
        lambda study: edit_table(study, lambda rows: [row | {"remark": "seen"} for row in rows]),
        set(),
        {},
    ),
}


@pytest.mark.parametrize("row", COHORT)
def test_a_changed_cohort_runs_what_depends_on_it(study, row):
    change, expected, counts = COHORT[row]
    before = table(study, FOLDS)
    change(study)
    study.run(FOLDS)
    after = {line["scan"]: line for line in table(study, FOLDS)}
    for line in before:  # nobody moves
        kept = ("set", "fold", "batch", "trains")
        assert [after[line["scan"]][name] for name in kept] == [line[name] for name in kept]
    planned = study.planned()
    assert set(planned) == expected, planned
    assert {rule: planned[rule] for rule in counts} == counts


def test_a_setting_of_the_draw_that_changes_later_moves_nobody(study):
    before, changes = (
        table(study, FOLDS),
        {"seed": 7, "predict": {"batch_scans": 5}, "folds": {"test_fraction": 0.3}},
    )
    changed = with_settings(study, changes, study.folder / "overlay.yaml")
    changed.run(FOLDS)
    assert table(study, FOLDS) == before
    assert set(changed.planned()) == {"gather_notes"} | REPORT | RECORD


def test_other_values_of_a_structure_make_its_references_again(study):
    overlay = study.folder / "overlay.yaml"
    changed = with_settings(study, {"structures": {"femur": [1]}}, overlay)
    changed.run(FOLDS)
    planned = changed.planned()
    references = {f"{rule}{reader}" for rule in ("resample_labels", "crop_labels") for reader in ("", "2")}
    assert set(planned) == references | MEASURES | RECORD, planned


def review_of(finished: Study, file: Path, **cells: str) -> Study:
    header = ("scan", "verdict", "comment", "corrected_mask")
    with open(file, "w", newline="", encoding="utf-8") as written:
        writer = csv.writer(written, lineterminator="\n")
        writer.writerows([header, ["P001", *(cells.get(name, "") for name in header[1:])]])
    return replace(finished, settings=(*finished.settings, f"review={file}"))


def with_code(finished: Study, folder: Path, file: str, old: str, new: str) -> Study:
    """Return the finished study with a copy of the code in which one text of one file is replaced."""
    unused = shutil.ignore_patterns(".*", "results", "__pycache__", "tests", "bench", "images", "shared")
    shutil.copytree(ROOT, folder / "code", ignore=unused)
    text = (folder / "code" / file).read_text(encoding="utf-8")
    assert old in text
    (folder / "code" / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return Study(finished.folder, finished.overlay, finished.settings, code=folder / "code")


def corrected(finished: Study, folder: Path) -> Study:
    mask = finished.folder / "results/masks/all/vnet/fold-1/P001/labels.nii.gz"
    return review_of(finished, folder / "review.csv", corrected_mask=str(mask))


def lacking(finished: Study, folder: Path, *names: str) -> Study:
    """Return a copy of the finished study without some files."""
    shutil.copytree(finished.folder, folder / "study", copy_function=os.link, symlinks=True)
    for name in names:
        (folder / "study" / name).unlink()
    return Study(folder / "study", finished.overlay, finished.settings)


def from_a_stage(finished: Study, folder: Path) -> Counter:
    return finished.planned("--forcerun", *files_to_rerun("P001", "crop_image", finished.folder))


OTHERS = {
    "`predict.heldout_weights`": (
        lambda finished, folder: with_settings(
            finished, {"predict": {"heldout_weights": "last"}}, folder / "overlay.yaml"
        ).planned(),
        (PREDICTIONS - ERRORS) | RECORD,
        # ensemble and single of each group, and none of the folds
        {"predict_scans": 6},
    ),
    "`review`: a comment, or the verdict `accepted`": (
        lambda finished, folder: review_of(finished, folder / "review.csv", comment="well done").planned(),
        {"gather_flow", "gather_notes", "write_scan_pages"} | DICTIONARY | REPORT,
        {"write_scan_pages": 1},
    ),
    "`review`: a corrected mask": (
        lambda finished, folder: corrected(finished, folder).planned(),
        {"measure_corrected", "write_scan_pages"} | (TABLES - {"gather_metrics", "tabulate_table2"}),
        {"measure_corrected": 1, "write_scan_pages": 1},
    ),
    "code under `lib/` or of a script, but for comments": (
        lambda finished, folder: with_code(
            finished,
            folder,
            "lib/imaging/full_mask.py",
            "import numpy as np",
            "import numpy as np\n\nNEW = 1",
        ).planned(),
        MEASURES | RECORD,
        {},
    ),
    "code that trains": (
        lambda finished, folder: with_code(
            finished, folder, "lib/learning/losses.py", "import torch", "import torch\n\nNEW = 1"
        ).planned(),
        {"gather_notes"} | REPORT | RECORD,
        {},
    ),
    "a comment or a docstring in `lib/`": (
        lambda finished, folder: with_code(
            finished,
            folder,
            "lib/imaging/full_mask.py",
            "import numpy as np",
            "# a comment\nimport numpy as np",
        ).planned(),
        set(),
        {},
    ),
    "the version of Osteoflow or of a package": (
        lambda finished, folder: with_code(
            finished, folder, "pyproject.toml", 'version = "', 'version = "9'
        ).planned(),
        RECORD,
        {},
    ),
    "a file of `results/` is deleted that others were made from": (
        lambda finished, folder: lacking(
            finished, folder, "results/measured/all/vnet/fold-1/P001.json"
        ).planned(),
        set(),
        {},
    ),
    "`report/index.html` is deleted": (
        lambda finished, folder: lacking(finished, folder, "results/report/index.html").planned(),
        REPORT,
        {},
    ),
    "`make rerun SUBJECT=… FROM=crop_image`": (
        from_a_stage,
        CROPS - {"resample_image"},
        {"crop_image": 1, "crop_labels": 1, "draw_crop": 1, "predict_scans": 2},
    ),
    "`--config retrain=true`": (
        lambda finished, folder: finished.planned(settings=("retrain=true",)),
        {"train_fold"} | PREDICTIONS | RECORD,
        {"train_fold": 6},
    ),
    "`--config redraw=true`": (
        lambda finished, folder: finished.planned(settings=("redraw=true",)),
        SPLIT | RECORD,
        {},
    ),
    "`review`: the verdict `rejected`": (
        lambda finished, folder: review_of(finished, folder / "review.csv", verdict="rejected").planned(),
        {"gather_screening", "gather_acquisition"} | SPLIT,
        {},
    ),
}


@pytest.mark.parametrize("row", OTHERS)
def test_another_change_runs_what_depends_on_it(finished, tmp_path, row):
    plan, expected, counts = OTHERS[row]
    planned = plan(finished, tmp_path)
    assert set(planned) == expected, planned
    assert {rule: planned[rule] for rule in counts} == counts


# settings of other bones than the femur, which no hip and no lesser trochanter belongs to
GENERIC = {"anatomy": "generic", "crop": {"method": "centre"}, "measure": {"distal_cut_mm": None}}
REFUSED = {
    "`anatomy`": (GENERIC, "crop.method: the models need 'hip', the configuration has 'centre'"),
    "`structures`: other names, or another order": (
        {**GENERIC, "structures": {"tibia": "any"}},
        "find femur, in this order, and the configuration has structures tibia",
    ),
    "`bias_field`, `resample`, `crop.method`, `crop.size`, `intensity`, `model_frame`": (
        {"crop": {"size": [40, 40]}},
        "the models need [32, 32]",
    ),
    "`study`, `model`, another cohort table": ({"study": "another"}, "--directory STUDY"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_does_not_fit_is_refused(finished, tmp_path, row):
    changes, told = REFUSED[row]
    assert told in with_settings(finished, changes, tmp_path / "overlay.yaml").refuse("--dry-run")


FOLD_NUMBER = "`folds.folds`"


def test_another_number_of_folds_is_refused_by_the_split(study):
    overlay = study.folder / "overlay.yaml"
    ended = with_settings(study, {"folds": {"folds": 3}}, overlay).call(FOLDS)
    assert ended.returncode and "redraw=true retrain=true" in ended.stdout, ended.stdout[-3000:]


def documented_rows() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").split(HEADING)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [re.match(r"\| (.+?) \|", line).group(1) for line in lines[2:]]


def test_every_documented_row_has_a_test_and_every_test_a_row():
    assert Counter(documented_rows()) == Counter([*SETTINGS, *COHORT, *OTHERS, *REFUSED, FOLD_NUMBER])
