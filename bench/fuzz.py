"""Run the reader on damaged and hostile inputs: each must get a verdict in bounded time and memory.

    python bench/fuzz.py [--first 0] [--count 2000] [--keep FOLDER]
    python bench/fuzz.py --only zip_bomb 17             # repeats some by name

Inputs come from tests/unit/hostile_input.py: every trap, then `count` inputs drawn with the seeds from `first` on.
Each must end in a verdict, without exception, within 10 s and 1.5 GB, leave the file system as it was, and quote
no names or paths. A worker process takes many inputs; if it crashes or hangs, the input is noted and a new worker
continues. Inputs that fail are written to the folder `keep`. The exit code is 1 if any failed.
"""

import argparse
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from hostile_input import CANARIES, FOLDER_NAME, TRAPS, make_hostile  # noqa: E402

from lib.reading.dicom import survey_scan  # noqa: E402
from lib.screening_settings import ScreeningConfig  # noqa: E402

MAX_S = 10.0
MAX_GB = 1.5
HANGS_AFTER_S = 20.0  # then a worker is killed; writing an input takes a second or two
ADDRESS_SPACE_GB = 8  # protects the machine: beyond it a worker's MemoryError is a failure like others
CONFIG = ScreeningConfig(min_slices=2, max_gb=0.25)


def work(names: Sequence[str]) -> None:
    """Examine inputs in turn; print a line before and a line of JSON after each."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_GB << 30,) * 2)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # decoders may print to standard output
    for name in names:
        print("begin", name, file=answers, flush=True)
        print(json.dumps(examine(name)), file=answers, flush=True)


def examine(name: str) -> dict[str, Any]:
    """Write the input, read it, and return the result; `failures` is empty if nothing failed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / FOLDER_NAME
        folder.mkdir()
        path = make_hostile(folder, name)
        os.chdir(place)
        before = _tree(place)
        _forget_peak()
        start = time.perf_counter()
        codes, failures = _verdict(path)
        seconds, peak_gb = time.perf_counter() - start, _peak_gb()
        if _tree(place) != before:
            failures.append("the file system was changed")
        os.chdir(ROOT)
    if seconds > MAX_S:
        failures.append(f"{seconds:.1f} s")
    if peak_gb > MAX_GB:
        failures.append(f"{peak_gb:.2f} GB")
    return {"name": name, "codes": codes, "seconds": seconds, "peak_gb": peak_gb, "failures": failures}


def _verdict(path: Path) -> tuple[list[str], list[str]]:
    """Return the reason codes and the faults of the verdict."""
    try:
        survey = survey_scan(path, "", CONFIG)
    # the test is whether anything at all is raised
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return [], [f"{type(error).__name__} in {Path(last.filename).name}, {last.name}"]
    codes = [reason.code for reason in survey.findings]
    words = " ".join(reason.found for reason in survey.findings)
    failures = [f"quotes {canary}" for canary in CANARIES if canary in words]
    if survey.scan is None and not codes:
        failures.append("neither scan nor reason")
    return codes, failures


def _tree(place: str) -> dict[str, tuple[int, int]]:
    """Return size and modification time of everything below `place`."""
    found = {}
    for folder, folders, files in os.walk(place):
        for name in (*folders, *files):
            status = os.lstat(os.path.join(folder, name))
            found[os.path.join(folder, name)] = (status.st_size, status.st_mtime_ns)
    return found


def _forget_peak() -> None:
    """Reset the peak of resident memory (man 5 proc, clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_gb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def examine_all(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the result of each input; a worker that crashes or hangs is replaced."""
    left = list(names)
    while left:
        # unbuffered, so that select sees all output that was not read
        worker = subprocess.Popen(
            [sys.executable, __file__, "--worker", "--only", *left],
            bufsize=0,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            for answer in _answers(worker):
                left.remove(answer["name"])
                yield answer
        finally:
            worker.kill()
            worker.communicate()


def _answers(worker: subprocess.Popen) -> Iterator[dict[str, Any]]:
    """Yield the answers of a worker until it ends; a crash or a hang is reported as an answer."""
    begun = None
    while True:
        ready, _, _ = select.select([worker.stdout], [], [], HANGS_AFTER_S)
        line = worker.stdout.readline().decode("ascii") if ready else ""
        if line.startswith("begin "):
            begun = line.split()[1]
        elif line:
            yield json.loads(line)
            begun = None
        else:
            if begun is not None:
                end = (
                    f"crash, exit code {worker.wait()}" if ready else f"no verdict within {HANGS_AFTER_S:g} s"
                )
                yield {"name": begun, "codes": [], "seconds": None, "peak_gb": None, "failures": [end]}
            elif not ready or worker.wait():
                raise RuntimeError(
                    "a worker ended between two inputs; run one with --worker --only to see why"
                )
            return


def keep_input(name: str, folder: Path) -> None:
    """Write an input that failed to `folder`; bombs are not kept, because `--only NAME` makes them again."""
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if name not in TRAPS:
        make_hostile(place, name)


def main() -> int:
    """Examine the inputs of the command line and report failures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=2000, help="number of seeds")
    parser.add_argument("--only", nargs="+", help="these inputs: numbers or names of traps")
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.only)
        return 0
    seeds = [str(seed) for seed in range(given.first, given.first + given.count)]
    failed, codes, slowest_s, peak_gb, count = 0, Counter(), 0.0, 0.0, 0
    for answer in examine_all(given.only or [*TRAPS, *seeds]):
        count += 1
        codes.update(set(answer["codes"]) or ["accepted"])
        slowest_s = max(slowest_s, answer["seconds"] or 0.0)
        peak_gb = max(peak_gb, answer["peak_gb"] or 0.0)
        if answer["failures"]:
            failed += 1
            print(f"{answer['name']}: {'; '.join(answer['failures'])}", flush=True)
            if given.keep:
                keep_input(answer["name"], given.keep)
    print(", ".join(f"{code} {number}" for code, number in codes.most_common()))
    print(f"{count} inputs, {failed} failed; slowest {slowest_s:.1f} s, at most {peak_gb:.2f} GB")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
