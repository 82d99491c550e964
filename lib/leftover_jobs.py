"""Jobs that a killed run left in SLURM's queue, where they would go on writing the study's files."""

import re
import shutil
import subprocess
from pathlib import Path

from lib.errors import OsteoflowError

RUN_ID = re.compile(r"^SLURM run ID: ([\w-]+)$", re.MULTILINE)
ANSWER_SECONDS = 60  # a controller that does not answer must not hold the person up


class RecoveryError(OsteoflowError):
    """What a killed run left behind could not be ended."""


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
    lines = ask_slurm("squeue", "--noheader", "--format=%i %j", f"--name={','.join(names)}").splitlines()
    return dict(line.split() for line in lines if line.strip())


def run_ids(study: Path) -> list[str]:
    """Return the names under which runs in the folder `study` sent jobs to SLURM, from Snakemake's logs."""
    logs = sorted(study.glob(".snakemake/log/*.log"))
    found = (RUN_ID.findall(log.read_text(encoding="utf-8", errors="replace")) for log in logs)
    return list(dict.fromkeys(name for names in found for name in names))


def ask_slurm(*command: str) -> str:
    """Return what a command of SLURM answers; raise RecoveryError where it does not or refuses."""
    try:
        ended = subprocess.run(command, text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RecoveryError(
            f"SLURM did not answer {command[0]} within {ANSWER_SECONDS} s; try again"
        ) from None
    if ended.returncode:
        raise RecoveryError(f"{command[0]} failed: {ended.stderr.strip()}")
    return ended.stdout
