"""SLURM's queue for one run: submit jobs until SLURM accepts them, look them up, cancel them."""

import contextlib
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import snakemake_executor_plugin_slurm as upstream
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.logging import LoggerExecutorInterface

from snakemake_executor_plugin_slurm_arrays.states import ENDED

# answers after which sbatch may accept the same job later: the queue is full, the controller is down or slow
TEMPORARY = re.compile(
    r"temporarily un|queue (is )?full|Submit\w*Limit|contact slurm controller|timed out|Zero Bytes|Connection|"
    r"Communication",
    re.IGNORECASE,
)
LIMIT = re.compile(r"Submit\w*Limit", re.IGNORECASE)  # on the queued jobs of a user, a group or a QOS
RETRY_SECONDS = 30  # between two attempts to submit
ANSWER_SECONDS = 60  # time limit of squeue and scancel


class TooManyTasksError(Exception):
    """An array has more tasks than the user may have in the queue."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job in SLURM's queue; an array is one job."""

    number: str
    state: str
    comment: str


@dataclass
class RunQueue:
    """The queued jobs of one run of Snakemake; their name in SLURM is `run`."""

    run: str
    logger: LoggerExecutorInterface
    _told_to_end: threading.Event = field(default_factory=threading.Event)

    def submit(self, call: str, script: str, mark: str) -> str:
        """Call sbatch until SLURM accepts a script or refuses it permanently; return the number of the job.

        Args:
            call: the sbatch command line, for the shell.
            script: the script, which sbatch reads from its standard input.
            mark: the comment in `call`. It identifies a job that SLURM accepted although its answer was lost.

        Raises:
            TooManyTasksError: the array exceeds the limit of jobs in the queue.
            OSError: SLURM refused the job, or the run was told to end.
        """
        while True:
            ended = subprocess.run(
                call, shell=True, input=script, text=True, capture_output=True, check=False
            )
            said = (ended.stderr if ended.returncode else ended.stdout).strip()
            if not ended.returncode:
                with contextlib.suppress(WorkflowError):  # some clusters answer with more than the number
                    return upstream.validate_or_get_slurm_job_id(said.split(";")[0], ended.stdout)
            elif not TEMPORARY.search(said):
                raise OSError(f"sbatch failed: {said}\n    the call: {call}")
            else:
                self._wait(said)  # a slow controller may accept the job after sbatch has given up
            while (jobs := self.jobs()) is None:
                self._wait(said)
            if taken := [job.number for job in jobs if job.comment == mark]:
                return taken[0]
            if not ended.returncode:
                raise OSError(f"sbatch returned no job number: {said}\n    the call: {call}")
            if "--array" in call and LIMIT.search(said) and all(job.state in ENDED for job in jobs):
                raise TooManyTasksError

    def jobs(self) -> list[QueuedJob] | None:
        """Return the run's jobs in SLURM's queue, or None if SLURM does not answer."""
        command = ["squeue", "--noheader", "--states=all", "--format=%F|%T|%k", f"--name={self.run}"]
        try:
            ended = subprocess.run(
                command, text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None
        if ended.returncode:
            return None
        lines = (line.split("|", 2) for line in ended.stdout.splitlines())
        return [QueuedJob(number=number, state=state, comment=comment) for number, state, comment in lines]

    def end_submission(self) -> None:
        """End all present and later waiting in `submit`."""
        self._told_to_end.set()

    def cancel(self, options: Sequence[str] = ()) -> None:
        """Cancel all jobs of the run by their name; if that fails, log an error with the command to type.

        Args:
            options: further options of scancel.
        """
        try:
            ended = subprocess.run(
                ["scancel", f"--name={self.run}", *options],
                text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            said = f"no answer within {ANSWER_SECONDS} s"
        else:
            said = ended.stderr.strip() if ended.returncode else ""
        if said:
            self.logger.error(
                f"Jobs may still be in SLURM's queue ({said}). Cancel them with: scancel --name={self.run}"
            )

    def _wait(self, said: str) -> None:
        """Wait before SLURM is asked again; raise OSError if the run is told to end meanwhile."""
        last = said.splitlines()[-1] if said else "no answer"
        self.logger.warning(f"SLURM accepts no job now ({last}). The next attempt is in {RETRY_SECONDS} s.")
        if self._told_to_end.wait(RETRY_SECONDS):
            raise OSError("the run was told to end")
