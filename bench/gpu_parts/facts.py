"""Describe the device and its machine, and measure its rates of matrix products and copies."""

import os
import platform
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from common import Options, processor_name, result_row
from gpu_part import Request
from profiling import matrix_tflops, times_s
from wheels import installed_version

MATRIX_EDGE = {"cpu": 2048, "cuda": 8192}
QUICK_EDGE = 256
COPY_MB = {"cpu": 256, "cuda": 2048}
NVIDIA_SMI = ("driver_version", "compute_mode", "power.limit", "clocks.max.sm")


def measure(options: Options, request: Request) -> Iterator[dict[str, Any]]:
    """Yield the machine, matrix rates and copy rates."""
    yield result_row(options, "machine", "–", None, **machine(options))
    yield from matrix_rates(options)
    yield from copy_rates(options)


def machine(options: Options) -> dict[str, Any]:
    """Return versions, processor and, for a CUDA device, what torch and nvidia-smi report."""
    found = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **{name: installed_version(name) for name in ("numpy", "scipy", "simpleitk")},
    }
    if options.device == "cuda":
        device = torch.cuda.get_device_properties(0)
        found |= {
            "compute_capability": f"{device.major}.{device.minor}",
            "memory_gb": device.total_memory / 1e9,
            **asked_of_driver(),
        }
    return found


def asked_of_driver() -> dict[str, str]:
    """Return what nvidia-smi reports of the first device; empty without nvidia-smi or a device."""
    command = ["nvidia-smi", f"--query-gpu={','.join(NVIDIA_SMI)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(NVIDIA_SMI, map(str.strip, done.stdout.split(",")), strict=False))


def matrix_rates(options: Options) -> Iterator[dict[str, Any]]:
    """Yield the rate of a product of large random matrices in each precision."""
    edge = QUICK_EDGE if options.quick else MATRIX_EDGE[options.device]
    kinds = {"bf16": (torch.bfloat16, "highest"), "float32": (torch.float32, "highest")}
    if options.device == "cuda":
        kinds["TF32"] = (torch.float32, "high")
    for precision, (kind, allowed) in kinds.items():
        torch.set_float32_matmul_precision(allowed)
        rate = matrix_tflops(edge, kind, options.device)
        yield result_row(options, "matrix product", f"{edge} x {edge}", precision, matrix_tflops=rate)


def copy_rates(options: Options) -> Iterator[dict[str, Any]]:
    """Yield the rates of copies within the device (bytes read and written) and from pinned host memory to it."""
    size_mb = 1 if options.quick else COPY_MB[options.device]
    source = torch.ones(size_mb * 10**6, dtype=torch.uint8, device=options.device)
    target = torch.empty_like(source)
    seconds = float(np.median(times_s(lambda: target.copy_(source), options.device)))
    size = f"{size_mb} MB"
    yield result_row(options, "copy within the device", size, None, gb_per_s=2 * size_mb / 1e3 / seconds)
    if options.device == "cuda":
        pinned = torch.ones(source.shape, dtype=torch.uint8).pin_memory()
        seconds = float(np.median(times_s(lambda: target.copy_(pinned, non_blocking=True), "cuda")))
        yield result_row(
            options, "copy from pinned host memory", size, None, gb_per_s=size_mb / 1e3 / seconds
        )
