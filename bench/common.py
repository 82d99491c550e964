"""What the benchmarks share: options, sizes, synthetic scans, sides in processes of their own, result lines."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from wheels import installed_version

BENCH = Path(__file__).parent
SPACING_MM_ZYX = (3.0, 0.8, 0.8)
WINDOW = 32  # slices
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Size:
    """Network and scans of a benchmark."""

    channels: Sequence[int]
    inplane: int
    slices: int
    scans: int

    @property
    def window(self) -> str:
        """The window as a text, x first."""
        return f"{self.inplane} x {self.inplane} x {WINDOW}"


PAPER = Size(channels=(32, 64, 128, 256), inplane=192, slices=60, scans=4)
QUICK = Size(channels=(4, 8, 12, 16), inplane=32, slices=34, scans=4)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of every script; `device` is cpu or cuda."""

    device: str
    quick: bool
    threads: int

    @property
    def size(self) -> Size:
        """The paper's size, or a tiny one that takes seconds."""
        return QUICK if self.quick else PAPER

    def child(self, size: Size, **more: Any) -> dict[str, Any]:
        """Return the arguments of a side: size, device, threads and `more`."""
        return {"size": asdict(size), "device": self.device, "threads": self.threads, **more}


@dataclass(frozen=True, kw_only=True)
class Side:
    """A call to make in a process of its own: a function `module.function` of this folder and its arguments."""

    call: str
    arguments: Mapping[str, Any]


def options_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of the options that all scripts share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: tests the script, measures nothing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each side")
    return parser


def read_options(given: argparse.Namespace) -> Options:
    """Return the shared options of a parsed command line, the device resolved."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = found if given.device == "auto" else given.device
    return Options(device=device, quick=given.quick, threads=given.threads)


def parse_options(description: str) -> Options:
    """Read the command line of a script that has no options of its own."""
    return read_options(options_parser(description).parse_args())


def machine_facts(options: Options) -> dict[str, str | int | None]:
    """Return date, machine and versions, which every result carries."""
    cores = f"{os.cpu_count()} cores of {processor_name()}"
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": torch.cuda.get_device_name() if options.device == "cuda" else cores,
        "threads": options.threads,
        "torch": torch.__version__,
        "monai": installed_version("monai") or None,
    }


def processor_name() -> str:
    """Return the processor's name as Linux gives it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def synthetic_scan(size: Size, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return image (z, y, x; int16 HU) and mask (uint8): noise and a box; run times do not depend on content."""
    shape = (size.slices, size.inplane, size.inplane)
    image_zyx = np.random.default_rng(index).integers(-1000, 1500, shape, dtype=np.int16)
    mask_zyx = np.zeros(shape, np.uint8)
    mask_zyx[:, size.inplane // 3 : size.inplane // 2, size.inplane // 3 : size.inplane // 2] = 1
    return image_zyx, mask_zyx


def synchronize(device: str) -> None:
    """Wait until the device has finished all queued work."""
    if device == "cuda":
        torch.cuda.synchronize()


def device_memory_gb(device: str) -> float | None:
    """Return the peak memory that torch has reserved on a CUDA device, GB."""
    return torch.cuda.max_memory_reserved() / 1e9 if device == "cuda" else None


def resident_gb(kind: str = "VmRSS") -> float:
    """Return the resident memory of this process, GB: now (`VmRSS`) or at its peak (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) * 1024 / 1e9


def run_side(side: Side) -> dict[str, Any]:
    """Call a side in a fresh process with its own allocator and torch settings; return its report."""
    command = [sys.executable, str(BENCH / "child.py"), side.call, json.dumps(side.arguments)]
    done = subprocess.run(command, env=side_environment(), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def side_environment() -> dict[str, str]:
    """Return the environment of a side's process, which finds the project's own modules."""
    paths = [str(BENCH.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def in_turn(sides: Mapping[str, Side], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Run all sides in turn, `rounds` times, so that other load on the machine affects all of them."""
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            reports[name].append(run_side(side))
            times = reports[name][-1].get("seconds", [])
            print(name, *(f"{seconds:.4g}" for seconds in times), "s", file=sys.stderr)
    return reports


def ours_and_peer(
    function: str, arguments: Mapping[str, Any], ours: Mapping[str, Any], peer: Mapping[str, Any]
) -> dict[str, Side]:
    """Return our side in both precisions and the peer in float32, on CUDA also in bf16.

    Both get `arguments`; our side also gets `ours`, and the peer also gets `peer`.
    """
    kinds = [("ours", "float32"), ("peer", "float32"), ("ours", "bf16")]
    if arguments["device"] == "cuda":
        kinds.append(("peer", "bf16"))
    own = {"ours": ours, "peer": peer}
    return {
        f"{who} {precision}": Side(
            call=f"{who}.{function}", arguments={**arguments, "precision": precision, **own[who]}
        )
        for who, precision in kinds
    }


def median_s(reports: Sequence[Mapping[str, Any]]) -> float:
    """Return the median of all times of all rounds of a side, seconds."""
    return float(np.median([seconds for report in reports for seconds in report["seconds"]]))


def result_row(
    options: Options, what: str, size: str, precision: str | None, *, unit: str = "s", **values: Any
) -> dict[str, Any]:
    """Return one result: `ours` and `peer` (numbers or None) under their unit, their ratio, and further values.

    `goals`, where given, are triples (key, ">=" or "<=", bound); those of tiny sizes or missing values are dropped.
    """
    ours, peer = values.pop("ours", None), values.pop("peer", None)
    empty = {"ours_s": None, "peer_s": None}
    measured = {f"ours_{unit}": ours, f"peer_{unit}": peer, "ratio": peer / ours if ours and peer else None}
    if "goals" in values or options.quick:
        known = {key for key, value in (measured | values).items() if value is not None}
        values["goals"] = [goal for goal in values.get("goals", []) if goal[0] in known and not options.quick]
    return {
        "what": what,
        "size": size,
        "device": options.device,
        "precision": precision,
        **empty,
        **measured,
        **values,
    }


def compared_rows(
    options: Options,
    what: str,
    size: str,
    reports: Mapping[str, Sequence[Mapping[str, Any]]],
    goals: Mapping[str, Sequence[Sequence[Any]]],
    *,
    times: int = 1,
) -> Iterator[dict[str, Any]]:
    """Yield a row for each precision: ours against the peer in float32, and in bf16 where that was timed.

    A precision in which our side was not timed has no row; the peer's columns are empty where it was not timed.

    Args:
        options: options of the script.
        what: what is timed.
        size: the size as text.
        reports: reports of the sides of `ours_and_peer`, by name.
        goals: goals of each precision, see `result_row`.
        times: how many of the timed units make up `what`, e.g. the updates of an epoch.
    """
    seconds = {name: times * median_s(of_side) for name, of_side in reports.items()}
    for precision in (name for name in PRECISIONS if f"ours {name}" in seconds):
        more = {"goals": goals.get(precision, [])}
        if precision == "bf16" and "peer bf16" in seconds:
            more["peer_bf16_s"] = seconds["peer bf16"]
            more["ratio_bf16"] = seconds["peer bf16"] / seconds["ours bf16"]
        ours, peer = seconds[f"ours {precision}"], seconds.get("peer float32")
        yield result_row(options, what, size, precision, ours=ours, peer=peer, **more)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print results as JSON, one a line."""
    for row in rows:
        print(json.dumps(rounded(row)), flush=True)


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result with its numbers rounded to four significant digits."""
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
