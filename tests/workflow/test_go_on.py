"""What a user goes on with: the code of docs/go-on.md, the final masks and the data dictionary of a study."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import SimpleITK as sitk

from lib.stats.data_dictionary import DICTIONARY, DICTIONARY_COLUMNS
from tests.study import ROOT

pytestmark = pytest.mark.workflow

PAGE = (ROOT / "docs/go-on.md").read_text(encoding="utf-8")
VALUES = {  # what a cell of each type may hold
    "text": r".+",
    "integer": r"-?\d+",
    "number": r"-?\d+(\.\d+)?(e[-+]?\d+)?|-?inf",
    "yes/no": "yes|no",
    "True/False": "True|False",
    "1/0": "1|0",
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture
def beside(finished, tmp_path):
    """Return a folder with the results of the finished study, and a table of the user's."""
    (tmp_path / "results").symlink_to(finished.folder / "results")
    people = pd.read_csv(finished.folder / "results/tables/people.csv", dtype={"subject": str})
    clinical = pd.DataFrame({"subject": people["subject"].unique()}).assign(height_cm=170.0)
    clinical.to_csv(tmp_path / "clinical.csv", index=False)
    return tmp_path


def test_documented_python_runs_in_a_study(beside):
    assert len(blocks("python")) == 4
    told = "print('JOINED', len(joined), joined['height_cm'].notna().all(), len(used), used['subject'].is_unique)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([*blocks("python"), told])],
        cwd=beside, text=True, capture_output=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    scans = pd.read_csv(beside / "results/cohort/scans.csv")
    volumes = pd.read_csv(beside / "results/tables/volumes.csv")
    of_all = volumes[(volumes["group"] == "all") & volumes["repeat_of"].isna() & (volumes["age"] != "90+")]
    expected = len(of_all.dropna(subset=["age", "sex"])["scan"].unique())
    assert f"JOINED {len(scans)} True {expected} True" in run.stdout
    assert re.search(r"^age +-?\d", run.stdout, re.M) and "C(sex)[T.M]" in run.stdout
    first = re.search(r"^(\d+) mm3, mean -?\d+ HU$", run.stdout, re.M)
    # the volume of the mask on the converted scan's grid stands in the table, too
    shown = of_all.sort_values("scan").dropna(subset=["age", "sex"]).iloc[0]
    assert int(first[1]) == pytest.approx(shown["predicted_full_mm3"], rel=1e-3)


def test_documented_r_runs_in_a_study(beside):
    if not shutil.which("Rscript"):
        pytest.skip("R is not installed")
    first, of_mask = blocks("r")
    asked = 'if (requireNamespace("RNifti", quietly = TRUE)) {\n' + of_mask + "}\n"
    run = subprocess.run(
        ["Rscript", "-e", first + asked], cwd=beside, text=True, capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "(Intercept)" in run.stdout and "sexM" in run.stdout


def test_documented_slicer_names_files_that_exist(finished):
    """Slicer cannot run here: its functions are stood in for, and files are checked where they would be read."""
    (block,) = blocks("py")
    scan = pd.read_csv(finished.folder / "results/tables/people.csv")["scan"][0]
    read, called = [], []
    node = SimpleNamespace(
        GetID=lambda: "node",
        SetReferenceImageGeometryParameterFromVolumeNode=lambda volume: called.append("geometry"),
        CreateClosedSurfaceRepresentation=lambda: called.append("surface"),
    )

    def load(path, properties=None):
        assert Path(path).is_file(), path
        assert properties in (None, {"colorNodeID": "node"})
        read.append(Path(path).name)
        return node

    logic = SimpleNamespace(ImportLabelmapToSegmentationNode=lambda *nodes: called.append("import"))
    slicer = SimpleNamespace(
        util=SimpleNamespace(loadColorTable=load, loadVolume=load, loadLabelVolume=load),
        mrmlScene=SimpleNamespace(AddNewNodeByClass=lambda *named: node, RemoveNode=lambda gone: None),
        modules=SimpleNamespace(segmentations=SimpleNamespace(logic=lambda: logic)),
    )
    assert '"/data/hips", "H0001"' in block
    block = block.replace('"/data/hips", "H0001"', f'"{finished.folder}", "{scan}"')
    exec(compile(block, "go-on.md", "exec"), {"slicer": slicer})
    assert read == ["labels.ctbl", "image.nii.gz", f"{scan}_labels.nii.gz"]
    assert called == ["geometry", "import", "surface"]


def test_every_scan_with_values_has_its_final_mask_on_its_grid(finished):
    results = finished.folder / "results"
    people = pd.read_csv(results / "tables/people.csv").fillna({"final_mask": "", "final_mask_from": ""})
    assert list(people["scan"]) == sorted(pd.read_csv(results / "cohort/scans.csv")["scan"])
    used = people[people["final_mask"] != ""]
    assert set(people["final_mask_from"]) >= {"", "ensemble", "fold-0"}
    assert (used["verdict"] == "ok").all() and (people[people["final_mask"] == ""]["verdict"] != "ok").all()
    made = {path.name for path in (results / "masks/final").glob("*.nii.gz")}
    assert {f"masks/final/{name}" for name in made} == set(used["final_mask"])
    for row in used.to_dict("records"):
        assert (row["final_mask_from"] != "ensemble") == (row["set"] == "train"), row["scan"]
    path = results / used["final_mask"].iloc[0]
    assert path.is_symlink() and not path.readlink().is_absolute()
    mask, image = (
        sitk.ReadImage(path),
        sitk.ReadImage(results / f"converted/{used['scan'].iloc[0]}/image.nii.gz"),
    )
    assert mask.GetSize() == image.GetSize() and mask.GetOrigin() == image.GetOrigin()


def test_the_dictionary_explains_every_column_and_types_hold(finished):
    results = finished.folder / "results"
    with open(results / DICTIONARY, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == DICTIONARY_COLUMNS and all(row["meaning"] for row in rows)
    told = {(row["table"], row["column"]): row["type"] for row in rows}
    files = [path for name in ("tables", "cohort", "folds") for path in (results / name).glob("*.csv")]
    assert {table for table, _ in told} == {path.relative_to(results).as_posix() for path in files}
    for path in files:
        table = path.relative_to(results).as_posix()
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            assert [column for name, column in told if name == table and column] == list(reader.fieldnames)
            for row in reader:
                for column, cell in row.items():
                    kind = told[table, column]
                    assert not cell or re.fullmatch(VALUES[kind], cell, re.S), (table, column, kind, cell)
