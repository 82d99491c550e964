"""Memory of a process that trains or predicts: reuse of freed memory, its peak, and out-of-memory errors."""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lib.errors import TrainingError
from lib.learning.cuda import held_by_others

# out-of-memory messages of other libraries; cuDNN tries its plans in turn and ends with the last of these,
# which it also reports for a GPU that it does not support
MEMORY_SIGNS = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "unable to find an engine",
)
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_MAX = -1, -4  # names of malloc.h


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, if its C library is glibc; otherwise do nothing.

    By default glibc returns every large block to the system at once. The feature maps of each update then lie in
    new pages, whose first writes are slow: a third of an update's time on a CPU.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(MALLOPT_MMAP_MAX, 0)
        library.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)


def peak_memory_mb(device: torch.device) -> float:
    """Return the largest memory used so far: of the device's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource  # absent on Windows, where only CUDA training reports its memory

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def peak_memory_of(device: torch.device) -> str:
    """Return what `peak_memory_mb` measures: the memory of the `device`, or of the `process`."""
    return "device" if device.type == "cuda" else "process"


@contextmanager
def memory_explained(remedy: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, of CUDA or host, into one that says how much was requested and what helps.

    Args:
        remedy: the settings that reduce memory, as the end of a sentence.
    """
    try:
        yield
    except RuntimeError as error:
        if not (
            isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in MEMORY_SIGNS)
        ):
            raise
        others = held_by_others(str(error))
        raise TrainingError(
            f"out of memory: {_asked(str(error))} more was asked for; {remedy}{others}"
        ) from error


def _asked(message: str) -> str:
    """Return the amount that an allocator's message names, e.g. "2.00 GiB"."""
    cuda = re.search(r"[Tt]ried to allocate ([\d.]+ ?[KMGT]?i?B)", message)
    host = re.search(r"tried to allocate (\d+) bytes", message)
    if host:
        return f"{int(host[1]) / 2**30:.2f} GiB"
    return cuda[1] if cuda else "an unknown amount"
