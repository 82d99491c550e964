"""Measure the cost of other load: an update and a prediction alone, and beside busy processes. See README.md.

`torchs_waiting_s` is the same code with torch's default, where idle threads spin for milliseconds before they sleep.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from common import BENCH, Options, Side, Size, median_s, parse_options, print_rows, result_row, run_side

sys.path.insert(0, str(BENCH.parent))
from lib.processors import SPINS

TORCHS_SPINS = "300000"  # libgomp's own GOMP_SPINCOUNT
# rounds by number of busy processes beside; more rounds alone, where differences of a few per cent matter
ROUNDS = {0: 5, 1: 2, 2: 2, 4: 1}
DEMO = Size(channels=(8, 16, 32, 64), inplane=64, slices=44, scans=4)
TRAIN = {"batch_size": 2}
GOALS = {0: [("over_torchs_alone", "<=", 1.03)], 2: [("over_alone", "<=", 3.0)]}


def measure(options: Options) -> list[dict]:
    """Return a row for an update and a prediction beside each number of busy processes."""
    with tempfile.TemporaryDirectory() as name:
        case = {"weights": str(Path(name, "weights.pt")), "scan": str(Path(name, "scan.npy"))}
        run_side(Side(call="ours.write_case", arguments={"size": asdict(DEMO), **case}))
        common = options.child(DEMO, precision="float32")
        updates = 4 if options.quick else 8
        sides = {
            "training update, demo": Side(
                call="ours.update_seconds",
                arguments={**common, "warm_up": 2, "block": 1, "blocks": updates, "train": TRAIN},
            ),
            "prediction of a scan, demo": Side(
                call="ours.predict_seconds",
                arguments={
                    **common,
                    **case,
                    "result": str(Path(name, "result.npy")),
                    "repeats": 2 if options.quick else 5,
                },
            ),
        }
        return [row for what, side in sides.items() for row in rows_of(options, what, side)]


def rows_of(options: Options, what: str, side: Side) -> list[dict]:
    """Return a row for each number of busy processes."""
    found = {}
    for busy, rounds in ROUNDS.items() if not options.quick else ((0, 1), (2, 1)):
        reports = {SPINS: [], TORCHS_SPINS: []}
        for _ in range(rounds):
            for spins, of_side in reports.items():  # in turn, so that other load affects both
                with busy_processes(busy), waiting(spins):
                    of_side.append(run_side(side))
        found[busy] = {spins: median_s(of_side) for spins, of_side in reports.items()}
    alone = found[0]
    return [
        result_row(
            options,
            f"{what}, beside {busy} busy processes",
            f"{DEMO.inplane} x {DEMO.inplane} x 32",
            "float32",
            ours=seconds[SPINS],
            over_alone=seconds[SPINS] / alone[SPINS],
            over_torchs_alone=seconds[SPINS] / alone[TORCHS_SPINS],
            torchs_waiting_s=seconds[TORCHS_SPINS],
            torchs_over_alone=seconds[TORCHS_SPINS] / alone[TORCHS_SPINS],
            goals=GOALS.get(busy, []),
        )
        for busy, seconds in found.items()
    ]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep `count` processes busy while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def waiting(spins: str) -> Iterator[None]:
    """Set GOMP_SPINCOUNT for processes that are started in the block."""
    before = {name: os.environ.pop(name, None) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    os.environ["GOMP_SPINCOUNT"] = spins
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]
        os.environ.update({name: value for name, value in before.items() if value is not None})


if __name__ == "__main__":
    print_rows(measure(parse_options(__doc__)))
