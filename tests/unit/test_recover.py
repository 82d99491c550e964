"""Recovery after a killed run: its jobs and no others are cancelled before a new run."""

import os

import pytest

from lib.commands import recover as recovery
from lib.errors import ConfigError
from lib.leftover_jobs import check_none_left
from lib.study import lock_study

# jobs are lines of a file: id and name
SQUEUE = """#!/bin/sh
for word in "$@"; do case "$word" in --name=*) names=${word#--name=};; esac; done
[ -e "$QUEUE.broken" ] && { echo "cannot reach the controller" >&2; exit 1; }
for name in $(echo "$names" | tr , ' '); do grep " $name$" "$QUEUE"; done
exit 0
"""
SCANCEL = """#!/bin/sh
for word in "$@"; do case "$word" in --name=*) sed -i "/ ${word#--name=}$/d" "$QUEUE";; esac; done
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a study's folder with the logs of two runs, and make a queue with their jobs and another study's."""
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    queue = tmp_path / "queue"
    queue.write_text("11 run-1\n12_1 run-2\n12_[2-9] run-2\n14 other\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("QUEUE", str(queue))
    logs = tmp_path / "study/.snakemake/log"
    logs.mkdir(parents=True)
    for number in (1, 2):
        (logs / f"{number}.snakemake.log").write_text(f"Building DAG\nSLURM run ID: run-{number}\nmore\n")
    return tmp_path / "study"


def test_jobs_of_all_runs_of_the_study_are_cancelled_and_no_others(study):
    assert recovery.recover(study) == ["11", "12_1", "12_[2-9]"]
    assert (study.parent / "queue").read_text() == "14 other\n"
    assert recovery.recover(study) == []


def test_nothing_is_cancelled_while_a_run_is_at_work(study):
    lock = lock_study(study / "results")
    try:
        with pytest.raises(ConfigError, match="another run works in"):
            recovery.recover(study)
    finally:
        os.close(lock)
    assert "11 run-1" in (study.parent / "queue").read_text()


def test_a_controller_that_does_not_answer_is_told(study, capsys):
    (study.parent / "queue.broken").touch()
    assert recovery.main(["--profile", "slurm", "--directory", str(study)]) == 1
    assert "cannot reach the controller" in capsys.readouterr().err


def test_a_study_that_never_ran_on_a_cluster_has_nothing_to_end(tmp_path, capsys):
    assert recovery.main(["--cores", "2", "--directory", str(tmp_path)]) == 0
    assert "no job of an earlier run is left" in capsys.readouterr().out


def test_a_machine_without_slurm_does_not_say_that_nothing_is_left(study, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert recovery.main(["--directory", str(study)]) == 0
    assert "were not looked for" in capsys.readouterr().out


def test_no_run_starts_beside_jobs_of_an_earlier_one(study):
    with pytest.raises(
        recovery.RecoveryError, match=r"3 SLURM jobs .* \(11, 12_1, 12_\[2-9\]\).* make recover"
    ):
        check_none_left(study)
    recovery.recover(study)
    check_none_left(study)
