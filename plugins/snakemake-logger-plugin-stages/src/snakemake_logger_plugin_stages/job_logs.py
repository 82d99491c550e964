"""What the log of a job holds for the terminal: notices, its own progress, and its end when the job has failed."""

import re
from collections.abc import Iterable
from pathlib import Path

NOTICE = "notice: "
# a job that takes long says how far it is: "progress: 12 of 50"
_PROGRESS = re.compile(r"^progress: (\d+) of (\d+)\s*$", re.M)
_READ_BYTES = 1_000_000  # at most so much of a log is read, from its end
_PROGRESS_BYTES = 20_000


def notices(logs: Iterable[str]) -> list[str]:
    """Return the texts of the lines that begin with `notice: `, in order."""
    lines = [line for log in logs for line in _end_of(log, _READ_BYTES).splitlines()]
    return [line.removeprefix(NOTICE).strip() for line in lines if line.startswith(NOTICE)]


def fraction_done(logs: Iterable[str]) -> float | None:
    """Return how much of its work a running job has done, by its last line `progress: N of M`; None: no such line."""
    for log in logs:
        if found := _PROGRESS.findall(_end_of(log, _PROGRESS_BYTES)):
            done, total = map(int, found[-1])
            return min(done / total, 1.0) if total else None
    return None


def last_lines(log: str, count: int) -> list[str]:
    """Return the last lines of a log; a sentence in brackets if it cannot be read or is empty."""
    if not Path(log).is_file():
        return ["(no such file: the job ended before it wrote a log)"]
    return _end_of(log, _READ_BYTES).splitlines()[-count:] or ["(empty)"]


def _end_of(log: str, size: int) -> str:
    """Return the last `size` bytes of a file as text; empty if it cannot be read."""
    try:
        with open(log, "rb") as file:
            length = file.seek(0, 2)
            file.seek(max(length - size, 0))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
