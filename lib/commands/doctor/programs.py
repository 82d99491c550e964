"""Running other programs with a time limit. Standard library only."""

import shlex
import shutil
import subprocess
from dataclasses import dataclass

SECONDS = 20  # a healthy controller answers at once


@dataclass(frozen=True)
class Answer:
    """The output of a program; `problem` says in words why it failed."""

    text: str
    problem: str = ""


def ask(*command: str, seconds: float = SECONDS) -> Answer:
    """Run a command and return what it printed."""
    if not shutil.which(command[0]):
        return Answer("", f"{command[0]} is not installed on this machine")
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"{command[0]} did not answer within {seconds:g} s")
    except OSError as error:
        return Answer("", f"{command[0]} cannot be started ({error.strerror})")
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["no message"]
        return Answer(ended.stderr, f"{shlex.join(command[:3])} failed: {said[-1]}")
    return Answer(ended.stdout + ended.stderr)
