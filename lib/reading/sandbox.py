"""A sandbox for reading files of unknown origin: a child process, so that no file can crash the job.

Decoders are C libraries: a damaged image may make them crash, hang or allocate any amount of memory. The sandbox
turns each of these into a reason for refusal.
"""

import ctypes
import multiprocessing
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from lib.errors import OsteoflowError, ScanError
from lib.joblog import CALLS_OF_CHILD

# Memory allowed in addition to `max_gb`: several copies of the voxels, and libraries.
_COPIES, _LIBRARIES_GB = 4, 2.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def guarded(work: Callable[[], Mapping[str, Any]], *, max_minutes: float, max_gb: float) -> Mapping[str, Any]:
    """Return the result of `work` (plain values), run in a child process within limits.

    Args:
        work: The function to run.
        max_minutes: Time limit.
        max_gb: Size of the largest scan; the child may use `_COPIES` times as much, and `_LIBRARIES_GB`.

    Raises:
        ScanError: `reading_stopped`: it took too long, needed too much memory or crashed.
        OsteoflowError: as raised by `work`; or the child process was killed.
        RuntimeError: `work` raised another exception, whose type it names.
    """
    if sys.platform != "linux":
        # on other systems a forked child may hang in system libraries, so no sandbox is used
        return work()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(work, sender, max_gb), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(60.0 * max_minutes):
            raise ScanError("reading_stopped", f"reading took longer than {max_minutes:g} minutes")
        result = receiver.recv()
    except EOFError:
        child.join()
        if child.exitcode == -signal.SIGKILL:
            # not a property of the scan: with more memory another attempt may succeed
            raise OsteoflowError(
                "reading was killed, probably by the system because memory ran out. "
                "Give the job more memory (resources: mem_mb) and run again"
            ) from None
        raise ScanError("reading_stopped", f"a decoder crashed (exit code {child.exitcode})") from None
    finally:
        child.kill()
        child.join()
        receiver.close()
    if isinstance(result, MemoryError):
        raise ScanError("reading_stopped", f"reading needs more memory than {_limit_gb(max_gb):g} GB")
    if isinstance(result, Exception):
        raise result
    return result


def _limit_gb(max_gb: float) -> float:
    return _COPIES * max_gb + _LIBRARIES_GB


def _run(work: Callable[[], Mapping[str, Any]], sender: Connection, max_gb: float) -> None:
    # the child is killed with its job
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_DATA, (int(1e9 * _limit_gb(max_gb)),) * 2)
    try:
        result = work()
    except (OsteoflowError, MemoryError) as error:
        result = error
    except Exception as error:
        # tracebacks and some exceptions cannot be pickled, so the call stack and the type's name are sent
        result = RuntimeError(f"{type(error).__qualname__} in the child process")
        setattr(result, CALLS_OF_CHILD, list(traceback.extract_tb(error.__traceback__)))
    sender.send(result)
    sender.close()
