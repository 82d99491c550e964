"""Cancel the jobs that a killed run has left in SLURM's queue, so that the same command can continue.

    python -m lib.commands.recover [the arguments of the killed snakemake command]

SLURM jobs continue after Snakemake was killed. They are cancelled because another run must not start while they
write. Finished files are kept, and an unfinished training resumes from its last saved state.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lib.errors import OsteoflowError
from lib.leftover_jobs import RecoveryError, ask_slurm, jobs_left, run_ids
from lib.study import lock_study

ENDING_SECONDS = 300  # SLURM gives cancelled jobs a grace time before it kills them


def recover(study: Path) -> list[str]:
    """Cancel the SLURM jobs that earlier runs in `study` have left, wait until they have ended, and return their ids.

    Raises:
        ConfigError: a run is active in the folder.
        RecoveryError: SLURM does not answer, or jobs do not end.
    """
    lock = lock_study(study / "results")
    try:
        left, end = set(), time.monotonic() + ENDING_SECONDS
        while running := jobs_left(study):
            if time.monotonic() > end:
                raise RecoveryError(
                    f"jobs did not end within {ENDING_SECONDS} s after scancel: {', '.join(running)}. See squeue, "
                    "then try again"
                )
            # by name: scancel does not know the id that a task of an array has of its own
            for name in set(running.values()):
                ask_slurm("scancel", f"--name={name}")
            left |= set(running)
            time.sleep(2)
        return sorted(left)
    finally:
        os.close(lock)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was cancelled; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.commands.recover", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--directory", "-d", type=Path, default=Path(), help="the study's folder (default: here)"
    )
    options, _ = parser.parse_known_args(arguments)
    try:
        left = recover(options.directory)
    except OsteoflowError as error:
        print(error, file=sys.stderr)
        return 1
    if left:
        print(f"{len(left)} jobs of a killed run were cancelled")
    elif run_ids(options.directory) and not shutil.which("squeue"):
        print(
            "squeue is not installed on this machine: jobs of earlier runs in SLURM's queue were not looked for"
        )
    else:
        print("no job of an earlier run is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
