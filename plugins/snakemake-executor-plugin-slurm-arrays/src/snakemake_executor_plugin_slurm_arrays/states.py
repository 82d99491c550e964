"""What the states that SLURM reports mean for a job: it succeeded, it failed, or it is still under way."""

import re
from collections.abc import Mapping

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

FAILED = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}
ENDED = {*FAILED, "COMPLETED", "NODE_FAIL", "PREEMPTED"}
FORGOTTEN, NEVER_SEEN = "forgotten by SLURM", "never seen by SLURM"
# A job in one of these states may still run: SLURM requeues it, or accounting does not hold it yet. It has failed
# once so many answers in a row report that state.
ANSWERS_UNTIL_FAILED = {"NODE_FAIL": 2, "PREEMPTED": 2, FORGOTTEN: 2, NEVER_SEEN: 10}


def read_states(answered: Mapping[str, str]) -> dict[str, str]:
    """Return states by job, from the answer of squeue or sacct.

    `12_3` is a task of an array. `12_[5-9%3]` are tasks that wait; as the list of numbers may be cut short, they are
    all returned as `12_[`. `CANCELLED by 1000` is returned as `CANCELLED`.
    """
    return {
        re.sub(r"\[.*", "[", number): state.split()[0].rstrip("+")
        for number, state in answered.items()
        if state
    }


def state_of(job: SubmittedJobInfo, states: Mapping[str, str]) -> str:
    """Return the state of a job. One that SLURM does not report is FORGOTTEN or NEVER_SEEN.

    Args:
        job: a submitted job; that it was seen is noted in its `aux`.
        states: what `read_states` returned.
    """
    array = job.external_jobid.split("_")[0]
    if known := states.get(job.external_jobid) or states.get(f"{array}_["):
        job.aux["seen"] = True
        return known
    return FORGOTTEN if job.aux.get("seen") else NEVER_SEEN


def has_failed(job: SubmittedJobInfo, state: str) -> bool:
    """Return whether a job has failed, given its state in the latest answer; answers are counted in its `aux`."""
    former, times = job.aux.get("state", ("", 0))
    times = times + 1 if state == former else 1
    job.aux["state"] = (state, times)
    return state in FAILED or (state in ANSWERS_UNTIL_FAILED and times >= ANSWERS_UNTIL_FAILED[state])
