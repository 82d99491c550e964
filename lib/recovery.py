"""After a run was killed: end what it left behind, so that the same command can go on.

    python -m lib.recovery [the arguments of the killed snakemake command]

Jobs of SLURM outlive the Snakemake that sent them. Another run must not start while they write: they are cancelled
first. Nothing that is finished is lost, and an unfinished training goes on from its last saved state.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lib.errors import OsteoflowError
from lib.study import lock_study

RUN_ID = re.compile(r"^SLURM run ID: ([\w-]+)$", re.MULTILINE)
ANSWER_SECONDS = 60  # a controller that does not answer must not hold the person up
ENDING_SECONDS = 300  # jobs have their grace time before they are killed


class RecoveryError(OsteoflowError):
    """What a killed run left behind could not be ended."""


def recover(study: Path) -> list[str]:
    """Cancel the SLURM jobs that earlier runs in `study` left and wait until they have ended; return their ids.

    Raises:
        ConfigError: a run is still going on in the folder.
        RecoveryError: SLURM does not answer, or jobs do not end.
    """
    lock = lock_study(study / "results")
    try:
        left, end = set(), time.monotonic() + ENDING_SECONDS
        while running := jobs_left(study):
            if time.monotonic() > end:
                raise RecoveryError(
                    f"jobs did not end within {ENDING_SECONDS} s after scancel: {', '.join(running)}; see squeue, "
                    "then try again"
                )
            # by name: a task of an array has an id of its own that scancel does not know
            for name in set(running.values()):
                _ask("scancel", f"--name={name}")
            left |= set(running)
            time.sleep(2)
        return sorted(left)
    finally:
        os.close(lock)


def check_none_left(study: Path) -> None:
    """Return if no job of an earlier run in `study` is in SLURM's queue.

    Raises:
        RecoveryError: there are some: they would write the same files. Or SLURM does not answer.
    """
    if left := jobs_left(study):
        raise RecoveryError(
            f"{len(left)} SLURM jobs of an earlier run in this folder have not ended ({', '.join(list(left)[:5])}"
            f"{', …' if len(left) > 5 else ''}); nothing was run. End them and go on where it was: "
            'make recover ARGS="…" with the arguments of this command'
        )


def jobs_left(study: Path) -> dict[str, str]:
    """Return the SLURM jobs of earlier runs in `study` that have not ended: the names they were sent under, by id.

    Raises:
        RecoveryError: SLURM does not answer.
    """
    names = run_ids(study)
    if not names or not shutil.which("squeue"):
        return {}
    lines = _ask("squeue", "--noheader", "--format=%i %j", f"--name={','.join(names)}").splitlines()
    return dict(line.split() for line in lines if line.strip())


def run_ids(study: Path) -> list[str]:
    """Return the names under which runs in the folder `study` sent jobs to SLURM, from Snakemake's logs."""
    logs = sorted(study.glob(".snakemake/log/*.log"))
    found = (RUN_ID.findall(log.read_text(encoding="utf-8", errors="replace")) for log in logs)
    return list(dict.fromkeys(name for names in found for name in names))


def _ask(*command: str) -> str:
    try:
        ended = subprocess.run(command, text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RecoveryError(
            f"SLURM did not answer {command[0]} within {ANSWER_SECONDS} s; try again"
        ) from None
    if ended.returncode:
        raise RecoveryError(f"{command[0]} failed: {ended.stderr.strip()}")
    return ended.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what was done; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.recovery", description=__doc__.split("\n")[0])
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
        print("there is no squeue on this machine: nobody looked for jobs of earlier runs in SLURM's queue")
    else:
        print("no job of an earlier run is left")
    return 0


if __name__ == "__main__":
    sys.exit(main())
