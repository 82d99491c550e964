"""Time an epoch over the paper's 324 volumes at full size, ours and MONAI's in turn, from some timed updates."""

import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from common import PRECISIONS, Options, Side, compared_rows, median_s, result_row
from gpu_part import Request
from train_epoch import SOURCES, VOLUMES
from train_step import PEER_WORKERS
from workers import SideFailedError, Turns, Worker

SCANS = 48  # 0.3 GB of volumes: larger than a processor's cache, yet made in a second
SCHEDULE = {"warm_up": 10, "block": 10, "blocks": 5}
QUICK_SCHEDULE = {"warm_up": 1, "block": 1, "blocks": 1}
TIMED_S = 5.0  # of one call, warm-up included; a block that has begun is finished
CALL_LIMIT_S = 40.0
AGAIN_SHARE = 0.4  # of the part's time; a first round within it leaves time for a second one and for the rest
PAPER_EPOCH = "129.6 s (Zhao et al. 2020, Titan V)"
GOALS = {"bf16": [("ours_s", "<=", 4.0), ("ratio", ">=", 3.0)]}
MEMORY_GOALS = [("ours_gb", "<=", 8.0)]
REPRODUCIBLE = "reproducible: true"
NO_PEER = "MONAI is not installed: run bench/wheels.py before the folder travels"


def measure(options: Options, request: Request) -> Iterator[dict[str, Any]]:
    """Yield the epoch in both precisions beside the peer's, then the epoch with other settings and sources."""
    what, sides = f"epoch of {VOLUMES} volumes", training_sides(options)
    with ExitStack() as stack:
        workers = start_workers(stack, sides)
        turns = Turns(workers, sides, request.seconds)
        failed: dict[str, str] = {} if "peer" in workers else {"peer": NO_PEER}
        compared = [name for name in sides if len(name.split()) == 2 and name.split()[0] in workers]
        reports = in_rounds(turns, compared, AGAIN_SHARE * request.seconds, failed)
        size = options.size.window
        yield from (
            row | {"paper": PAPER_EPOCH}
            for row in compared_rows(options, what, size, reports, GOALS, times=VOLUMES)
        )
        alone = {name: reports[name] for name in reports if name == "ours bf16"}
        for name in sides:
            if name not in compared and name.split()[0] in workers:
                alone |= in_rounds(turns, [name], 0.0, failed)
        yield from changed_rows(options, what, alone, reports)
        yield from memory_rows(options, {**reports, **alone})
        for name, why in failed.items():
            kind = "skipped" if why == NO_PEER else "failed"
            yield result_row(options, f"{what}: {name}", size, None, **{kind: why})


def training_sides(options: Options) -> dict[str, Side]:
    """Return all sides by name: `ours` or `peer`, the precision, and the changed setting if there is one."""
    size = replace(options.size, scans=4 if options.quick else SCANS)
    schedule = QUICK_SCHEDULE if options.quick else SCHEDULE
    arguments = options.child(size, **schedule, limit_s=TIMED_S)
    sides = {}
    for precision in reversed(PRECISIONS):
        own = {**arguments, "precision": precision}
        sides[f"ours {precision}"] = Side(call="ours.update_seconds", arguments=own)
        beside = {**own, "workers": PEER_WORKERS[options.device]}
        sides[f"peer {precision}"] = Side(call="peer.update_seconds", arguments=beside)
    bf16, float32 = sides["ours bf16"], sides["ours float32"]
    for name, train in SOURCES.items():
        sides[f"ours bf16 {name}"] = replace(bf16, arguments={**bf16.arguments, "train": train})
    for side, precision in ((bf16, "bf16"), (float32, "float32")):
        sides[f"ours {precision} {REPRODUCIBLE}"] = replace(
            side, arguments={**side.arguments, "reproducible": True}
        )
    return sides


def start_workers(stack: ExitStack, sides: Mapping[str, Side]) -> dict[str, Worker]:
    """Start a process for ours and, if MONAI is installed, one for the peer; both start at the same time."""
    owners = {name.split()[0] for name in sides}
    if importlib.util.find_spec("monai") is None:
        owners.discard("peer")
    return {owner: stack.enter_context(Worker()) for owner in sorted(owners)}


def in_rounds(
    turns: Turns, names: list[str], again_s: float, failed: dict[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Call every side in turn, and again if the first round took less than `again_s` seconds.

    A side that fails is not called again; `failed` gives the reason. The times go to the log at once.
    """
    reports: dict[str, list[dict[str, Any]]] = {}
    begin = time.monotonic()
    for number in range(2):
        if number == 1 and time.monotonic() - begin > again_s:
            break
        for name in (name for name in names if name not in failed):
            try:
                report = turns.call(name, CALL_LIMIT_S)
                print(name, *(f"{seconds:.4g}" for seconds in report["seconds"]), "s", file=sys.stderr)
                reports.setdefault(name, []).append(report)
            except SideFailedError as error:
                failed[name] = str(error)
    return reports


def memory_rows(options: Options, reports: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the peak memory of training at batch 1 in each precision, as reserved by torch on a CUDA device.

    Ours runs in reproducible mode, the default: otherwise cuDNN uses additional memory to try kernels.
    """
    if options.device != "cuda":
        return
    gb = {name: max(report["device_gb"] for report in found) for name, found in reports.items()}
    for precision in PRECISIONS:
        ours, peer = gb.get(f"ours {precision} {REPRODUCIBLE}"), gb.get(f"peer {precision}")
        values = {"unit": "gb", "ours": ours, "peer": peer, "goals": MEMORY_GOALS}
        if ours:
            yield result_row(options, "peak memory of training", options.size.window, precision, **values)


def changed_rows(
    options: Options,
    what: str,
    alone: Mapping[str, list[dict[str, Any]]],
    reports: Mapping[str, list[dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """Yield the epoch with each change, the ratio of its time to the unchanged one's, and the share of data."""
    epoch_s = {name: VOLUMES * median_s(found) for name, found in {**reports, **alone}.items()}
    for name in (name for name in alone if len(name.split()) > 2):
        _, precision, change = name.split(maxsplit=2)
        plain = epoch_s.get(f"ours {precision}")
        more = {"default_s": plain, "time_ratio": epoch_s[name] / plain if plain else None}
        row = result_row(
            options, f"{what}, {change}", options.size.window, precision, ours=epoch_s[name], **more
        )
        yield row | {"device_gb": max(report["device_gb"] or 0.0 for report in alone[name]) or None}
    usual, free, streamed = (epoch_s.get(f"ours bf16{more}") for more in ("", " no data", " streamed"))
    if usual and free and streamed:
        shares = {"data_share": (usual - free) / usual, "streamed_data_share": (streamed - free) / streamed}
        goals = [("data_share", "<=", 0.05)]
        yield result_row(
            options, f"{what}: what data cost", options.size.window, "bf16", goals=goals, **shares
        )
