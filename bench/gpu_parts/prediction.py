"""Time the prediction of a scan of 60 slices, ours against MONAI with the same weights; profile a forward pass."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import PRECISIONS, WINDOW, Options, Side, compared_rows, result_row
from forward_share import MATRIX_EDGE, forward_row
from gpu_part import Request
from predict_scan import GOALS, PEER_WINDOWS, largest_difference
from workers import SideFailedError, Turns

from gpu_parts.training import AGAIN_SHARE, NO_PEER, in_rounds, start_workers

SLICES = 60
REPEATS = {"cpu": 1, "cuda": 5}
FORWARD_LIMIT_S = 20.0
PAPER_SCAN = "15 s (Zhao et al. 2020, Titan V)"
WINDOWS_AT_ONCE = (1, 4)  # batch sizes of the forward pass


def measure(options: Options, request: Request) -> Iterator[dict[str, Any]]:
    """Yield the prediction in both precisions beside the peer's, then the shares of a forward pass."""
    size = replace(options.size, slices=WINDOW + 2 if options.quick else SLICES)
    text = f"{size.inplane} x {size.inplane} x {size.slices}, {size.slices - WINDOW + 1} windows"
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        sides = prediction_sides(options, asdict(size), folder)
        workers = start_workers(stack, sides)
        failed = {} if "peer" in workers else {"peer": NO_PEER}
        turns = Turns(workers, sides, request.seconds)
        turns.call("ours case", request.seconds)
        compared = [name for name in sides if name != "ours case" and name.split()[0] in workers]
        reports = in_rounds(turns, compared, AGAIN_SHARE * request.seconds, failed)
        maps = {name: np.load(folder / f"{name}.npy") for name in reports}
        for row in compared_rows(options, "prediction of a scan", text, reports, GOALS["cuda"]):
            pair = maps[f"ours {row['precision']}"], maps.get("peer float32")
            differs = {} if pair[1] is None else {"largest_difference": largest_difference(*pair)}
            yield row | differs | {"paper": PAPER_SCAN}
        yield from forward_rows(options, turns, failed)
    for name, why in failed.items():
        kind = "skipped" if why == NO_PEER else "failed"
        yield result_row(options, f"prediction of a scan: {name}", text, None, **{kind: why})


def prediction_sides(options: Options, size: dict[str, Any], folder: Path) -> dict[str, Side]:
    """Return the side that writes weights and scan, then ours and the peer's in each precision."""
    case = {"weights": str(folder / "weights.pt"), "scan": str(folder / "scan.npy")}
    sides = {"ours case": Side(call="ours.write_case", arguments={"size": size, **case})}
    repeats = REPEATS[options.device]
    for precision in reversed(PRECISIONS):
        for who, more in (("ours", {}), ("peer", {"batch_windows": PEER_WINDOWS[options.device]})):
            name = f"{who} {precision}"
            arguments = {"size": size, "device": options.device, "threads": options.threads}
            arguments |= {"precision": precision, "repeats": repeats, "result": str(folder / f"{name}.npy")}
            sides[name] = Side(call=f"{who}.predict_seconds", arguments={**arguments, **case, **more})
    return sides


def forward_rows(options: Options, turns: Turns, failed: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the share of the matrix rate that the forward pass in bf16 reaches, and where its time goes."""
    edge = 256 if options.quick else MATRIX_EDGE[options.device]
    for batch in WINDOWS_AT_ONCE[: 1 if options.quick else 2]:
        arguments = options.child(options.size, precision="bf16", batch=batch, edge=edge)
        name = f"ours forward pass, {batch} at once"
        turns.sides[name] = Side(call="profiling.forward_pass", arguments=arguments)
        try:
            yield forward_row(options, "bf16", batch, turns.call(name, FORWARD_LIMIT_S))
        except SideFailedError as error:
            failed[name] = str(error)
