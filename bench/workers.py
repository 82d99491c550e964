"""Processes that make many calls in turn, so that torch and the device are started only once for each process."""

import json
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

from common import BENCH, Side, side_environment

from lib.errors import OsteoflowError
from lib.learning.cuda import cuda_explained
from lib.learning.memory import memory_explained

END_SECONDS = 10


class SideFailedError(Exception):
    """Raised when a side could not be measured; the text gives the reason."""


class Worker:
    """A process that makes calls one after another; it is replaced after a call that failed.

    Settings that stay in a process (how freed memory is kept, cuDNN's search for kernels) carry over from call to
    call, so that our calls and the peer's belong in different workers.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Worker":
        """Start the process, so that it is ready when the first call comes."""
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._end()

    def call(self, side: Side, limit_s: float) -> dict[str, Any]:
        """Make a call and return its report.

        Raises:
            SideFailedError: the call failed, took longer than `limit_s` seconds, or its process died.
        """
        if self._process is None:
            self._start()
        request = json.dumps({"call": side.call, "arguments": side.arguments})
        report = self._answer(request, limit_s)
        if "failed" in report:
            self._end()
            raise SideFailedError(report["failed"])
        return report

    def _answer(self, request: str, limit_s: float) -> Mapping[str, Any]:
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"failed": "its process died before the call; see log.txt"}
        answered, _, _ = select.select([self._process.stdout], [], [], max(limit_s, 0))
        if not answered:
            return {"failed": f"it took longer than the {limit_s:.0f} s that were left for it"}
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"failed": "its process died; see log.txt"}

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(BENCH / "child.py"), "--serve"],
            env=side_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.communicate(timeout=END_SECONDS)
        self._process = None


class Turns:
    """Calls by name, each made by the worker of its owner (the name's first word), within a common time limit.

    When this process is told to stop (SystemExit from a signal handler), the current call and all later ones fail, so
    that earlier results are still reported.
    """

    def __init__(self, workers: Mapping[str, Worker], sides: Mapping[str, Side], seconds: float) -> None:
        self.workers, self.sides = workers, sides
        self._end = time.monotonic() + seconds
        self._stopped = False

    @property
    def left_s(self) -> float:
        """The remaining seconds."""
        return 0.0 if self._stopped else self._end - time.monotonic()

    def call(self, name: str, limit_s: float) -> dict[str, Any]:
        """Make a call within `limit_s` seconds and within the remaining time.

        Raises:
            SideFailedError: as `Worker.call`.
        """
        if self.left_s <= 0:
            raise SideFailedError("no time was left for it")
        try:
            return self.workers[name.split()[0]].call(self.sides[name], min(limit_s, self.left_s))
        except SystemExit:
            self._stopped = True
            raise SideFailedError("this run was told to stop") from None


def in_words(error: BaseException) -> str:
    """Return an error as a sentence: its meaning and remedy where they are known, else its type and text."""
    try:
        with cuda_explained(), memory_explained("choose a GPU with more free memory"):
            raise error
    except OsteoflowError as known:
        return str(known)
    except BaseException as other:
        text = traceback.format_exception_only(other)[-1].strip()
        return f"{text.partition(chr(10))[0]}; see log.txt"
