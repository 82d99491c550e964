"""Submission: each task of an array runs its own job; no job is lost, submitted twice or given up too early."""

import os
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from snakemake_executor_plugin_slurm_arrays import Executor, submission

SBATCH = """#!/bin/sh
[ -e "{folder}/refuses" ] && { cat "{folder}/refuses" >&2; exit 1; }
case "$*" in *--array=1-[3-9]) [ -e "{folder}/limit" ] && { cat "{folder}/limit" >&2; exit 1; } ;; esac
number=$(($(ls "{folder}" | grep -c '^script-') + 1))
echo "$@" > "{folder}/call-$number"
cat > "{folder}/script-$number"
[ -e "{folder}/mute" ] && { echo "sbatch: error: Socket timed out on send/recv operation" >&2; exit 1; }
echo "$number;tests"
"""
# all jobs that sbatch accepted, with their comments
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


class FakeExecutor(Executor):
    """The executor without Snakemake and SLURM; it records reports in `sent` and `failed`, log lines in `said`."""

    def __init__(self, folder):
        self.folder, self.sent, self.failed, self.said = folder, {}, {}, []
        self.max_array_size, self.run_uuid, self.slurm_logdir = 1000, "run", folder / "logs"
        self._failed_nodes, self._submitted_job_clusters = set(), set()
        self.workflow = SimpleNamespace(executor_settings=None, workdir_init=str(folder))
        self.logger = SimpleNamespace(info=self.said.append, warning=self.said.append, error=self.said.append)
        self.queue = submission.RunQueue(self.run_uuid, self.logger)

    def get_account_arg(self, job):
        yield ""

    def get_partition_arg(self, job):
        return "-p cpu"

    def format_job_exec(self, job):
        return f"echo '{job.words}'{self.additional_general_args()} end"

    def _report_job_submission_threadsafe(self, job_info):
        self.sent[job_info.external_jobid] = job_info

    def _report_job_error_threadsafe(self, job_info, msg):
        self.failed[job_info.job.words] = msg


