"""States of jobs: each task of an array has its own, and every job is followed until it has ended or failed."""

import asyncio
import contextlib
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import snakemake_executor_plugin_slurm as upstream

from snakemake_executor_plugin_slurm_arrays import Executor


class FakeExecutor(Executor):
    """The executor without Snakemake; `ended` and `failed` hold what it reports."""

    def __init__(self):
        self.answers, self.asked, self.ended, self.failed = [], [], [], {}
        self.run_uuid, self.logger = "run", MagicMock()
        settings = SimpleNamespace(
            init_seconds_before_status_checks=40, keep_successful_logs=True, status_command="squeue"
        )
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.status_rate_limiter = contextlib.nullcontext()
        self.next_seconds_between_status_checks = 40

    def report_job_success(self, job):
        self.ended.append(job.external_jobid)

    def report_job_error(self, job, msg, aux_logs):
        self.failed[job.external_jobid] = msg


@pytest.fixture
def waiting(monkeypatch):
    """Return an executor that takes SLURM's answers from `answers` and records its queries in `asked`."""
    executor = FakeExecutor()

    async def query_job_status(command, logger):
        executor.asked.append(command)
        return executor.answers.pop(0), 0.1

    monkeypatch.setattr(upstream, "query_job_status", query_job_status)
    monkeypatch.setattr(upstream, "get_min_job_age", lambda: 300)
    monkeypatch.setattr(upstream, "is_query_tool_available", lambda name: True)
    return executor


def ask(executor, jobs, *answers):
    """Check the jobs once for each answer of SLURM; return the ids of those that have not ended."""
    executor.answers.extend(answers)

    async def still_active(jobs):
        return [job async for job in executor.check_active_jobs(jobs)]

    for _ in answers:
        jobs = asyncio.run(still_active(jobs))
    return [job.external_jobid for job in jobs]


def jobs_under_way(*numbers):
    return [SimpleNamespace(external_jobid=number, aux={}) for number in numbers]


def test_ended_jobs_are_reported(waiting):
    answer = {"1": "RUNNING", "2": "COMPLETED", "3": "TIMEOUT", "4": "CANCELLED by 1000"}
    assert ask(waiting, jobs_under_way("1", "2", "3", "4"), answer) == ["1"]
    assert waiting.ended == ["2"] and set(waiting.failed) == {"3", "4"} and "TIMEOUT" in waiting.failed["3"]


def test_jobs_are_kept_while_the_cluster_is_silent(waiting):
    assert ask(waiting, jobs_under_way("1", "2"), *[None] * 20) == ["1", "2"]
    assert not waiting.ended and not waiting.failed


def test_each_task_of_an_array_has_its_own_state(waiting):
    waiting.workflow.executor_settings.status_command = "sacct"
    answer = {"7_1": "COMPLETED", "7_2": "FAILED", "7_3": "RUNNING", "7_[4-9%2]": "PENDING"}
    assert ask(waiting, jobs_under_way("7_1", "7_2", "7_3", "7_5"), answer) == ["7_3", "7_5"]
    assert waiting.ended == ["7_1"] and list(waiting.failed) == ["7_2"]
    assert "--format=JobID,State" in waiting.asked[0]


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", None])
def test_a_job_that_slurm_does_not_requeue_has_failed(waiting, state):
    gone = {"1": state} if state else {"2": "RUNNING"}
    jobs = jobs_under_way("1")
    assert ask(waiting, jobs, {"1": "RUNNING"}, gone, {"1": "PENDING"}, gone) == ["1"]
    assert ask(waiting, jobs, gone) == [] and list(waiting.failed) == ["1"]


def test_a_job_that_accounting_does_not_list_yet_is_waited_for(waiting):
    assert ask(waiting, jobs_under_way("1"), *[{}] * 5, {"1": "RUNNING"}) == ["1"]
    assert ask(waiting, jobs_under_way("2"), *[{}] * 10) == []


def test_states_are_asked_often_enough_for_squeue(waiting):
    ask(waiting, jobs_under_way("1"), *[{"1": "RUNNING"}] * 9)
    assert waiting.next_seconds_between_status_checks == 60


@pytest.mark.parametrize(
    ("age", "command"), [(300, "squeue"), (120, "squeue"), (60, "sacct"), (None, "squeue")]
)
def test_sacct_is_asked_where_ended_jobs_leave_the_queue_too_early(waiting, monkeypatch, age, command):
    monkeypatch.setattr(upstream, "get_min_job_age", lambda: age)
    ask(waiting, jobs_under_way("1"), {})
    assert waiting.asked[0].split()[0] == command


def test_squeue_is_asked_where_there_is_no_sacct(waiting, monkeypatch):
    waiting.workflow.executor_settings.status_command = "sacct"
    monkeypatch.setattr(upstream, "is_query_tool_available", lambda name: False)
    ask(waiting, jobs_under_way("1"), {})
    assert waiting.asked[0].split()[0] == "squeue"
