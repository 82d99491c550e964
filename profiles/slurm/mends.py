"""What version 2.8.0 of Snakemake's SLURM plugin gets wrong, put right.

Arrays. The plugin hands all commands of an array over in one argument, and has each task watched by a Snakemake that
waits for the outputs of the array's first job. So a task counts as failed when the first job fails or is late, a task
that fails removes the first job's outputs, and in an array whose commands exceed the 128 KB of an argument (some 50
jobs) every task runs the first job. `send_arrays` puts the commands into the script that is sent, and each task picks
its own by number. It runs one Snakemake, not two. Jobs that ask for different resources never share an array.

Waiting. The plugin sends no job of an array rule before Snakemake has handed over all that are ready, and never does
once it has been handed only some: beyond `jobs` or `max-jobs-per-timespan` (100 a second) the run stands still for
ever. `hand_over` sends what it is given.

Silence. When the controller does not answer while the state of jobs is asked for, the plugin forgets all jobs that
are under way, and Snakemake waits for them for ever. `check_active_jobs` keeps them.
"""

import asyncio
import contextlib
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from importlib.metadata import version

import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface as Job

MENDED_VERSION = "2.8.0"
SCRIPT_BYTES = 3_000_000  # SLURM takes scripts of 4 MiB (max_script_size)
NOT_REQUESTED = {"tmpdir", "disk_mb", "disk_mib", "disk"}  # sbatch is told nothing of them


def mend_plugin() -> None:
    """Put the functions of this module in the place of the plugin's, if it is the version that needs it."""
    if version("snakemake-executor-plugin-slurm") == MENDED_VERSION:
        plugin.Executor.run_jobs = hand_over
        plugin.Executor.run_array_jobs = send_arrays
        plugin.Executor.check_active_jobs = check_active_jobs


_ask_for_states = plugin.Executor.check_active_jobs


async def check_active_jobs(
    executor: plugin.Executor, active_jobs: list[SubmittedJobInfo]
) -> AsyncIterator[SubmittedJobInfo]:
    """Report jobs that have ended; yield those that have not, and all of them if SLURM gave no answer."""
    answers = executor._status_query_calls
    async for job in _ask_for_states(executor, active_jobs):
        yield job
    if executor._status_query_calls == answers:
        for job in active_jobs:
            yield job


def hand_over(executor: plugin.Executor, jobs: Iterable[Job]) -> None:
    """Submit all jobs that Snakemake gives, those of an array rule together."""
    with contextlib.suppress(RuntimeError):  # outside a loop the plugin reports directly
        executor._main_event_loop = asyncio.get_running_loop()
    by_name = defaultdict(list)
    for job in jobs:
        by_name[job.name].append(job)
    for name, same in by_name.items():
        if len(same) > 1 and not same[0].is_group() and executor.array_jobs & {"all", name}:
            executor._submit_array_jobs(same)
        else:
            for job in same:
                executor._submit_job(job)


def send_arrays(executor: plugin.Executor, jobs: Sequence[Job]) -> None:
    """Submit jobs of one rule as arrays, as few as possible; a job that is left alone goes as a regular job."""
    try:
        chunks = [
            chunk
            for same in _by_request(jobs)
            for chunk in _chunks(same, [_command(executor, job) for job in same], executor.max_array_size)
        ]
    except (
        Exception
    ) as error:  # whatever it is: nobody reads what a thread raises, and Snakemake would wait for ever
        _report_failure(executor, jobs, error)
        return
    for chunk in chunks:
        _send(executor, [job for job, _ in chunk], _script(command for _, command in chunk))


def _send(executor: plugin.Executor, jobs: Sequence[Job], script: str) -> None:
    if len(jobs) == 1:
        executor.run_job(jobs[0])
        return
    try:
        _send_array(executor, jobs, script)
    except Exception as error:
        _report_failure(executor, jobs, error)


def _report_failure(executor: plugin.Executor, jobs: Iterable[Job], error: Exception) -> None:
    for job in jobs:
        executor._report_job_error_threadsafe(SubmittedJobInfo(job), f"sbatch failed: {error}")


def _by_request(jobs: Iterable[Job]) -> Iterable[list[Job]]:
    """Return the jobs grouped by what they ask SLURM for."""
    groups = defaultdict(list)
    for job in jobs:
        asked = sorted(
            (name, str(value)) for name, value in job.resources.items() if name not in NOT_REQUESTED
        )
        groups[job.threads, tuple(asked)].append(job)
    return groups.values()


def _chunks(
    jobs: Sequence[Job], commands: Sequence[str], most: int, most_bytes: int = SCRIPT_BYTES
) -> Iterator[list[tuple[Job, str]]]:
    """Yield jobs with their commands, so many together that neither the array nor its script is too long."""
    chunk, size = [], 0
    for job, command in zip(jobs, commands, strict=True):
        length = len(command.encode()) + 50  # the case around it
        if chunk and (len(chunk) == most or size + length > most_bytes):
            yield chunk
            chunk, size = [], 0
        chunk.append((job, command))
        size += length
    if chunk:
        yield chunk


def _command(executor: plugin.Executor, job: Job) -> str:
    """Return the command that runs a job where it is: without the further Snakemake that makes job steps."""
    return executor.format_job_exec(job).replace(executor.additional_general_args(), "")


def _script(commands: Iterable[str]) -> str:
    """Return a script of which task number n runs the n-th command."""
    cases = "".join(f"{number})\n{command}\n;;\n" for number, command in enumerate(commands, start=1))
    return f'#!/bin/sh\ncase "$SLURM_ARRAY_TASK_ID" in\n{cases}esac\n'


def _send_array(executor: plugin.Executor, jobs: Sequence[Job], script: str) -> None:
    """Submit one array and tell Snakemake of each of its tasks."""
    first = jobs[0]
    logs = executor.slurm_logdir / f"rule_{first.name}"
    logs.mkdir(parents=True, exist_ok=True)
    plugin.validate_slurm_extra(first)
    call = plugin.get_submit_command(
        first,
        {
            "run_uuid": executor.run_uuid,
            "slurm_logfile": logs / "%A_%a.log",
            "comment_str": f"rule_{first.name}",
            "account": next(executor.get_account_arg(first)),
            "partition": executor.get_partition_arg(first),
            "workdir": executor.workflow.workdir_init,
        },
        settings=executor.workflow.executor_settings,
        failed_nodes=executor._failed_nodes,
    )
    call += f"{plugin.set_gres_string(first)} --array=1-{len(jobs)}"
    ended = subprocess.run(call, shell=True, input=script, text=True, capture_output=True, check=False)
    if ended.returncode:
        raise OSError(f"{ended.stderr.strip()}\n    the call: {call}")
    number = plugin.validate_or_get_slurm_job_id(ended.stdout.strip().split(";")[0], ended.stdout)
    if cluster := first.resources.get("cluster") or first.resources.get("slurm_cluster"):
        executor._submitted_job_clusters.add(cluster)
    for task, job in enumerate(jobs, start=1):
        executor._report_job_submission_threadsafe(
            SubmittedJobInfo(
                job,
                external_jobid=f"{number}_{task}",
                aux={"slurm_logfile": logs / f"{number}_{task}.log"},
            )
        )
    executor.logger.info(f"Submitted {len(jobs)} jobs of rule {first.name} as SLURM array {number}.")
