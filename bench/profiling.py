"""Profile our network's forward pass on a device: its rate and time by operation. Runs in its own process."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from common import WINDOW, synchronize
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from lib.learning.architecture import VNetConfig
from lib.learning.compute import choose_compute
from lib.learning.determinism import prepare_torch
from lib.learning.vnet import VNet

KINDS = {  # words in the names of torch's operations
    "convolutions": ("conv",),
    "norm_activation": ("norm", "relu", "clamp", "elu", "add", "div", "mul", "sub"),
    "pooling": ("pool", "amax"),
    "copies": ("copy", "cat", "contiguous", "clone", "fill", "pad"),
}
REPEATS = {"cpu": 2, "cuda": 20}


def forward_pass(
    *, size: Mapping[str, Any], device: str, threads: int, precision: str, batch: int, edge: int
) -> dict[str, Any]:
    """Return times of the forward pass, both rates in TFLOP/s, their ratio, and the share of each kind."""
    prepare_torch(reproducible=False, threads=threads)
    compute = choose_compute(device, precision)
    network = compute.place(VNet(VNetConfig(channels=size["channels"]))).eval()
    windows = torch.rand(batch, 1, WINDOW, size["inplane"], size["inplane"], device=compute.device)

    def forward() -> None:
        with torch.inference_mode(), compute.autocast():
            network(windows)

    with FlopCounterMode(display=False) as counted:
        forward()
    seconds = times_s(forward, device)
    reached = counted.get_total_flops() / float(np.median(seconds)) / 1e12
    possible = matrix_tflops(edge, torch.bfloat16 if compute.bf16 else torch.float32, device)
    return {
        "seconds": seconds,
        "forward_tflops": reached,
        "matrix_tflops": possible,
        "matrix_share": reached / possible,
        **time_shares(forward, device),
    }


def times_s(work: Callable[[], object], device: str) -> list[float]:
    """Return the seconds of repeated calls, each timed until the device has finished."""
    work()
    seconds = []
    for _ in range(REPEATS[device]):
        synchronize(device)
        begin = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return seconds


def matrix_tflops(edge: int, kind: torch.dtype, device: str) -> float:
    """Return the measured rate of a product of two random square matrices, TFLOP/s."""
    left, right = torch.randn(2, edge, edge, device=device).to(kind)
    return 2 * edge**3 / float(np.median(times_s(lambda: left @ right, device))) / 1e12


def time_shares(work: Callable[[], object], device: str) -> dict[str, float]:
    """Return the share of `work`'s time on the device that each kind of operation takes."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profile(activities=activities) as profiled:
        work()
        synchronize(device)
    clock = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    times = [(event.key, getattr(event, clock)) for event in profiled.key_averages()]
    return shares_by_kind((name, spent) for name, spent in times if name.startswith("aten::"))


def shares_by_kind(times: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the share of each of KINDS, and of other operations, of the given times by operation.

    Empty where no time is given: a machine may deny a profiler its device's counters.
    """
    spent: Counter[str] = Counter(dict.fromkeys([*KINDS, "other"], 0.0))
    for name, amount in times:
        kinds = (kind for kind, words in KINDS.items() if any(word in name for word in words))
        spent[next(kinds, "other")] += amount
    total = spent.total()
    return {f"share_{kind}": amount / total for kind, amount in spent.items()} if total else {}
