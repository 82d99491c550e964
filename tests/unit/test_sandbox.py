"""The sandbox: a failure of the child process must become a reason and not end the job."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lib.errors import OsteoflowError, ScanError
from lib.joblog import CALLS_OF_CHILD
from lib.reading.sandbox import guarded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks safely")

LIMITS = {"max_minutes": 1.0, "max_gb": 0.25}


def test_result_comes_back():
    assert guarded(lambda: {"pid": os.getpid()}, **LIMITS)["pid"] != os.getpid()


@pytest.mark.parametrize(
    ("work", "limits", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGABRT), LIMITS, "a decoder crashed .exit code -6"),
        (lambda: os._exit(3), LIMITS, "exit code 3"),
        (lambda: time.sleep(30), {**LIMITS, "max_minutes": 0.005}, "longer than 0.005 minutes"),
        (lambda: np.ones(500_000_000), LIMITS, "more memory than 3 GB"),
    ],
    ids=["crash", "exit", "hang", "memory"],
)
def test_a_failure_of_the_child_becomes_a_reason(work, limits, words):
    started = time.monotonic()
    with pytest.raises(ScanError, match=words) as caught:
        guarded(work, **limits)
    assert caught.value.code == "reading_stopped"
    assert time.monotonic() - started < 20


def test_a_kill_from_outside_is_not_blamed_on_the_scan():
    with pytest.raises(OsteoflowError, match="memory") as caught:
        guarded(lambda: os.kill(os.getpid(), signal.SIGKILL), **LIMITS)
    assert not isinstance(caught.value, ScanError)


def _refuse():
    raise ScanError("too_short", "three slices")


def test_own_errors_come_back_as_they_are():
    with pytest.raises(ScanError, match="three slices") as caught:
        guarded(_refuse, **LIMITS)
    assert caught.value.code == "too_short"


class _NotSendableError(Exception):
    def __init__(self, first, second):
        super().__init__(first)


def _raise_not_sendable():
    raise _NotSendableError("a header's text", lambda: None)


@pytest.mark.parametrize(
    ("work", "kind"), [(lambda: {}["absent"], "KeyError"), (_raise_not_sendable, "_NotSendableError")]
)
def test_other_errors_name_their_type_and_bring_their_calls(work, kind):
    with pytest.raises(RuntimeError, match=f"^{kind} in the child process$") as caught:
        guarded(work, **LIMITS)
    assert any(call.filename == __file__ for call in getattr(caught.value, CALLS_OF_CHILD))


def test_a_killed_job_takes_its_child_along():
    program = (
        "import os, time\n"
        "from lib.reading.sandbox import guarded\n"
        "def work():\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "guarded(work, max_minutes=1.0, max_gb=0.25)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    job = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    )
    child = Path("/proc", job.stdout.readline().strip())
    assert child.exists()
    job.kill()
    job.wait()
    for _ in range(100):
        # an orphan that nobody waits for may stay as a zombie
        if not child.exists() or ") Z " in child.joinpath("stat").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the child lives on")
