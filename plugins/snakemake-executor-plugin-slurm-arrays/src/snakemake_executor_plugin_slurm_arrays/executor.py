"""The executor: submit ready jobs as arrays, report how they end, and cancel them when Snakemake stops."""

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence

import snakemake_executor_plugin_slurm as upstream
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface as Job
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface
from snakemake_interface_executor_plugins.workflow import WorkflowExecutorInterface

from snakemake_executor_plugin_slurm_arrays.scripts import cut_into_arrays, group_by_request, write_script
from snakemake_executor_plugin_slurm_arrays.states import has_failed, read_states, state_of
from snakemake_executor_plugin_slurm_arrays.submission import RunQueue, TooManyTasksError
from snakemake_executor_plugin_slurm_arrays.versions import check_versions

# between two status checks; ended jobs must stay in squeue for twice as long
LONGEST_WAIT_SECONDS = 60


class Executor(upstream.Executor):
    """The upstream executor with other methods for submitting jobs, reading their states and stopping.

    The upstream executor still reads the settings, names the run, finds the account and partition of a job, and
    removes old logs.
    """

    def __init__(self, workflow: WorkflowExecutorInterface, logger: LoggerExecutorInterface) -> None:
        check_versions(untested_snakemake=workflow.executor_settings.untested_snakemake)
        super().__init__(workflow, logger)

    def __post_init__(self, test_mode: bool = False) -> None:
        """Set the executor up; upstream names the run."""
        super().__post_init__(test_mode)
        self.queue = RunQueue(self.run_uuid, self.logger)

    def additional_general_args(self) -> str:
        """Return no further arguments for the Snakemake of a job, which then runs the job without a job step."""
        return ""

    def run_jobs(self, jobs: Iterable[Job]) -> None:
        """Submit all jobs that Snakemake hands over, those of an array rule together."""
        with contextlib.suppress(RuntimeError):  # without a loop, upstream reports from the calling thread
            self._main_event_loop = asyncio.get_running_loop()
        by_name = defaultdict(list)
        for job in jobs:
            by_name[job.name].append(job)
        for name, same in by_name.items():
            if len(same) > 1 and not same[0].is_group() and self.array_jobs & {"all", name}:
                self._submit_array_jobs(same)
            else:
                for job in same:
                    self._submit_job(job)

    def run_job(self, job: Job) -> None:
        """Submit one job."""
        self.run_array_jobs([job])

    def run_array_jobs(self, jobs: Sequence[Job]) -> None:
        """Submit jobs of one rule as few arrays as possible; a single job is submitted as a regular job."""
        try:
            arrays = [
                array
                for same in group_by_request(jobs)
                for array in cut_into_arrays(
                    same, [self.format_job_exec(job) for job in same], self.max_array_size
                )
            ]
        # any exception: one raised in a thread is lost, and Snakemake would wait forever
        except Exception as error:
            self._report_failure(jobs, error)
            return
        for array in arrays:
            self._send(*zip(*array, strict=True))

    def _send(self, jobs: Sequence[Job], commands: Sequence[str]) -> None:
        """Submit one job, or several as an array; report each as submitted or failed."""
        first, is_array = jobs[0], len(jobs) > 1
        try:
            number = self._submit_script(jobs, write_script(commands))
        except TooManyTasksError:
            half = len(jobs) // 2
            self._send(jobs[:half], commands[:half])
            self._send(jobs[half:], commands[half:])
            return
        except Exception as error:
            self._report_failure(jobs, error)
            return
        for name in ("cluster", "clusters", "slurm_cluster"):
            if cluster := first.resources.get(name):
                self._submitted_job_clusters.add(cluster)
        for task, job in enumerate(jobs, start=1):
            identifier = f"{number}_{task}" if is_array else number
            aux = {"slurm_logfile": self.slurm_logdir / f"rule_{first.name}" / f"{identifier}.log"}
            self._report_job_submission_threadsafe(SubmittedJobInfo(job, identifier, aux))
        what = (
            f"{len(jobs)} jobs of rule {first.name} as SLURM array"
            if is_array
            else f"{first.name} as SLURM job"
        )
        self.logger.info(f"Submitted {what} {number}.")

    def _submit_script(self, jobs: Sequence[Job], script: str) -> str:
        """Submit a script with the resource request of its jobs; return the number of the SLURM job."""
        first, is_array = jobs[0], len(jobs) > 1
        logs = self.slurm_logdir / f"rule_{first.name}"
        logs.mkdir(parents=True, exist_ok=True)
        wildcards = "" if is_array else f"_{upstream.get_job_wildcards(first)}"
        mark = f"rule_{first.name}{wildcards}_{uuid.uuid4().hex[:8]}"
        upstream.validate_slurm_extra(first)
        call = upstream.get_submit_command(
            first,
            {
                "run_uuid": self.run_uuid,
                "slurm_logfile": logs / ("%A_%a.log" if is_array else "%j.log"),
                "comment_str": mark,
                "account": next(self.get_account_arg(first)),
                "partition": self.get_partition_arg(first),
                "workdir": self.workflow.workdir_init,
            },
            settings=self.workflow.executor_settings,
            failed_nodes=self._failed_nodes,
        )
        call += upstream.set_gres_string(first) + (f" --array=1-{len(jobs)}" if is_array else "")
        return self.queue.submit(call, script, mark)

    def _report_failure(self, jobs: Iterable[Job], error: Exception) -> None:
        for job in jobs:
            self._report_job_error_threadsafe(SubmittedJobInfo(job), f"not submitted: {error}")

    async def check_active_jobs(
        self, active_jobs: Sequence[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Report jobs that have ended and yield the others; yield all jobs if SLURM does not answer."""
        settings, any_ended = self.workflow.executor_settings, False
        states = await self._ask_states() if active_jobs else None
        for job in active_jobs:
            if states is None:
                yield job
                continue
            state = state_of(job, states)
            log = job.aux.get("slurm_logfile")
            if has_failed(job, state):
                text = f"SLURM-job '{job.external_jobid}' failed, SLURM status is: {state}"
                self.report_job_error(job, msg=text, aux_logs=[str(log)] if log else [])
            elif state == "COMPLETED":
                self.report_job_success(job)
                if log and not settings.keep_successful_logs:
                    with contextlib.suppress(OSError):
                        log.unlink()
            else:
                yield job
                continue
            any_ended = True
        first = settings.init_seconds_before_status_checks
        longer = min(self.next_seconds_between_status_checks + 10, LONGEST_WAIT_SECONDS)
        self.next_seconds_between_status_checks = first if any_ended or not active_jobs else longer

    async def _ask_states(self) -> dict[str, str] | None:
        """Return the states of the run's jobs in the form of `read_states`, or None if SLURM does not answer."""
        command = upstream.query_job_status_squeue(self.run_uuid)
        if self._asks_sacct():
            # JobIdRaw gives each task a further number, which Snakemake does not know
            command = upstream.query_job_status_sacct(self.run_uuid).replace("JobIdRaw", "JobID")
        async with self.status_rate_limiter:
            answered, _ = await upstream.query_job_status(command, self.logger)
        return None if answered is None else read_states(answered)

    def _asks_sacct(self) -> bool:
        """Return whether to ask sacct: it exists, and it is set or ended jobs leave squeue too early."""
        if not upstream.is_query_tool_available("sacct"):
            return False
        if self.get_status_command() == "sacct":
            return True
        first = self.workflow.executor_settings.init_seconds_before_status_checks
        age, needed = upstream.get_min_job_age(), max(3 * first, 2 * LONGEST_WAIT_SECONDS)
        return age is not None and age < needed

    def cancel_jobs(self, active_jobs: Sequence[SubmittedJobInfo]) -> None:
        """Stop submission, then cancel all jobs of the run, also those not yet reported to Snakemake."""
        self.queue.end_submission()
        self._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        self.queue.cancel(["--clusters=all"] if self._submitted_job_clusters else [])
