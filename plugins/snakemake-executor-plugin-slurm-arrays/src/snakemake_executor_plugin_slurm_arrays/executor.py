"""What version 2.8.0 of Snakemake's SLURM plugin gets wrong, put right.

Arrays. The plugin hands all commands of an array over in one argument, and has each task watched by a Snakemake that
waits for the outputs of the array's first job. So a task counts as failed when the first job fails or is late, a task
that fails removes the first job's outputs, and in an array whose commands exceed the 128 KB of an argument (some 50
jobs) every task runs the first job. Here the commands stand in the script that is sent, and each task picks its own
by number. A job runs one Snakemake, not two. Jobs that ask for different resources never share an array.

Waiting. The plugin sends no job of an array rule before Snakemake has handed over all that are ready, and never does
once it has been handed only some: beyond `jobs` or `max-jobs-per-timespan` (100 a second) the run stands still for
ever. `hand_over` sends what it is given.

Refusals. A queue that is full (MaxJobCount, MaxSubmitJobs) or a controller that does not answer costs a job of the
plugin one of its attempts, and a submission that was taken although its answer was lost is sent twice. `_submit`
looks whether it was taken, and else waits and asks again.

States. With `sacct` the plugin takes the state of an array's last task for that of all its tasks, and waits for ever
for a job that was cancelled. With either command it waits for ever for a job that SLURM will not send again after a
pre-emption or has forgotten, and forgets all jobs under way when the controller does not answer once.
`check_active_jobs` reads the states itself.

Ending. Jobs that are being submitted when Snakemake is told to end stay in the queue. `cancel_jobs` stops submission
first and cancels all jobs of the run by their name.
"""

import asyncio
import contextlib
import re
import subprocess
import threading
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version

import snakemake_executor_plugin_slurm as plugin
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface as Job

from lib.errors import ConfigError

PLUGIN, MENDED_VERSION = "snakemake-executor-plugin-slurm", "2.8.0"
SCRIPT_BYTES = 3_000_000  # SLURM takes scripts of 4 MiB (max_script_size)
NOT_REQUESTED = {"tmpdir", "disk_mb", "disk_mib", "disk"}  # sbatch is told nothing of them
# why sbatch may take the same job later: the queue is full, the controller is away or slow
PASSING = re.compile(
    r"temporarily un|queue (is )?full|Submit\w*Limit|contact slurm controller|timed out|Zero Bytes|Connection|"
    r"Communication",
    re.IGNORECASE,
)
LIMIT = re.compile(r"Submit\w*Limit", re.IGNORECASE)  # of a user's, a group's or a QOS's jobs in the queue
AGAIN_SECONDS = 30  # between two attempts to submit
ANSWER_SECONDS = 60  # for squeue, scancel
# between two questions for states: half the time that ended jobs must stay in squeue
LONGEST_WAIT_SECONDS = 60
FAILED = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}
ENDED = {*FAILED, "COMPLETED", "NODE_FAIL", "PREEMPTED"}
# SLURM sends these again by itself or never: they have failed if it has not by the next answers
UNSURE = {"NODE_FAIL": 2, "PREEMPTED": 2, "forgotten by SLURM": 2, "never seen by SLURM": 10}

_told_to_end = threading.Event()


class TooManyError(Exception):
    """An array has more tasks than its user may have in the queue."""


def mend_plugin() -> None:
    """Put the functions of this module in the place of the plugin's.

    Raises:
        ConfigError: the plugin has another version: nobody has looked how that one sends arrays.
    """
    installed = version(PLUGIN)
    if installed != MENDED_VERSION:
        raise ConfigError(
            f"{PLUGIN} {installed} is installed, {MENDED_VERSION} is needed: its faults are known and mended, those "
            f"of others are not; nothing was submitted. Get it with: pip install {PLUGIN}=={MENDED_VERSION}"
        )
    plugin.Executor.run_jobs = hand_over
    plugin.Executor.run_job = send_job
    plugin.Executor.run_array_jobs = send_arrays
    plugin.Executor.check_active_jobs = check_active_jobs
    plugin.Executor.cancel_jobs = cancel_jobs


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


def send_job(executor: plugin.Executor, job: Job) -> None:
    """Submit one job."""
    send_arrays(executor, [job])


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
        _send(executor, *zip(*chunk, strict=True))


