"""The terminal or file that is written to: lines that stay, and a status that is renewed."""

import os
import shutil
import time
from typing import TextIO

RED, GREEN, YELLOW = 31, 32, 33

_RENEW_S = 2.0  # on a terminal
# in a file: after so many percent of the jobs, but not before a while has passed; or after so much time
_STEP_PERCENT, _WHILE_S, _STEP_S, _STEP_OF_RUN = 10, 5.0, 60.0, 0.05


class Screen:
    """Writes lines; keeps a status line below them on a terminal, and repeats it now and then in a file."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        self.stream, self.color = stream, color
        self.in_place = bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"
        self._status = ""
        self._next_s, self._next_percent = 0.0, _STEP_PERCENT
        self._began, self._last_s = 0.0, 0.0

    def begin(self, now: float) -> None:
        """Count the time of the status from now."""
        self._began = self._last_s = now
        self._next_s = now + (0 if self.in_place else _STEP_S)

    def line(self, text: str, color: int | None = None, *, timed: bool = True) -> None:
        """Write a line, in a file with the time of day."""
        stamp = time.strftime("%H:%M:%S  ") if timed else ""
        if self.color and color and self.in_place:
            text = f"\033[{color}m{text}\033[0m"
        self.clear()
        self._write(f"{stamp}{text}\n")
        if self._status:
            self._write(self._status)

    def is_due(self, percent: float, now: float) -> bool:
        """Return whether the status should be told again."""
        if self.in_place or now >= self._next_s:
            return now >= self._next_s
        return percent >= self._next_percent and now - self._last_s >= _WHILE_S

    def status(self, text: str, percent: float, now: float) -> None:
        """Tell how far the run is."""
        self._last_s = now
        self._next_percent = percent - percent % _STEP_PERCENT + _STEP_PERCENT
        if not self.in_place:
            self._next_s = now + max(_STEP_S, _STEP_OF_RUN * (now - self._began))
            self.line(text)
            return
        self._next_s = now + _RENEW_S
        # what jobs print themselves overwrites the status, because the cursor waits at its beginning
        self._status = f"\r\033[2K{text[: shutil.get_terminal_size().columns - 1]}\r"
        self._write(self._status)

    def clear(self) -> None:
        """Remove the status from the terminal."""
        if self._status:
            self._write("\r\033[2K")

    def end(self) -> None:
        """Remove the status for good."""
        self.clear()
        self._status = ""

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (BrokenPipeError, ValueError):
            pass  # nobody reads on; the run goes on, and its log file keeps everything
