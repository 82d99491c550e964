"""What is put right of the SLURM plugin: each task runs its own job; none is lost, sent twice or awaited in vain."""

import asyncio
import contextlib
import os
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import snakemake_executor_plugin_slurm as plugin

from lib.errors import ConfigError
from profiles.slurm import mends

SBATCH = """#!/bin/sh
[ -e "{folder}/refuses" ] && { cat "{folder}/refuses" >&2; exit 1; }
case "$*" in *--array=1-[3-9]) [ -e "{folder}/limit" ] && { cat "{folder}/limit" >&2; exit 1; } ;; esac
number=$(($(ls "{folder}" | grep -c '^script-') + 1))
echo "$@" > "{folder}/call-$number"
cat > "{folder}/script-$number"
[ -e "{folder}/mute" ] && { echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1; }
echo "$number;tests"
"""
# all jobs that sbatch took, with their comments
SQUEUE = """#!/bin/sh
for call in $(ls "{folder}" | grep '^call-'); do
    echo "${call#call-}|PENDING|$(sed 's/.*--comment \\([^ ]*\\).*/\\1/' "{folder}/$call")"
done
"""
SCANCEL = """#!/bin/sh
echo "$@" > "{folder}/cancelled"
"""
PASSING = "sbatch: error: Batch job submission failed: Resource temporarily unavailable"


class Resources(dict):
    """Resources of a job, by name and as attributes."""

    __getattr__ = dict.get


def job(number, *, mem_mb=1000, length=0):
    words = f"job-{number}{'x' * length}"
    return SimpleNamespace(
        name="crop_ct", words=words, threads=1, wildcards=[f"P{number}"],
        resources=Resources(mem_mb=mem_mb, runtime=15, disk_mb=number),
    )  # fmt: skip


@pytest.fixture
def executor(tmp_path, monkeypatch):
    """Return what stands for the plugin's executor; what it is told of is in `sent` and `failed`."""
    monkeypatch.setattr(mends, "_told_to_end", threading.Event())
    monkeypatch.setattr(mends, "AGAIN_SECONDS", 0.05)
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
        (tmp_path / "bin" / name).write_text(text.replace("{folder}", str(tmp_path)))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    sent, failed, said = {}, {}, []
    return SimpleNamespace(
        folder=tmp_path, sent=sent, failed=failed, said=said, max_array_size=1000, run_uuid="run",
        slurm_logdir=tmp_path / "logs", _failed_nodes=set(), _submitted_job_clusters=set(),
        workflow=SimpleNamespace(executor_settings=None, workdir_init=str(tmp_path)),
        get_account_arg=lambda job: iter([""]), get_partition_arg=lambda job: "-p cpu",
        additional_general_args=lambda: "--executor slurm-jobstep --jobs 1",
        format_job_exec=lambda job: f"echo '{job.words}' --executor slurm-jobstep --jobs 1 end",
        logger=SimpleNamespace(info=said.append, warning=said.append, error=said.append),
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
    assert list(executor.sent) == ["1_1", "1_2", "2"] and executor.sent["2"].job.words == "job-2"
    assert "--array" not in (executor.folder / "call-2").read_text()
    assert said_by_task(executor, "2_0") == "job-2 end\n"
    assert executor.sent["2"].aux["slurm_logfile"] == executor.folder / "logs/rule_crop_ct/2.log"


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
    (executor.folder / "refuses").write_text("sbatch: error: invalid partition specified: none")
    mends.send_arrays(executor, [job(number) for number in range(3)])
    assert not executor.sent and set(executor.failed) == {"job-0", "job-1", "job-2"}
    assert "invalid partition" in executor.failed["job-0"]


@pytest.mark.parametrize(
    "why",
    [
        PASSING,
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
    ],
)
def test_a_full_queue_costs_no_attempt(executor, why):
    (executor.folder / "refuses").write_text(why)
    sending = threading.Thread(target=mends.send_arrays, args=(executor, [job(0), job(1)]))
    sending.start()
    while len(executor.said) < 3:
        assert sending.is_alive() and not executor.failed
        time.sleep(0.01)
    (executor.folder / "refuses").unlink()
    sending.join()
    assert list(executor.sent) == ["1_1", "1_2"] and not executor.failed
    assert why.splitlines()[-1] in executor.said[0]


def test_an_array_of_more_jobs_than_its_user_may_have_in_the_queue_is_cut(executor, monkeypatch):
    (executor.folder / "limit").write_text("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: refused")
    monkeypatch.setattr(mends, "ENDED", {*mends.ENDED, "PENDING"})
    mends.send_arrays(executor, [job(number) for number in range(5)])
    assert list(executor.sent) == ["1_1", "1_2", "2", "3_1", "3_2"] and not executor.failed
    assert [info.job.words for info in executor.sent.values()] == [f"job-{number}" for number in range(5)]


def test_an_array_that_was_taken_without_an_answer_is_not_sent_again(executor):
    (executor.folder / "mute").touch()
    mends.send_arrays(executor, [job(0), job(1)])
    assert list(executor.sent) == ["1_1", "1_2"] and not (executor.folder / "call-2").exists()


def test_the_end_of_a_run_stops_what_is_being_submitted_and_cancels_all(executor):
    (executor.folder / "refuses").write_text(PASSING)
    executor._job_submission_executor = ThreadPoolExecutor(1)
    for number in range(3):
        executor._job_submission_executor.submit(mends.send_job, executor, job(number))
    while not executor.said:
        time.sleep(0.01)
    mends.cancel_jobs(executor, [])
    assert "told to end" in executor.failed["job-0"] and not executor.sent
    assert (executor.folder / "cancelled").read_text() == "--name=run\n"


def test_whatever_goes_wrong_is_told_of_each_job(executor):
    executor.format_job_exec = lambda job: 1 / 0
    mends.send_arrays(executor, [job(number) for number in range(3)])
    assert set(executor.failed) == {"job-0", "job-1", "job-2"}


def test_only_the_version_that_was_looked_at_is_used(monkeypatch):
    names = ("run_jobs", "run_job", "run_array_jobs", "check_active_jobs", "cancel_jobs")
    for name in names:
        monkeypatch.setattr(plugin.Executor, name, None)
    monkeypatch.setattr(mends, "version", lambda name: "2.9.0")
    with pytest.raises(ConfigError, match="2.9.0 is installed, 2.8.0 is needed"):
        mends.mend_plugin()
    monkeypatch.setattr(mends, "version", lambda name: mends.MENDED_VERSION)
    mends.mend_plugin()
    assert all(getattr(plugin.Executor, name).__module__ == mends.__name__ for name in names)


@pytest.fixture
def waiting(monkeypatch):
    """Return what stands for the plugin's executor when it asks for states; SLURM's answers stand in `answers`."""
    answers, ended, failed, asked = [], [], {}, []

    async def query_job_status(command, logger):
        asked.append(command)
        return answers.pop(0), 0.1

    monkeypatch.setattr(plugin, "query_job_status", query_job_status)
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: 300)
    settings = SimpleNamespace(init_seconds_before_status_checks=40, keep_successful_logs=True)
    return SimpleNamespace(
        answers=answers, ended=ended, failed=failed, asked=asked, run_uuid="run", logger=MagicMock(),
        workflow=SimpleNamespace(executor_settings=settings), get_status_command=lambda: "squeue",
        status_rate_limiter=contextlib.nullcontext(), next_seconds_between_status_checks=40,
        report_job_success=lambda job: ended.append(job.external_jobid),
        report_job_error=lambda job, msg, aux_logs: failed.update({job.external_jobid: msg}),
    )  # fmt: skip


