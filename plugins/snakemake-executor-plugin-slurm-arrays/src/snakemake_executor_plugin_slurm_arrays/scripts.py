"""Divide jobs into arrays, and write the script of an array, in which each task runs its own command."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface as Job

SCRIPT_BYTES = 3_000_000  # SLURM takes scripts of 4 MiB (max_script_size)
CASE_BYTES = 50  # what the script adds to a command
NOT_REQUESTED = {"tmpdir", "disk_mb", "disk_mib", "disk"}  # resources that are not passed to sbatch


def group_by_request(jobs: Iterable[Job]) -> Iterable[list[Job]]:
    """Return the jobs grouped by the resources they request: all tasks of an array have the same request."""
    groups = defaultdict(list)
    for job in jobs:
        asked = sorted(
            (name, str(value)) for name, value in job.resources.items() if name not in NOT_REQUESTED
        )
        groups[job.threads, tuple(asked)].append(job)
    return groups.values()


def cut_into_arrays(
    jobs: Sequence[Job], commands: Sequence[str], most: int, most_bytes: int = SCRIPT_BYTES
) -> Iterator[list[tuple[Job, str]]]:
    """Yield the jobs and commands of each array, as many as an array and its script can hold.

    Args:
        jobs: jobs with the same resource request.
        commands: the command of each job.
        most: largest number of tasks in an array.
        most_bytes: largest size of a script in bytes.
    """
    array, size = [], 0
    for job, command in zip(jobs, commands, strict=True):
        length = len(command.encode()) + CASE_BYTES
        if array and (len(array) == most or size + length > most_bytes):
            yield array
            array, size = [], 0
        array.append((job, command))
        size += length
    if array:
        yield array


def write_script(commands: Sequence[str]) -> str:
    """Return a script that runs the command, or in task n of an array the n-th of several commands."""
    if len(commands) == 1:
        return f"#!/bin/sh\n{commands[0]}\n"
    cases = "".join(f"{number})\n{command}\n;;\n" for number, command in enumerate(commands, start=1))
    return f'#!/bin/sh\ncase "$SLURM_ARRAY_TASK_ID" in\n{cases}esac\n'
