"""Measure what torch.compile gains or costs: a training update with and without it, including its warm-up."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from common import Options, Side, median_s, result_row
from gpu_part import Request
from workers import SideFailedError, Worker

from gpu_parts.training import QUICK_SCHEDULE, SCHEDULE

PRECISION = {"cpu": "float32", "cuda": "bf16"}
TIMED_S = 4.0
QUICK_CHANNELS = (2, 4)  # few layers, because each one takes time to compile


def measure(options: Options, request: Request) -> Iterator[dict[str, Any]]:
    """Yield one result: update times, warm-ups, and the number of updates after which compiling has paid off."""
    begin, precision = time.monotonic(), PRECISION[options.device]
    schedule = QUICK_SCHEDULE if options.quick else SCHEDULE
    size = replace(options.size, channels=QUICK_CHANNELS) if options.quick else options.size
    arguments = options.child(size, precision=precision, **schedule)
    with Worker() as worker:
        default = worker.call(side(arguments, compiled=False), request.seconds)
        what, window = "training update, train.compile: true", size.window
        try:
            compiled = worker.call(
                side(arguments, compiled=True), request.seconds - (time.monotonic() - begin)
            )
        except SideFailedError as error:
            yield result_row(
                options, what, window, precision, default_s=median_s([default]), failed=str(error)
            )
            return
    yield result_row(options, what, window, precision, ours=median_s([compiled]), **gain(default, compiled))


def side(arguments: dict[str, Any], *, compiled: bool) -> Side:
    """Return the training with or without compiling."""
    limit_s = math.inf if compiled else TIMED_S  # the time of compiling must not reduce the timed updates
    return Side(
        call="ours.update_seconds",
        arguments={**arguments, "train": {"compile": compiled}, "limit_s": limit_s},
    )


def gain(default: dict[str, Any], compiled: dict[str, Any]) -> dict[str, Any]:
    """Return both times and warm-ups, the ratio of times, and the updates after which compiling has paid off."""
    plain_s, compiled_s = median_s([default]), median_s([compiled])
    cost_s = compiled["warm_up_s"] - default["warm_up_s"]
    return {
        "default_s": plain_s,
        "time_ratio": compiled_s / plain_s,
        "warm_up_s": compiled["warm_up_s"],
        "default_warm_up_s": default["warm_up_s"],
        "paid_after_updates": round(cost_s / (plain_s - compiled_s)) if compiled_s < plain_s else None,
    }
