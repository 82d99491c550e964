"""Run all GPU benchmarks and tests of this project with one command, within a given number of minutes.

    python3 bench/gpu.py --minutes 8 --out DIR [--only PART ...] [--device cpu --quick]

Each part runs in a process of its own and has a share of the time; time left over goes to the last part. DIR holds
results.jsonl, table.md and log.txt from the first result on, so that an interrupted run keeps its results. At the
end it also holds accuracy.json, accuracy.png and the model, in files that `cat model.pt.?-of-? > model.pt` joins.
This module needs only the standard library; the parts need PyTorch, numpy, scipy and the packages of `wheels.py`.
"""

import argparse
import json
import os
import platform
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from table import FACTS, render
from wheels import FOLDER, PATH_VARIABLE, unpack

BENCH = Path(__file__).resolve().parent
MINUTES = 8.0
SHARES_S = {  # largest share of each part in a run of MINUTES; scaled for shorter and longer runs
    "facts": 30.0,
    "tests": 90.0,
    "training": 90.0,
    "prediction": 45.0,
    "compile": 45.0,
    "accuracy": float("inf"),  # the rest
}
RESERVE_S = 8.0  # for ending the last part and writing the last lines
GRACE_S = 3.0  # between asking a part to end and killing it
START_S = 8.0  # time that the start of a part takes; the part is told the rest of its share
BLANK = {"size": "–", "precision": None, "ours_s": None, "peer_s": None, "ratio": None}


class StoppedError(Exception):
    """Raised when a signal asks this run to end."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Settings that all parts of a run share: device, sizes, cores, folder of results, environment of processes."""

    device: str
    quick: bool
    cores: int
    out: Path
    environment: Mapping[str, str]


class Results:
    """The result files of a run; each result is on the disk before the next measurement begins."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows: list[dict[str, Any]] = []
        self._facts = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": platform.node()}
        self._lines = (run.out / "results.jsonl").open("w", encoding="utf-8")
        self.log = (run.out / "log.txt").open("w", encoding="utf-8")

    def add(self, part: str, row: Mapping[str, Any]) -> None:
        """Append a result as a line, rewrite the table, and print the result on the terminal."""
        own = {"part": part, "what": part, "device": self._run.device, **BLANK, **self._facts}
        row = own | row | ({"quick": True} if self._run.quick else {})
        self._facts = {name: row[name] for name in FACTS if name in row}
        self._rows.append(row)
        self._lines.write(json.dumps(row) + "\n")
        self._lines.flush()
        os.fsync(self._lines.fileno())
        temporary = self._run.out / ".table.md"
        temporary.write_text(self.table(), encoding="utf-8")
        temporary.replace(self._run.out / "table.md")
        trouble = row.get("failed") or row.get("skipped")
        self.say(f"{part}: {row['what']}{f': {trouble}' if trouble else ''}")

    def say(self, text: str) -> None:
        """Write a line to the log and to the terminal."""
        for file in (self.log, sys.stderr):
            print(f"{time.strftime('%H:%M:%S')} {text}", file=file, flush=True)

    def table(self) -> str:
        """Return the results so far as Markdown."""
        return render(self._rows)

    @property
    def failed(self) -> list[str]:
        """The parts with a failed result."""
        return list(dict.fromkeys(row["part"] for row in self._rows if row.get("failed")))


def main() -> None:
    """Run the parts in turn; failures and timeouts are recorded as results and set the exit code."""
    given = read_arguments()
    end = time.monotonic() + 60 * given.minutes
    given.out.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            device=given.device,
            quick=given.quick,
            cores=len(os.sched_getaffinity(0)),
            out=given.out.resolve(),
            environment=environment(Path(folder)),
        )
        results = Results(run)
        try:
            for said in unpack(sorted(FOLDER.glob("*.whl")), Path(folder)):
                results.say(said)
            for part in (name for name in SHARES_S if name in given.only):
                run_part(part, run, results, part_seconds(part, given.minutes, end))
        except StoppedError:
            sys.exit("stopped by a signal; the results so far are kept")
        finally:
            print(results.table())
    if results.failed:
        sys.exit(f"failed: {', '.join(results.failed)}; see log.txt")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for the whole run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the results go")
    parser.add_argument("--only", nargs="+", choices=SHARES_S, default=list(SHARES_S), metavar="PART")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tests the script, measures nothing")
    return parser.parse_args()


def environment(packages: Path) -> dict[str, str]:
    """Return the environment of the parts, with paths of the project's modules and of the unpacked wheels."""
    paths = [str(BENCH.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), PATH_VARIABLE: str(packages), "PYTHONUNBUFFERED": "1"}
    return os.environ | own


def part_seconds(part: str, minutes: float, end: float) -> float:
    """Return the seconds that a part may take: its share, but no more than the time until `end`."""
    share = SHARES_S[part] * minutes / MINUTES
    return min(share, end - time.monotonic() - RESERVE_S)


def run_part(part: str, run: Run, results: Results, seconds: float) -> None:
    """Run a part and record its results as they come; end it when its time is over."""
    if seconds <= START_S / 2:
        results.add(part, {"skipped": "no time was left for it: give --minutes more, or name it with --only"})
        return
    results.say(f"{part} begins, with {seconds:.0f} s")
    begin = time.monotonic()
    request = {"device": run.device, "quick": run.quick, "cores": run.cores, "out": str(run.out)}
    request["seconds"] = max(seconds - START_S, seconds / 2)
    with part_process(part, request, run, results.log) as process:
        for line in lines_until(process, begin + seconds):
            results.add(part, json.loads(line))
        took = time.monotonic() - begin
        status = None if took >= seconds else process.wait()
    if status is None:
        results.add(
            part, {"failed": f"ended after {took:.0f} s, its share of the time; its results are kept"}
        )
    elif status and part not in results.failed:
        results.add(part, {"failed": f"its process ended with status {status}; see log.txt"})


@contextmanager
def part_process(
    part: str, request: Mapping[str, Any], run: Run, log: TextIO
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a part in a process group of its own; the whole group is ended on exit."""
    process = subprocess.Popen(
        [sys.executable, str(BENCH / "gpu_part.py"), part, json.dumps(request)],
        cwd=BENCH.parent, env=run.environment, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
    )  # fmt: skip
    try:
        yield process
    finally:
        _end_group(process)


def lines_until(process: subprocess.Popen[bytes], end: float) -> Iterator[str]:
    """Yield whole lines of a process's output until it ends; at `end` ask it to stop and read on briefly."""
    rest, asked = b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(max(end - time.monotonic(), 0)):
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    return
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode() for line in lines)
            elif asked:
                return
            else:
                asked, end = True, time.monotonic() + GRACE_S
                # only to the part itself: it still reports the results of its child processes
                process.send_signal(signal.SIGTERM)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask all processes of a part to end, then kill them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.stdout.close()
    process.wait()


def _stop(number: int, _: object) -> None:
    raise StoppedError


if __name__ == "__main__":
    main()