def _send(executor: plugin.Executor, jobs: Sequence[Job], commands: Sequence[str]) -> None:
    """Submit one job, or several as an array, and tell Snakemake of each; of each, too, if it fails."""
    first, is_array = jobs[0], len(jobs) > 1
    try:
        logs = executor.slurm_logdir / f"rule_{first.name}"
        logs.mkdir(parents=True, exist_ok=True)
        what = "" if is_array else f"_{plugin.get_job_wildcards(first)}"
        mark = f"rule_{first.name}{what}_{uuid.uuid4().hex[:8]}"
        plugin.validate_slurm_extra(first)
        call = plugin.get_submit_command(
            first,
            {
                "run_uuid": executor.run_uuid,
                "slurm_logfile": logs / ("%A_%a.log" if is_array else "%j.log"),
                "comment_str": mark,
                "account": next(executor.get_account_arg(first)),
                "partition": executor.get_partition_arg(first),
                "workdir": executor.workflow.workdir_init,
            },
            settings=executor.workflow.executor_settings,
            failed_nodes=executor._failed_nodes,
        )
        call += plugin.set_gres_string(first) + (f" --array=1-{len(jobs)}" if is_array else "")
        number = _submit(executor, call, _script(commands), mark)
    except TooManyError:
        half = len(jobs) // 2
        _send(executor, jobs[:half], commands[:half])
        _send(executor, jobs[half:], commands[half:])
        return
    except Exception as error:
        _report_failure(executor, jobs, error)
        return
    if cluster := first.resources.get("cluster") or first.resources.get("slurm_cluster"):
        executor._submitted_job_clusters.add(cluster)
    for task, job in enumerate(jobs, start=1):
        identifier = f"{number}_{task}" if is_array else number
        aux = {"slurm_logfile": logs / f"{identifier}.log"}
        executor._report_job_submission_threadsafe(SubmittedJobInfo(job, identifier, aux))
    several = (
        f"{len(jobs)} jobs of rule {first.name} as SLURM array" if is_array else f"{first.name} as SLURM job"
    )
    executor.logger.info(f"Submitted {several} {number}.")


def _submit(executor: plugin.Executor, call: str, script: str, mark: str) -> str:
    """Call sbatch until SLURM has taken a script or refused it for good; return its number.

    Args:
        executor: the plugin.
        call: the line for the shell.
        script: what is sent.
        mark: the comment in `call`, by which a job that was taken without an answer is found.

    Raises:
        TooManyError: more jobs than may be in the queue at any time.
        OSError: it was refused, or the run was told to end meanwhile.
    """
    while True:
        ended = subprocess.run(call, shell=True, input=script, text=True, capture_output=True, check=False)
        said = (ended.stderr if ended.returncode else ended.stdout).strip()
        if not ended.returncode:
            with contextlib.suppress(WorkflowError):  # some clusters answer with more than a number
                return plugin.validate_or_get_slurm_job_id(said.split(";")[0], ended.stdout)
        elif not PASSING.search(said):
            raise OSError(f"sbatch failed: {said}\n    the call: {call}")
        else:
            _wait(executor, said)  # a slow controller may take the job after sbatch has given up
        while (queue := _queue(executor.run_uuid)) is None:
            _wait(executor, said)
        if taken := [number for number, _, comment in queue if comment == mark]:
            return taken[0]
        if not ended.returncode:
            raise OSError(f"sbatch named no job: {said}\n    the call: {call}")
        if "--array" in call and LIMIT.search(said) and all(state in ENDED for _, state, _ in queue):
            raise TooManyError


def _wait(executor: plugin.Executor, said: str) -> None:
    """Wait before SLURM is asked again; OSError if the run is told to end meanwhile."""
    last = said.splitlines()[-1] if said else "no answer"
    executor.logger.warning(f"SLURM takes no job now ({last}); asked again in {AGAIN_SECONDS} s")
    if _told_to_end.wait(AGAIN_SECONDS):
        raise OSError("the run was told to end")


