"""Read the states that SLURM reports, and decide whether a job has failed."""

import re
from collections.abc import Mapping

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

FAILED = {"BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"}
ENDED = {*FAILED, "COMPLETED", "NODE_FAIL", "PREEMPTED"}
FORGOTTEN, NEVER_SEEN = "forgotten by SLURM", "never seen by SLURM"
# A job in one of these states may still run: SLURM may requeue it, or accounting may not list it yet. It counts as
# failed after this many answers in a row with the same state.
ANSWERS_UNTIL_FAILED = {"NODE_FAIL": 2, "PREEMPTED": 2, FORGOTTEN: 2, NEVER_SEEN: 10}


def read_states(answered: Mapping[str, str]) -> dict[str, str]:
    """Return the state of each job in an answer of squeue or sacct.

    `12_3` is a task of an array. `12_[5-9%3]` are waiting tasks; SLURM may cut the list of numbers short, so the
    key is `12_[`. `CANCELLED by 1000` becomes `CANCELLED`.
    """
    return {
        re.sub(r"\[.*", "[", number): state.split()[0].rstrip("+")
        for number, state in answered.items()
        if state
    }


def state_of(job: SubmittedJobInfo, states: Mapping[str, str]) -> str:
    """Return the state of a job; FORGOTTEN or NEVER_SEEN if SLURM does not report it.

    Args:
        job: a submitted job; its `aux` records whether SLURM ever reported it.
        states: the result of `read_states`.
    """
    array = job.external_jobid.split("_")[0]
    if known := states.get(job.external_jobid) or states.get(f"{array}_["):
        job.aux["seen"] = True
        return known
    return FORGOTTEN if job.aux.get("seen") else NEVER_SEEN


def has_failed(job: SubmittedJobInfo, state: str) -> bool:
    """Return whether a job has failed, given its state in the latest answer; its `aux` counts equal answers."""
    former, times = job.aux.get("state", ("", 0))
    times = times + 1 if state == former else 1
    job.aux["state"] = (state, times)
    return state in FAILED or (state in ANSWERS_UNTIL_FAILED and times >= ANSWERS_UNTIL_FAILED[state])
