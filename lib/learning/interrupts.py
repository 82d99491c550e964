"""Being told to stop: a cluster takes the node away (SIGTERM), or somebody presses Ctrl-C (SIGINT)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ToldToStopError(Exception):
    """Raised where work may be broken off, once a signal has come."""


class StopRequest:
    """Remembers that a signal has come, until the work reaches a place where it can be broken off."""

    def __init__(self) -> None:
        self._come = False

    def remember(self, *_: object) -> None:
        """Note the signal; the arguments are those of a signal handler."""
        self._come = True

    def heed(self) -> None:
        """Break off here if a signal has come.

        Raises:
            ToldToStopError: it has.
        """
        if self._come:
            raise ToldToStopError


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Yield what remembers SIGTERM and SIGINT while the block runs; the former handlers come back."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only a main thread may handle signals
        return
    former = {number: signal.signal(number, request.remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
