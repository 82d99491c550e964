"""What is put right of the SLURM plugin: each task of an array runs its own job; a silent cluster loses none."""

import asyncio
import contextlib
import os
import re
import subprocess
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import snakemake_executor_plugin_slurm as plugin

from profiles.slurm import mends

SBATCH = """#!/bin/sh
[ -e "{folder}/full" ] && { echo "queue is full" >&2; exit 1; }
number=$(($(ls "{folder}" | grep -c '^script-') + 1))
echo "$@" > "{folder}/call-$number"
cat > "{folder}/script-$number"
echo "$number;tests"
"""


class Resources(dict):
    """Resources of a job, by name and as attributes."""

    __getattr__ = dict.get


def job(number, *, mem_mb=1000, length=0):
    words = f"job-{number}{'x' * length}"
    return SimpleNamespace(
        name="crop_ct", words=words, threads=1, resources=Resources(mem_mb=mem_mb, runtime=15, disk_mb=number)
    )


@pytest.fixture
def executor(tmp_path, monkeypatch):
    """Return what stands for the plugin's executor; what it is told of is in `sent` and `failed`."""
    program = tmp_path / "bin/sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH.replace("{folder}", str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    sent, failed, alone = {}, {}, []
    return SimpleNamespace(
        folder=tmp_path, sent=sent, failed=failed, alone=alone, max_array_size=1000, run_uuid="run",
        slurm_logdir=tmp_path / "logs", _failed_nodes=set(), _submitted_job_clusters=set(),
        workflow=SimpleNamespace(executor_settings=None, workdir_init=str(tmp_path)),
        get_account_arg=lambda job: iter([""]), get_partition_arg=lambda job: "-p cpu",
        additional_general_args=lambda: "--executor slurm-jobstep --jobs 1",
        format_job_exec=lambda job: f"echo '{job.words}' --executor slurm-jobstep --jobs 1 end",
        logger=SimpleNamespace(info=lambda text: None), run_job=alone.append,
        _report_job_submission_threadsafe=lambda info: sent.update({info.external_jobid: info}),
        _report_job_error_threadsafe=lambda info, text: failed.update({info.job.words: text}),
    )  # fmt: skip


def said_by_task(executor, identifier):
    number, task = identifier.split("_")
    script = executor.folder / f"script-{number}"
    environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": task}
    return subprocess.run(["sh", script], env=environment, text=True, capture_output=True, check=True).stdout


def test_each_task_runs_its_own_job(executor):
    mends.send_arrays(executor, [job(number) for number in range(300)])
    assert len(executor.sent) == 300 and not executor.failed
    for identifier in ("1_1", "1_2", "1_137", "1_300"):
        info = executor.sent[identifier]
        assert said_by_task(executor, identifier) == f"{info.job.words} end\n"
        assert info.aux["slurm_logfile"] == executor.folder / f"logs/rule_crop_ct/{identifier}.log"
    assert "--array=1-300" in (executor.folder / "call-1").read_text()


def test_long_commands_make_more_arrays_and_none_is_lost(executor):
    executor.max_array_size = 400
    mends.send_arrays(executor, [job(number, length=20_000) for number in range(500)])
    assert {info.job.words for info in executor.sent.values()} == {
        job(number, length=20_000).words for number in range(500)
    }
    scripts = list(executor.folder.glob("script-*"))
    assert len(scripts) == 4 and max(path.stat().st_size for path in scripts) < 4 * 2**20
    assert said_by_task(executor, "4_1").startswith(executor.sent["4_1"].job.words)


def test_jobs_that_ask_for_other_memory_go_in_another_array(executor):
    mends.send_arrays(executor, [job(number, mem_mb=1000 * (1 + number % 2)) for number in range(6)])
    calls = [(executor.folder / f"call-{number}").read_text() for number in (1, 2)]
    assert [re.search(r"--mem (\d+)", call)[1] for call in calls] == ["1000", "2000"]
    assert {info.job.resources.mem_mb for key, info in executor.sent.items() if key.startswith("2_")} == {
        2000
    }


