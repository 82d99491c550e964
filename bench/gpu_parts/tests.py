"""Run the tests that need a CUDA device, all in this one process."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from common import BENCH, Options, result_row
from gpu_part import Request

FOLDER = "tests/gpu"


class Recorder:
    """A pytest plugin that counts outcomes, keeps the reasons of failures, and starts no test after `end`."""

    def __init__(self, end: float) -> None:
        self._end = end
        self.outcomes: Counter[str] = Counter()
        self.failures: list[tuple[str, str]] = []  # test, last line of its error

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the collected tests."""
        self.outcomes["collected"] = len(session.items)

    def pytest_runtest_logstart(self, nodeid: str, location: object) -> None:
        """Skip the remaining tests when the time is over."""
        if time.monotonic() > self._end:
            pytest.exit("the time of this part is over", returncode=0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record the outcome of a test, or of a fixture that failed or skipped."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1
        if report.failed:
            self.failures.append((report.nodeid.split("::")[-1], _last_line(report)))


def measure(options: Options, request: Request) -> Iterator[dict[str, Any]]:
    """Run the tests; yield a result for each failure, then the counts."""
    recorder, begin = Recorder(time.monotonic() + request.seconds), time.monotonic()
    arguments = [str(BENCH.parent / FOLDER), "--rootdir", str(BENCH.parent), "-p", "no:cacheprovider"]
    status = pytest.main([*arguments, "--durations=10", "--tb=short", "-v"], plugins=[recorder])
    for name, why in recorder.failures:
        yield result_row(options, name, "–", None, failed=why)
    if status == pytest.ExitCode.USAGE_ERROR:
        raise RuntimeError(f"pytest could not run {FOLDER}")
    counts = {f"tests_{kind}": recorder.outcomes[kind] for kind in ("passed", "failed", "skipped")}
    counts["tests_not_run"] = max(recorder.outcomes["collected"] - sum(counts.values()), 0)
    if options.device != "cuda":
        counts["skipped"] = "on the CPU; those that need a CUDA device are left out"
    yield result_row(options, FOLDER, "–", None, ours=time.monotonic() - begin, **counts)


def _last_line(report: pytest.TestReport) -> str:
    lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return " ".join(lines[0][1:].split())[:300] if lines else "see log.txt"
