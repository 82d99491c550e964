"""Measure what each setting of the engine costs or gains: a training update with the defaults and with one change."""

import subprocess
from dataclasses import replace

import numpy as np
from common import Options, Side, median_s, parse_options, print_rows, result_row, run_side
from train_step import SCHEDULE

BASE = {"cpu": "float32", "cuda": "bf16"}  # the precision in which the other settings are compared
CHANGES = {
    "reproducible: true": {"reproducible": True},
    "train.precision: float32": {"precision": "float32"},
    "train.precision: bf16": {"precision": "bf16"},
    "train.memory_layout: plain": {"train": {"memory_layout": "plain"}},
    "train.fused: false": {"train": {"fused": False}},
    "train.compile: true": {"train": {"compile": True}},
}
CPU_INPLANE = 96  # a quarter of the paper's window: six trainings at full size take too long on a CPU


def measure(options: Options) -> list[dict]:
    """Return a row for each setting that differs from the default; `time_ratio` is its time over the default's."""
    size = options.size
    if options.device == "cpu" and not options.quick:
        size = replace(size, inplane=CPU_INPLANE)
    precision = BASE[options.device]
    arguments = options.child(size, precision=precision, **SCHEDULE[options.device])
    default = Side(call="ours.update_seconds", arguments=arguments)
    first, times = median_s([run_side(default)]), {}
    for name, change in CHANGES.items():
        if change != {"precision": precision}:
            times[name] = update_s(replace(default, arguments=arguments | change))
    usual = float(np.mean([first, median_s([run_side(default)])]))  # first and last: the machine may change
    return [
        result_row(
            options,
            f"training update, {name}",
            size.window,
            CHANGES[name].get("precision", precision),
            ours=time,
            default_s=usual,
            time_ratio=time / usual if time else None,
        )
        for name, time in times.items()
    ]


def update_s(side: Side) -> float | None:
    """Return the seconds of an update; None where this machine cannot run it (no compiler, say)."""
    try:
        return median_s([run_side(side)])
    except subprocess.CalledProcessError:
        return None  # the side has printed the reason


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
