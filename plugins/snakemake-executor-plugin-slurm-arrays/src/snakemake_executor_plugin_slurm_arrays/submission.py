"""SLURM's queue for one run: submit with patience, look jobs up, cancel."""

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

# why sbatch may take the same job later: the queue is full, the controller is away or slow
TEMPORARY = re.compile(
    r"temporarily un|queue (is )?full|Submit\w*Limit|contact slurm controller|timed out|Zero Bytes|Connection|"
    r"Communication",
    re.IGNORECASE,
)
LIMIT = re.compile(r"Submit\w*Limit", re.IGNORECASE)  # of a user's, a group's or a QOS's jobs in the queue
RETRY_SECONDS = 30  # between two attempts to submit
ANSWER_SECONDS = 60  # for squeue, scancel


class TooManyTasksError(Exception):
    """An array has more tasks than its user may have in the queue."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job in SLURM's queue; an array counts as one."""

    number: str
    state: str
    comment: str


@dataclass
class RunQueue:
    """The queue as one run of Snakemake sees it: all jobs of the run have the name `run`."""

    run: str
    logger: LoggerExecutorInterface
    _told_to_end: threading.Event = field(default_factory=threading.Event)

    def submit(self, call: str, script: str, mark: str) -> str:
        """Call sbatch until SLURM has taken a script or refused it for good; return the number of the job.

        Args:
            call: the sbatch command line, for the shell.
            script: the script, which sbatch reads from its standard input.
            mark: the comment in `call`. It identifies a job that SLURM took although its answer was lost.

        Raises:
            TooManyTasksError: the array is larger than what may be in the queue at any time.
            OSError: SLURM refused the job, or the run was told to end meanwhile.
        """
        while True:
            ended = subprocess.run(
                call, shell=True, input=script, text=True, capture_output=True, check=False
            )
            said = (ended.stderr if ended.returncode else ended.stdout).strip()
            if not ended.returncode:
                with contextlib.suppress(WorkflowError):  # some clusters answer with more than a number
                    return upstream.validate_or_get_slurm_job_id(said.split(";")[0], ended.stdout)
            elif not TEMPORARY.search(said):
                raise OSError(f"sbatch failed: {said}\n    the call: {call}")
            else:
                self._wait(said)  # a slow controller may take the job after sbatch has given up
            while (jobs := self.jobs()) is None:
                self._wait(said)
            if taken := [job.number for job in jobs if job.comment == mark]:
                return taken[0]
            if not ended.returncode:
                raise OSError(f"sbatch named no job: {said}\n    the call: {call}")
            if "--array" in call and LIMIT.search(said) and all(job.state in ENDED for job in jobs):
                raise TooManyTasksError

    def jobs(self) -> list[QueuedJob] | None:
        """Return what SLURM knows of the run's jobs; None: it does not answer."""
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
        """Let `submit` give up where it waits, now and from now on."""
        self._told_to_end.set()

    def cancel(self, options: Sequence[str] = ()) -> None:
        """Cancel all jobs of the run by their name; log an error with the command to type if SLURM does not.

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
                f"Jobs may still be in SLURM's queue ({said}). Cancel them: scancel --name={self.run}"
            )

    def _wait(self, said: str) -> None:
        """Wait before SLURM is asked again; OSError if the run is told to end meanwhile."""
        last = said.splitlines()[-1] if said else "no answer"
        self.logger.warning(f"SLURM takes no job now ({last}). Next attempt in {RETRY_SECONDS} s")
        if self._told_to_end.wait(RETRY_SECONDS):
            raise OSError("the run was told to end")
