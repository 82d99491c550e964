"""One part of gpu.py in a process of its own: python bench/gpu_part.py PART '{"device": "cuda", ...}'

Results go to standard output at once, one JSON object a line; everything else goes to standard error.
"""

import importlib
import json
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wheels import add_unpacked

RESULTS = sys.stdout


@dataclass(frozen=True, kw_only=True)
class Request:
    """Settings of a part beside the options of all benchmarks: its time, folder for its files, and cores."""

    seconds: float
    out: Path
    cores: int


def main() -> None:
    """Measure the part; a failure is reported as a result."""
    sys.stdout = sys.stderr  # libraries may print to standard output
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that temporary files are removed
    add_unpacked()
    try:
        measure(sys.argv[1], json.loads(sys.argv[2]))
    except Exception as error:
        traceback.print_exc()
        emit({"failed": _in_words(error)})
        sys.exit(1)


def measure(part: str, given: dict[str, Any]) -> None:
    """Print the part's results, each with date, machine and versions."""
    from common import Options, machine_facts, rounded, synchronize

    from lib.errors import TrainingError
    from lib.learning.cuda import why_no_gpu

    threads = 1 if given["quick"] else given["cores"]
    options = Options(device=given["device"], quick=given["quick"], threads=threads)
    if options.device == "cuda":
        if reason := why_no_gpu():
            raise TrainingError(reason)
        synchronize("cuda")  # takes the device, or raises with the reason
    facts = machine_facts(options)
    request = Request(seconds=given["seconds"], out=Path(given["out"]), cores=given["cores"])
    for row in importlib.import_module(f"gpu_parts.{part}").measure(options, request):
        emit(rounded(row) | facts)


def emit(row: dict[str, Any]) -> None:
    """Print a result."""
    print(json.dumps(row), file=RESULTS, flush=True)


def _in_words(error: Exception) -> str:
    try:
        from workers import in_words
    except ImportError:  # no torch here
        return f"{type(error).__name__}: {error}"
    return in_words(error)


if __name__ == "__main__":
    main()
