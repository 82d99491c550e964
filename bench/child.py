"""Run one side of a benchmark in a process of its own.

    python bench/child.py MODULE.FUNCTION '{"argument": value}'      one call; its report is the last line printed
    python bench/child.py --serve                                    calls come as lines, reports go as lines

A report is what the function returns, as JSON, with the peak memory of the process. With --serve a call is
{"call": MODULE.FUNCTION, "arguments": {...}}; a call that fails is reported as {"failed": why} and ends the process.
"""

import gc
import importlib
import json
import sys
import traceback
from typing import Any, TextIO

import torch
from common import resident_gb
from wheels import add_unpacked
from workers import in_words


def main() -> None:
    """Make the call that the command line names or, with --serve, the calls read from standard input."""
    add_unpacked()
    if sys.argv[1:] == ["--serve"]:
        answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print too
        serve(sys.stdin, answers)
    else:
        print(json.dumps(report_of(sys.argv[1], json.loads(sys.argv[2]))))


def report_of(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call `module.function` and return its report."""
    module, function = name.rsplit(".", 1)
    report = getattr(importlib.import_module(module), function)(**arguments)
    return report | {"peak_gb": resident_gb("VmHWM")}


def serve(calls: TextIO, answers: TextIO) -> None:
    """Make one call after another until the input ends or a call fails."""
    for line in calls:
        request = json.loads(line)
        _forget_device_memory()
        try:
            report = report_of(request["call"], request["arguments"])
        except Exception as error:
            traceback.print_exc()
            report = {"failed": in_words(error)}
        print(json.dumps(report), file=answers, flush=True)
        if "failed" in report:
            sys.exit(1)  # after a CUDA error a process cannot continue


def _forget_device_memory() -> None:
    """Release the device memory that torch has cached in the previous call, and reset its peak."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
