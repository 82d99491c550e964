"""Explanations of torch's CUDA errors: why it finds no GPU, and why a GPU that it finds cannot be used."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lib.errors import TrainingError
from lib.joblog import progress

OTHER_BUILD = "make setup TORCH_INDEX=URL, after .venv was removed"
DRIVER_OLD = (
    "the NVIDIA driver is too old for PyTorch {torch}{versions}. Renew the driver, or take a PyTorch build for an "
    f"older CUDA ({OTHER_BUILD})"
)
# words in torch's errors, and what they mean; the first match counts
NO_GPU = {
    "not compiled with CUDA": (
        f"PyTorch {{torch}} is a build for CPUs. Install one for your CUDA version ({OTHER_BUILD})"
    ),
    "driver on your system is too old": DRIVER_OLD,
    "Found no NVIDIA driver": "there is no NVIDIA driver here. Install it, or train where there is a GPU",
    "No CUDA GPUs are available": (
        "no GPU is visible to this job. Ask the scheduler for one, and check CUDA_VISIBLE_DEVICES"
    ),
}
UNUSABLE_GPU = {
    "busy or unavailable": (
        "the GPU accepts no further process: it is in exclusive use or has failed. Wait for the process that "
        "nvidia-smi shows, or choose another GPU with CUDA_VISIBLE_DEVICES"
    ),
    "no kernel image is available": (
        f"PyTorch {{torch}} does not support this GPU. Install a build that does ({OTHER_BUILD})"
    ),
    "driver version is insufficient": DRIVER_OLD,
    "compiled with an unsupported toolchain": DRIVER_OLD,
    "system not yet initialized": (
        "the GPUs of this machine are not ready. Ask its administrator to start NVIDIA's Fabric Manager"
    ),
    "uncorrectable ECC error": (
        "the GPU reports damaged memory. Choose another GPU with CUDA_VISIBLE_DEVICES, and tell the administrator"
    ),
}
DEVICE_FILES = "nvidia[0-9]*"  # in /dev: one for each GPU that this process may use


def why_no_gpu() -> str:
    """Return why torch finds no CUDA device and what to do about it; empty where it finds one."""
    if torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()  # unlike is_available, this gives the reason
    except (RuntimeError, AssertionError) as error:
        return explain_cuda_error(str(error)) or f"torch says: {_first_line(str(error))}"
    return ""


def warn_of_unused_gpu(devices: Path = Path("/dev")) -> None:
    """Warn on the terminal if this machine has a GPU that torch cannot use: the CPU would take weeks.

    Args:
        devices: the folder of device files.
    """
    reason = why_no_gpu()
    if reason and any(devices.glob(DEVICE_FILES)):
        progress("this machine has a GPU, but the CPU is used: %s", reason)


@contextmanager
def cuda_explained() -> Iterator[None]:
    """Turn CUDA errors that a user can fix into one that says how; other errors pass.

    Raises:
        TrainingError: the GPU is in exclusive use or has failed, or the driver or build does not support it.
    """
    try:
        yield
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:
        reason = explain_cuda_error(str(error))
        if not reason:
            raise
        raise TrainingError(reason) from error


def explain_cuda_error(message: str) -> str:
    """Return what torch's error message about CUDA means and what to do; empty for an unknown message."""
    meaning = next((text for words, text in {**NO_GPU, **UNUSABLE_GPU}.items() if words in message), "")
    return meaning.format(torch=torch.__version__, versions=_cuda_versions(message))


def held_by_others(message: str) -> str:
    """Return, for the end of a sentence, which other processes hold GPU memory; empty if the message names none.

    Args:
        message: of `torch.OutOfMemoryError`.
    """
    held = re.findall(r"Process (\d+) has ([\d.]+ [KMGT]?i?B) memory in use", message)
    if not held:
        return ""
    holders = ", ".join(f"process {number} {amount}" for number, amount in held)
    return (
        f". Other processes hold memory of this GPU ({holders}): "
        "wait for them, or choose another GPU with CUDA_VISIBLE_DEVICES"
    )


def _cuda_versions(message: str) -> str:
    """Return the CUDA versions of driver and build, in brackets, where the message names the driver's (12020)."""
    found = re.search(r"found version (\d+)", message)
    if not found:
        return ""
    number = int(found[1])
    return f" (it supports CUDA {number // 1000}.{number % 1000 // 10}, PyTorch is built for {torch.version.cuda})"


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]