@pytest.fixture
def executor(tmp_path, monkeypatch):
    """Return an executor whose sbatch, squeue and scancel record their calls in its `folder`."""
    monkeypatch.setattr(submission, "RETRY_SECONDS", 0.05)
    (tmp_path / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
        (tmp_path / "bin" / name).write_text(text.replace("{folder}", str(tmp_path)))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return FakeExecutor(tmp_path)


def said_by_task(executor, identifier):
    number, task = identifier.split("_")
    script = executor.folder / f"script-{number}"
    environment = {"PATH": os.environ["PATH"], "SLURM_ARRAY_TASK_ID": task}
    return subprocess.run(["sh", script], env=environment, text=True, capture_output=True, check=True).stdout


def test_each_task_runs_its_own_job(executor):
    executor.run_array_jobs([job(number) for number in range(300)])
    assert len(executor.sent) == 300 and not executor.failed
    for identifier in ("1_1", "1_2", "1_137", "1_300"):
        info = executor.sent[identifier]
        assert said_by_task(executor, identifier) == f"{info.job.words} end\n"
        assert info.aux["slurm_logfile"] == executor.folder / f"logs/rule_crop_ct/{identifier}.log"
    assert "--array=1-300" in (executor.folder / "call-1").read_text()


def test_long_commands_make_more_arrays_and_none_is_lost(executor):
    executor.max_array_size = 400
    executor.run_array_jobs([job(number, length=20_000) for number in range(500)])
    assert {info.job.words for info in executor.sent.values()} == {
        job(number, length=20_000).words for number in range(500)
    }
    scripts = list(executor.folder.glob("script-*"))
    assert len(scripts) == 4 and max(path.stat().st_size for path in scripts) < 4 * 2**20
    assert said_by_task(executor, "4_1").startswith(executor.sent["4_1"].job.words)


def test_jobs_that_request_other_memory_go_into_another_array(executor):
    executor.run_array_jobs([job(number, mem_mb=1000 * (1 + number % 2)) for number in range(6)])
    calls = [(executor.folder / f"call-{number}").read_text() for number in (1, 2)]
    assert [re.search(r"--mem (\d+)", call)[1] for call in calls] == ["1000", "2000"]
    assert {info.job.resources.mem_mb for key, info in executor.sent.items() if key.startswith("2_")} == {
        2000
    }


def test_a_single_job_is_submitted_as_a_regular_job(executor):
    executor.run_array_jobs([job(0), job(1), job(2, mem_mb=4000)])
    assert list(executor.sent) == ["1_1", "1_2", "2"] and executor.sent["2"].job.words == "job-2"
    assert "--array" not in (executor.folder / "call-2").read_text()
    assert said_by_task(executor, "2_0") == "job-2 end\n"
    assert executor.sent["2"].aux["slurm_logfile"] == executor.folder / "logs/rule_crop_ct/2.log"


def test_all_jobs_that_are_handed_over_are_sent(executor):
    arrays, alone = [], []
    executor.array_jobs = {"crop_ct"}
    executor._submit_array_jobs = lambda jobs: arrays.append(len(jobs))
    executor._submit_job = alone.append
    named = [*("crop_ct" for _ in range(5)), "train_fold", "train_fold"]
    executor.run_jobs([SimpleNamespace(name=name, is_group=lambda: False) for name in named])
    assert arrays == [5] and [job.name for job in alone] == ["train_fold", "train_fold"]
    executor.run_jobs([SimpleNamespace(name="crop_ct", is_group=lambda: False)])
    assert arrays == [5] and alone[-1].name == "crop_ct"
    executor.array_jobs = {"all"}
    executor.run_jobs([SimpleNamespace(name="merge", is_group=lambda: False) for _ in range(2)])
    assert arrays == [5, 2]
    executor.run_jobs([SimpleNamespace(name="group", is_group=lambda: True) for _ in range(2)])
    assert arrays == [5, 2] and alone[-1].name == "group"


def test_a_refused_array_is_reported_for_each_of_its_jobs(executor):
    (executor.folder / "refuses").write_text("sbatch: error: invalid partition specified: none")
    executor.run_array_jobs([job(number) for number in range(3)])
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
    sending = threading.Thread(target=executor.run_array_jobs, args=([job(0), job(1)],))
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
    monkeypatch.setattr(submission, "ENDED", {*submission.ENDED, "PENDING"})
    executor.run_array_jobs([job(number) for number in range(5)])
    assert list(executor.sent) == ["1_1", "1_2", "2", "3_1", "3_2"] and not executor.failed
    assert [info.job.words for info in executor.sent.values()] == [f"job-{number}" for number in range(5)]


def test_an_array_that_was_taken_without_an_answer_is_not_sent_again(executor):
    (executor.folder / "mute").touch()
    executor.run_array_jobs([job(0), job(1)])
    assert list(executor.sent) == ["1_1", "1_2"] and not (executor.folder / "call-2").exists()


def test_the_end_of_a_run_stops_what_is_being_submitted_and_cancels_all(executor):
    (executor.folder / "refuses").write_text(PASSING)
    executor._job_submission_executor = ThreadPoolExecutor(1)
    for number in range(3):
        executor._job_submission_executor.submit(executor.run_job, job(number))
    while not executor.said:
        time.sleep(0.01)
    executor.cancel_jobs([])
    assert "told to end" in executor.failed["job-0"] and not executor.sent
    assert (executor.folder / "cancelled").read_text() == "--name=run\n"


def test_any_exception_is_reported_for_each_job(executor):
    executor.format_job_exec = lambda job: 1 / 0
    executor.run_array_jobs([job(number) for number in range(3)])
    assert set(executor.failed) == {"job-0", "job-1", "job-2"}
