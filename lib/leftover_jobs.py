"""Jobs that a killed run left in SLURM's queue; they would continue to write the study's files."""

import re
import shutil
import subprocess
from pathlib import Path

from lib.errors import OsteoflowError

RUN_ID = re.compile(r"^SLURM run ID: ([\w-]+)$", re.MULTILINE)
ANSWER_SECONDS = 60  # a controller that does not answer must not block the user


class RecoveryError(OsteoflowError):
    """Jobs of a killed run could not be found or cancelled."""


def check_none_left(study: Path) -> None:
    """Return if no job of an earlier run in `study` is in SLURM's queue.

    Raises:
        RecoveryError: there are such jobs, which would write the same files, or SLURM does not answer.
    """
    if left := jobs_left(study):
        raise RecoveryError(
            f"{len(left)} SLURM jobs of an earlier run in this folder have not ended ({', '.join(list(left)[:5])}"
            f"{', …' if len(left) > 5 else ''}); nothing was run. To end them and continue the run: "
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
    """Return the output of a SLURM command; raise RecoveryError if it fails or does not answer."""
    try:
        ended = subprocess.run(command, text=True, capture_output=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RecoveryError(
            f"SLURM did not answer {command[0]} within {ANSWER_SECONDS} s; try again"
        ) from None
    if ended.returncode:
        raise RecoveryError(f"{command[0]} failed: {ended.stderr.strip()}")
    return ended.stdout
