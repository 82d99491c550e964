"""Handling of requests to stop: a cluster reclaims the node (SIGTERM), or a user presses Ctrl-C (SIGINT)."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ToldToStopError(Exception):
    """Raised after a signal, at the next point where work can stop safely."""


class StopRequest:
    """Remembers a signal until the work reaches a point where it can stop safely."""

    def __init__(self) -> None:
        self._come = False

    def remember(self, *_: object) -> None:
        """Note the signal; the arguments are those of a signal handler."""
        self._come = True

    def heed(self) -> None:
        """Stop here if a signal has arrived.

        Raises:
            ToldToStopError: a signal has arrived.
        """
        if self._come:
            raise ToldToStopError


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Yield an object that remembers SIGTERM and SIGINT while the block runs; then restore the former handlers."""
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
