"""The command `osteoflow`: what it understands, what it prints, and what it runs."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lib.commands import osteoflow, shown_commands
from lib.commands.osteoflow import main
from tests.study import ROOT

SNAKEMAKE = [".venv/bin/snakemake", "--profile", "profiles/workstation", "--cores", "all"]


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "my study"
    folder.mkdir()
    (folder / "study.yaml").write_text("study: mine\n")
    return folder


class Ran(list):
    """The commands that were run; those that hold the word `failing` end with status 1."""

    failing = ""


@pytest.fixture
def ran(monkeypatch):
    """Return the commands that are run, without running them."""
    commands = Ran()

    class Program:
        def __init__(self, command, cwd):
            assert cwd == ROOT
            commands.append(command)

        def wait(self):
            return int(commands.failing in commands[-1])

    monkeypatch.setattr(subprocess, "Popen", Program)
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv/bin/python"))
    return commands


def call(*arguments, has_display=False):
    return main(list(map(str, arguments)), has_display=has_display)


def of(study):
    return ["--configfile", str(study / "study.yaml"), "--directory", str(study)]


def test_run_is_snakemake_with_the_study(study, ran, capsys):
    assert call("run", "--study", study, "cropped", "--dry-run") == 0
    assert ran == [[*SNAKEMAKE, *of(study), "cropped", "--dry-run"]]
    printed = capsys.readouterr().out.strip()
    assert printed.startswith(f"cd {ROOT} && " if Path.cwd() != ROOT else ".venv/bin/snakemake")
    assert shlex.split(printed.removeprefix(f"cd {ROOT} && ")) == ran[0]


def test_what_is_printed_can_be_pasted_anywhere(study, ran, capsys, monkeypatch):
    monkeypatch.chdir(study)
    assert call("run", "-c", "3", "--config", "train={epochs: 3}") == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == ["cd", str(ROOT), "&&"]
    assert words[3:] == [*SNAKEMAKE[:-1], "3", *of(study), "--config", "train={epochs: 3}"]


def test_a_cluster_gets_no_number_of_cores(study, ran):
    assert call("run", "--study", study, "--profile", "slurm") == 0
    assert ran == [[".venv/bin/snakemake", "--profile", "slurm", *of(study)]]


def test_settings_are_found_here_and_in_the_project(study, ran, monkeypatch):
    monkeypatch.chdir(study)
    assert call("run", "--configfile", "studies/fast.yaml", "study.yaml") == 0
    assert ran[0][5:] == [
        "--configfile",
        "studies/fast.yaml",
        str(study / "study.yaml"),
        "--directory",
        str(study),
    ]


def test_the_demo_runs_in_the_project_itself(ran, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert call("status", "--configfile", "studies/demo.yaml") == 0
    status = [".venv/bin/python", "-m", "lib.commands.status"]
    assert ran == [[*status, *SNAKEMAKE[1:], "--configfile", "studies/demo.yaml"]]


def test_check_is_doctor_and_estimate(study, ran):
    assert call("check", "--study", study, "--gpus", "2") == 0
    doctor, estimate = ran
    assert doctor == [".venv/bin/python", "-m", "lib.commands.doctor", *SNAKEMAKE[1:], *of(study)]
    assert estimate[2:5] == ["lib.commands.estimate", "--gpus", "2"] and estimate[5:] == doctor[3:]


def test_check_ends_with_what_is_wrong(study, ran):
    ran.failing = "lib.commands.doctor"
    assert call("check", "--study", study) == 1
    assert len(ran) == 1


def test_recover_cancels_unlocks_and_continues(study, ran):
    assert call("recover", "--study", study) == 0
    cancel, unlock, again = ran
    assert cancel[2] == "lib.commands.recover" and unlock == [*again, "--unlock"]
    assert again == [*SNAKEMAKE, *of(study)]


def test_rerun_forces_the_files_of_a_subject(study, ran, monkeypatch, capsys):
    files = "results/cropped/S001/image.nii.gz results/cropped/S002/image.nii.gz"
    asked = []

    def answer(command, **settings):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=f"{files}\n")

    monkeypatch.setattr(subprocess, "run", answer)
    assert call("rerun", "P001", "crop_image", "--study", study, "--dry-run") == 0
    assert asked == [[".venv/bin/python", "-m", "lib.commands.rerun", "--", "P001", "crop_image", str(study)]]
    assert ran == [[*SNAKEMAKE, *of(study), "--dry-run", "--forcerun", *files.split()]]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_init_takes_absolute_paths(tmp_path, ran, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("init", "scans", "--study", "hips", "--modality", "CT") == 0
    expected = [str(tmp_path / "scans"), "--study", str(tmp_path / "hips"), "--modality", "CT"]
    assert ran == [[".venv/bin/python", "-m", "lib.commands.init", *expected]]


def test_a_study_has_a_folder_of_its_own(ran, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert call("init", "/data") == 1
    assert "--study" in capsys.readouterr().err and not ran


def test_a_folder_without_settings_is_told(tmp_path, ran, capsys):
    assert call("run", "--study", tmp_path) == 1
    assert "osteoflow init" in capsys.readouterr().err and not ran


def test_open_prints_the_path_and_opens_it_where_there_is_a_display(study, ran, capsys, monkeypatch):
    assert call("open", "--study", study) == 1
    assert "osteoflow run" in capsys.readouterr().err
    page = study / "results/report/index.html"
    page.parent.mkdir(parents=True)
    page.touch()
    assert call("open", "--study", study) == 0
    assert capsys.readouterr().out == f"{page}\n" and not ran
    monkeypatch.setattr(osteoflow.shutil, "which", lambda name: None)
    assert call("open", "--study", study, has_display=True) == 0
    assert ran == [[".venv/bin/python", "-m", "webbrowser", "-t", page.as_uri()]]
    monkeypatch.setattr(osteoflow.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert call("open", "--study", study, has_display=True) == 0
    assert ran[1] == ["xdg-open", str(page)]


def test_share_names_the_file(study, ran, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call("share", "--study", study) == 0
    assert call("share", "--study", study, "a.zip", "--table", "cohort.csv") == 0
    pack = [".venv/bin/python", "-m", "lib.commands.share", str(study)]
    assert ran[0] == [*pack, str(tmp_path / "my study-report.zip")]
    assert ran[1] == [*pack, str(tmp_path / "a.zip"), "--table", str(tmp_path / "cohort.csv")]


def test_unknown_arguments_are_refused_where_snakemake_gets_none(study, ran, capsys):
    with pytest.raises(SystemExit) as ended:
        call("open", "--study", study, "--dry-run")
    assert ended.value.code == 2 and "--dry-run" in capsys.readouterr().err


def test_the_exit_status_is_that_of_the_program(capfd):
    assert shown_commands.run_shown(["true"], ["sh", "-c", "exit 7"], ["true"]) == 7
    assert shown_commands.run_shown(["sh", "-c", "kill -TERM $$"]) == 143
    assert "exit 7" in capfd.readouterr().out


def test_it_works_from_any_folder_and_through_a_link(tmp_path):
    (tmp_path / "osteoflow").symlink_to(ROOT / "osteoflow")
    (tmp_path / "scans").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = ["./osteoflow", "init", "scans", "--study", "hips"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert ended.returncode == 1 and "it is empty" in ended.stderr
    assert ended.stdout.startswith(f"cd {ROOT} && .venv/bin/python -m lib.commands.init {tmp_path}/scans")


def test_it_makes_the_set_up_at_its_first_call(tmp_path):
    """A copy without .venv calls make, here in place of a package index, and starts again with what it made."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "osteoflow").write_text((ROOT / "osteoflow").read_text())
    made = f"setup:\n\tmkdir -p .venv/bin && touch .venv/.ready && ln -s {tmp_path}/python .venv/bin/python\n"
    (project / "Makefile").write_text(made)
    (tmp_path / "python").write_text('#!/bin/sh\necho "started: $@"\n')
    (tmp_path / "python").chmod(0o755)
    ended = subprocess.run(
        [sys.executable, str(project / "osteoflow"), "status"], text=True, capture_output=True, cwd=tmp_path
    )
    assert ended.stdout == f"started: {project}/osteoflow status\n" and "make setup" in ended.stderr
    (project / ".venv/.ready").unlink()
    (project / "Makefile").write_text("setup:\n\tfalse\n")
    ended = subprocess.run([sys.executable, str(project / "osteoflow")], text=True, capture_output=True)
    assert ended.returncode == 2 and not ended.stdout


def test_its_start_loads_nothing_heavy():
    program = "import lib.commands.osteoflow, lib.commands.init, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(loaded.stdout.split()) & {"numpy", "pandas", "pydicom", "SimpleITK", "snakemake", "yaml"}