def _queue(run: str) -> list[tuple[str, ...]] | None:
    """Return number, state and comment of what SLURM knows of a run's jobs; None: it does not answer."""
    try:
        ended = subprocess.run(
            ["squeue", "--noheader", "--states=all", "--format=%F|%T|%k", f"--name={run}"],
            text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return None if ended.returncode else [tuple(line.split("|", 2)) for line in ended.stdout.splitlines()]


def _report_failure(executor: plugin.Executor, jobs: Iterable[Job], error: Exception) -> None:
    for job in jobs:
        executor._report_job_error_threadsafe(SubmittedJobInfo(job), f"not submitted: {error}")


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


def _script(commands: Sequence[str]) -> str:
    """Return a script that runs a command; of several, task number n runs the n-th."""
    if len(commands) == 1:
        return f"#!/bin/sh\n{commands[0]}\n"
    cases = "".join(f"{number})\n{command}\n;;\n" for number, command in enumerate(commands, start=1))
    return f'#!/bin/sh\ncase "$SLURM_ARRAY_TASK_ID" in\n{cases}esac\n'


async def check_active_jobs(
    executor: plugin.Executor, active_jobs: Sequence[SubmittedJobInfo]
) -> AsyncIterator[SubmittedJobInfo]:
    """Report jobs that have ended; yield those that have not, and all of them if SLURM gave no answer."""
    settings, any_ended = executor.workflow.executor_settings, False
    states = await _ask_states(executor) if active_jobs else None
    for job in active_jobs:
        state = _state(job, states)
        log = job.aux.get("slurm_logfile")
        if state == "COMPLETED":
            executor.report_job_success(job)
            if log and not settings.keep_successful_logs:
                with contextlib.suppress(OSError):
                    log.unlink()
        elif state in FAILED or _is_final(job, state):
            text = f"SLURM-job '{job.external_jobid}' failed, SLURM status is: {state}"
            executor.report_job_error(job, msg=text, aux_logs=[str(log)] if log else [])
        else:
            yield job
            continue
        any_ended = True
    first = settings.init_seconds_before_status_checks
    longer = min(executor.next_seconds_between_status_checks + 10, LONGEST_WAIT_SECONDS)
    executor.next_seconds_between_status_checks = first if any_ended or not active_jobs else longer


def _state(job: SubmittedJobInfo, states: Mapping[str, str] | None) -> str:
    """Return the state of a job; empty: it has not ended, or nothing was answered."""
    if states is None:
        return ""
    array = job.external_jobid.split("_")[0]
    known = states.get(job.external_jobid) or states.get(f"{array}_[")
    if known:
        job.aux["seen"] = True
        return known
    return "forgotten by SLURM" if job.aux.get("seen") else "never seen by SLURM"


def _is_final(job: SubmittedJobInfo, state: str) -> bool:
    """Return whether a state that may pass has been answered so often, one time after the other, that it will not."""
    before, times = job.aux.get("unsure", ("", 0))
    if state:  # an answer
        job.aux["unsure"] = (state, times + 1 if state == before else 1)
    return state in UNSURE and job.aux["unsure"][1] >= UNSURE[state]


async def _ask_states(executor: plugin.Executor) -> dict[str, str] | None:
    """Return the states of this run's jobs by id, those of an array's waiting tasks as `{id}_[`; None: no answer."""
    command = plugin.query_job_status_squeue(executor.run_uuid)
    if _asks_sacct(executor):
        command = plugin.query_job_status_sacct(executor.run_uuid).replace("JobIdRaw", "JobID")
    async with executor.status_rate_limiter:
        answered, _ = await plugin.query_job_status(command, executor.logger)
    if answered is None:
        return None
    # 12_[5-9%3] are tasks that wait; the list may be cut short. CANCELLED by 1000
    return {
        re.sub(r"\[.*", "[", number): state.split()[0].rstrip("+")
        for number, state in answered.items()
        if state
    }


def _asks_sacct(executor: plugin.Executor) -> bool:
    """Return whether sacct is asked: because it is set, or because ended jobs leave squeue too early."""
    if executor.get_status_command() == "sacct":
        return True
    first = executor.workflow.executor_settings.init_seconds_before_status_checks
    age, needed = plugin.get_min_job_age(), max(3 * first, 2 * LONGEST_WAIT_SECONDS)
    return age is not None and age < needed and plugin.is_query_tool_available("sacct")


def cancel_jobs(executor: plugin.Executor, active_jobs: Sequence[SubmittedJobInfo]) -> None:
    """Stop submitting, then cancel all jobs of this run, those included that nobody has been told of yet."""
    _told_to_end.set()
    executor._job_submission_executor.shutdown(wait=True, cancel_futures=True)
    clusters = ["--clusters=all"] if executor._submitted_job_clusters else []
    try:
        ended = subprocess.run(
            ["scancel", f"--name={executor.run_uuid}", *clusters],
            text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        said = f"no answer within {ANSWER_SECONDS} s"
    else:
        said = ended.stderr.strip() if ended.returncode else ""
    if said:
        executor.logger.error(
            f"Jobs may still be in SLURM's queue, cancel them: scancel --name={executor.run_uuid} ({said})"
        )
