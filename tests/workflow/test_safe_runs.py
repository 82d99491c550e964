"""Hostile names in a real run: they are not executed, nothing is written elsewhere, and no other user may write."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lib.study import lock_study
from tests.study import ROOT, Study

pytestmark = pytest.mark.workflow

BAD = "a b;touch pwned;$(touch pwned) `touch pwned` 'q' \"d\" \\ -rf & | * härt"
CLUSTER = ("--executor", "slurm-arrays", "--jobs", "9", "--slurm-arrays-status-command", "squeue")


def make_study(folder, phantom, image="image", mask="mask.nii.gz", table="cohort.csv"):
    """Make a study of two people in `folder`: one has hostile names, the other has not."""
    folder.mkdir(parents=True)
    shutil.copytree(phantom / "P001/dicom", folder / image)
    shutil.copy(phantom / "P001/mask.nii.gz", folder / mask)
    shutil.copytree(phantom / "P002/dicom", folder / "plain")
    quoted = [name.replace('"', '""') for name in (image, mask)]
    rows = f'scan,image,mask,subject,sex\nS1,"{quoted[0]}","{quoted[1]}",P1,F\nS2,plain,,P2,M\n'
    (folder / table).write_text(rows)
    return Study(folder, settings=(f"cohort={table}",), options=("--cores", "1"))


def traces(*folders):
    return [path for folder in folders for path in Path(folder).rglob("pwned")]


@pytest.fixture
def stub_slurm(tmp_path):
    """Return an environment whose first sbatch records its call and submits nothing."""
    for name in ("sbatch", "squeue", "sacct", "sacctmgr", "sinfo", "scontrol", "scancel"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\n[ {name} != sbatch ] || touch "{tmp_path}/submitted"\nexit 1\n')
        program.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def test_hostile_names_are_names_and_nobody_else_may_write(phantom, tmp_path):
    study = make_study(tmp_path / BAD, phantom, f"image {BAD}", f"-mask {BAD}.nii.gz", f"{BAD}.csv")
    source = set(tmp_path.rglob("*"))
    former = os.umask(0)
    try:
        study.run("--until", "screen_scan", settings=(f"study={BAD}",))
    finally:
        os.umask(former)
    for scan in ("S1", "S2"):
        assert json.loads((study.folder / f"results/screened/{scan}.json").read_text())["verdict"] == "ok"
    assert not traces(tmp_path) and not (ROOT / "pwned").exists()

    made = set(tmp_path.rglob("*")) - source
    results, tools, secret = (study.folder / name for name in ("results", ".snakemake", "study.secret"))
    assert all({results, tools, secret} & {path, *path.parents} for path in made), (
        "all is in the study's folder"
    )
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (results, *results.rglob("*"))}
    assert not [path for path, mode in modes.items() if mode & 0o002 or not mode & 0o040]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("where", "settings", "told"),
    [
        ("$(touch pwned)", (), "the study's folder: "),
        ("study", ("study=`touch pwned`",), "--config: "),
        ("study", (), "image: "),
    ],
)
def test_what_a_cluster_would_execute_is_refused_before_anything_is_submitted(
    phantom, tmp_path, stub_slurm, where, settings, told
):
    image = "it's" if told == "image: " else "image"
    study = make_study(tmp_path / where, phantom, image)
    sent = Study(study.folder, settings=(*study.settings, *settings), options=CLUSTER, environment=stub_slurm)
    ended = sent.call("--until", "screen_scan")
    assert ended.returncode != 0
    assert f"\n{told}" in ended.stdout and "nothing was submitted" in ended.stdout
    assert not (tmp_path / "submitted").exists() and not traces(tmp_path)


def test_an_old_profile_is_refused_before_anything_is_submitted(phantom, tmp_path, stub_slurm):
    study = make_study(tmp_path / "study", phantom)
    options = ("--executor", "slurm", "--jobs", "9", "--slurm-status-command", "squeue")
    old = Study(study.folder, settings=study.settings, options=options, environment=stub_slurm)
    ended = old.call("--until", "screen_scan")
    assert ended.returncode != 0 and "Write `executor: slurm-arrays` in the profile" in ended.stdout
    assert not (tmp_path / "submitted").exists()


def test_a_second_run_in_a_folder_is_refused(phantom, tmp_path):
    study = make_study(tmp_path / "study", phantom)
    held = lock_study(study.folder / "results")
    try:
        ended = study.call("--until", "screen_scan")
    finally:
        os.close(held)
    assert ended.returncode != 0
    assert f"another run works in results/ (process {os.getpid()} on " in ended.stdout
    assert not (study.folder / "results/screened").exists()


def test_a_study_in_a_folder_with_braces_is_refused(tmp_path):
    (tmp_path / "{0}").mkdir()
    message = Study(tmp_path / "{0}").refuse("--dry-run")
    assert "holds a brace" in message and "Traceback" not in message


@pytest.mark.parametrize(
    "target", ["results/screened/../../../x.json", "results/screened/../x.json", "/x.json"]
)
def test_no_rule_makes_a_file_outside_of_its_folder(tmp_path, target):
    assert "No rule to produce" in Study(tmp_path).refuse("--dry-run", target)


def test_yaml_is_data(tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f'study: !!python/object/apply:os.system ["touch {tmp_path}/pwned"]\n')
    assert "not valid JSON or YAML" in Study(tmp_path, overlay=str(overlay)).refuse("--dry-run")
    hostile = f'study=!!python/object/apply:os.system ["touch {tmp_path}/pwned"]'
    assert Study(tmp_path).planned(settings=(hostile,))["make_phantom_scan"]  # read as a name
    assert not traces(tmp_path)


@pytest.mark.parametrize(
    "name", ["$(touch pwned)", "$(shell touch pwned)", "`touch pwned`", "a;touch pwned", "-h", "it's"]
)
def test_make_hands_a_subject_over_as_it_is(tmp_path, name):
    for program in ("python", "snakemake"):
        (tmp_path / program).write_text(
            f"#!{sys.executable}\nimport sys\nprint(ascii(sys.argv[1:]), file=sys.stderr)\n"
        )
        (tmp_path / program).chmod(0o755)
    command = ["make", "--file", str(ROOT / "Makefile"), f"BIN={tmp_path}", "READY=", "CORES=1", "rerun"]
    ended = subprocess.run(
        [*command, f"SUBJECT={name}", "FROM=crop_image", "STUDY=a b"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
    )
    assert ascii(["-m", "lib.commands.rerun", "--", name, "crop_image", "a b"]) in ended.stderr
    assert not traces(tmp_path)
