"""Commands that are printed before they are run, as a person could type them. Standard library only."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.errors import ConfigError

PROJECT = Path(__file__).parents[2]
OVERLAY = "study.yaml"
ON_CLUSTER = "slurm"  # the profile's folder; a cluster's jobs take the cores that their rules ask for
WORKSTATION = "profiles/workstation"
NO_SETTINGS = (
    "{folder} has no {overlay}. Begin a study there with `osteoflow init SCANS --study {folder}`, name the folder of "
    "another study with --study, or its settings with --configfile"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked of a study.

    Attributes:
        folder: the study's folder, absolute.
        overlays: its settings files; empty: `study.yaml` in the folder.
        profile: a profile of Snakemake.
        cores: number of cores, or `all`.
        further: further arguments of Snakemake.
    """

    folder: Path
    overlays: Sequence[str] = ()
    profile: str = WORKSTATION
    cores: str = ""
    further: Sequence[str] = ()


def snakemake_arguments(asked: Asked) -> list[str]:
    """Return the arguments of Snakemake for a study, for a start in the project's folder.

    Raises:
        ConfigError: the study has no settings.
    """
    overlays = [_located(overlay) for overlay in asked.overlays]
    if not overlays:
        if not (asked.folder / OVERLAY).is_file():
            raise ConfigError(NO_SETTINGS.format(folder=asked.folder, overlay=OVERLAY))
        overlays = [_shown(asked.folder / OVERLAY)]
    words = ["--profile", _located(asked.profile)]
    if asked.cores or Path(asked.profile).name != ON_CLUSTER:
        words += ["--cores", asked.cores or "all"]
    words += ["--configfile", *overlays]
    words += ["--directory", _shown(asked.folder)] if asked.folder != PROJECT else []
    return [*words, *asked.further]


def program(name: str) -> str:
    """Return the path of a program of the set-up, as it is typed in the project's folder."""
    # not resolved: the Python of .venv is a link
    return _shown(Path(sys.executable).parent / name)


def module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a program of `lib.commands`."""
    return [program("python"), "-m", f"lib.commands.{name}", *arguments]


def typed(command: Sequence[str]) -> str:
    """Return a command as it is typed in the current folder."""
    line = shlex.join(command)
    return line if Path.cwd() == PROJECT else f"cd {shlex.quote(str(PROJECT))} && {line}"


def run_shown(*commands: Sequence[str]) -> int:
    """Print and run commands in the project's folder until one fails; return the exit status of the last one."""
    for command in commands:
        print(typed(command), flush=True)
        if status := _ended(subprocess.Popen(command, cwd=PROJECT)):
            return status
    return 0


def _ended(child: subprocess.Popen) -> int:
    """Wait for a program and return its exit status, as a shell has it."""
    # Ctrl-C reaches the program itself, which then ends in good order
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    forwarded = signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    try:
        status = child.wait()
    finally:
        signal.signal(signal.SIGINT, former)
        signal.signal(signal.SIGTERM, forwarded)
    return status if status >= 0 else 128 - status


def _located(path: str) -> str:
    """Return a path that was typed in the current folder, or in the project's, as it is typed in the latter."""
    return _shown(Path(path).absolute()) if Path(path).exists() else path


def _shown(path: Path) -> str:
    """Return a path as it is typed in the project's folder."""
    path = Path(os.path.normpath(path))
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