def test_a_job_that_is_left_alone_is_no_array(executor):
    mends.send_arrays(executor, [job(0), job(1), job(2, mem_mb=4000)])
    assert len(executor.sent) == 2 and [one.words for one in executor.alone] == ["job-2"]


def test_all_jobs_that_are_handed_over_are_sent():
    arrays, alone = [], []
    executor = SimpleNamespace(
        array_jobs={"crop_ct"},
        _submit_array_jobs=lambda jobs: arrays.append(len(jobs)),
        _submit_job=alone.append,
    )
    named = [*("crop_ct" for _ in range(5)), "train_fold", "train_fold"]
    mends.hand_over(executor, [SimpleNamespace(name=name, is_group=lambda: False) for name in named])
    assert arrays == [5] and [job.name for job in alone] == ["train_fold", "train_fold"]
    mends.hand_over(executor, [SimpleNamespace(name="crop_ct", is_group=lambda: False)])
    assert arrays == [5] and alone[-1].name == "crop_ct"


def test_a_refused_array_is_told_of_each_of_its_jobs(executor):
    (executor.folder / "full").touch()
    mends.send_arrays(executor, [job(number) for number in range(3)])
    assert not executor.sent and set(executor.failed) == {"job-0", "job-1", "job-2"}
    assert "queue is full" in executor.failed["job-0"]


def test_whatever_goes_wrong_is_told_of_each_job(executor):
    executor.format_job_exec = lambda job: 1 / 0
    mends.send_arrays(executor, [job(number) for number in range(3)])
    assert set(executor.failed) == {"job-0", "job-1", "job-2"}


def test_only_the_version_that_needs_it_is_mended(monkeypatch):
    monkeypatch.setattr(plugin.Executor, "run_jobs", None)
    monkeypatch.setattr(plugin.Executor, "run_array_jobs", None)
    monkeypatch.setattr(plugin.Executor, "check_active_jobs", None)
    monkeypatch.setattr(mends, "version", lambda name: "2.9.0")
    mends.mend_plugin()
    assert plugin.Executor.run_array_jobs is None
    monkeypatch.setattr(mends, "version", lambda name: mends.MENDED_VERSION)
    mends.mend_plugin()
    assert plugin.Executor.run_jobs is mends.hand_over
    assert plugin.Executor.run_array_jobs is mends.send_arrays
    assert plugin.Executor.check_active_jobs is mends.check_active_jobs


@pytest.mark.parametrize("answer", [None, {"1": "RUNNING", "2": "COMPLETED", "3": "RUNNING"}])
def test_jobs_are_kept_while_the_cluster_is_silent(monkeypatch, answer):
    async def query_job_status(command, logger):
        return (answer, 0.1) if answer else (None, None)

    for name, value in {"query_job_status": query_job_status, "get_min_job_age": lambda: 600}.items():
        monkeypatch.setattr(plugin, name, value)
    jobs = [SimpleNamespace(external_jobid=number, aux={}) for number in ("1", "2", "3")]
    ended = []

    async def still_active():
        return [job.external_jobid async for job in mends.check_active_jobs(waiting_executor(ended), jobs)]

    assert asyncio.run(still_active()) == (["1", "3"] if answer else ["1", "2", "3"])
    assert ended == (["2"] if answer else [])


def waiting_executor(ended):
    """Return what stands for the plugin's executor when it asks for the state of jobs."""
    settings = SimpleNamespace(
        init_seconds_before_status_checks=40, status_attempts=2, keep_successful_logs=True
    )
    return SimpleNamespace(
        workflow=SimpleNamespace(executor_settings=settings), get_status_command=lambda: "squeue", run_uuid="run",
        logger=MagicMock(), status_rate_limiter=contextlib.nullcontext(), next_seconds_between_status_checks=40,
        _status_query_calls=0, _status_query_failures=0, _status_query_total_seconds=0,
        _status_query_min_seconds=None, _status_query_max_seconds=0, _status_query_cycle_rows=[],
        _preemption_warning=False, report_job_success=lambda job: ended.append(job.external_jobid),
    )  # fmt: skip