def ask(executor, jobs, *answers):
    """Let SLURM answer, one time after the other; return the ids of the jobs that have not ended by then."""
    executor.answers.extend(answers)

    async def still_active(jobs):
        return [job async for job in mends.check_active_jobs(executor, jobs)]

    for _ in answers:
        jobs = asyncio.run(still_active(jobs))
    return [job.external_jobid for job in jobs]


def jobs_under_way(*numbers):
    return [SimpleNamespace(external_jobid=number, aux={}) for number in numbers]


def test_ended_jobs_are_told(waiting):
    answer = {"1": "RUNNING", "2": "COMPLETED", "3": "TIMEOUT", "4": "CANCELLED by 1000"}
    assert ask(waiting, jobs_under_way("1", "2", "3", "4"), answer) == ["1"]
    assert waiting.ended == ["2"] and set(waiting.failed) == {"3", "4"} and "TIMEOUT" in waiting.failed["3"]


def test_jobs_are_kept_while_the_cluster_is_silent(waiting):
    assert ask(waiting, jobs_under_way("1", "2"), *[None] * 20) == ["1", "2"]
    assert not waiting.ended and not waiting.failed


def test_each_task_of_an_array_has_its_own_state(waiting):
    waiting.get_status_command = lambda: "sacct"
    answer = {"7_1": "COMPLETED", "7_2": "FAILED", "7_3": "RUNNING", "7_[4-9%2]": "PENDING"}
    assert ask(waiting, jobs_under_way("7_1", "7_2", "7_3", "7_5"), answer) == ["7_3", "7_5"]
    assert waiting.ended == ["7_1"] and list(waiting.failed) == ["7_2"]
    assert "--format=JobID,State" in waiting.asked[0]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", None])
def test_a_job_that_slurm_does_not_send_again_has_failed(waiting, state):
    gone = {"1": state} if state else {"2": "RUNNING"}
    jobs = jobs_under_way("1")
    assert ask(waiting, jobs, {"1": "RUNNING"}, gone, {"1": "PENDING"}, gone) == ["1"]
    assert ask(waiting, jobs, gone) == [] and list(waiting.failed) == ["1"]


def test_a_job_that_accounts_do_not_hold_yet_is_waited_for(waiting):
    assert ask(waiting, jobs_under_way("1"), *[{}] * 5, {"1": "RUNNING"}) == ["1"]
    assert ask(waiting, jobs_under_way("2"), *[{}] * 10) == []


def test_states_are_asked_often_enough_for_squeue(waiting):
    ask(waiting, jobs_under_way("1"), *[{"1": "RUNNING"}] * 9)
    assert waiting.next_seconds_between_status_checks == 60


@pytest.mark.parametrize(
    ("age", "command"), [(300, "squeue"), (120, "squeue"), (60, "sacct"), (None, "squeue")]
)
def test_sacct_is_asked_where_ended_jobs_leave_the_queue_too_early(waiting, monkeypatch, age, command):
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: age)
    monkeypatch.setattr(plugin, "is_query_tool_available", lambda name: True)
    ask(waiting, jobs_under_way("1"), {})
    assert waiting.asked[0].split()[0] == command
