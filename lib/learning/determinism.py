"""Where torch computes, in which precision, and whether twice the same."""

import ctypes
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lib.errors import ConfigError, TrainingError
from lib.learning.allowed_values import require
from lib.learning.cuda import held_by_others, warn_of_unused_gpu, why_no_gpu
from lib.learning.vnet import VNet
from lib.processors import usable_processors

# how other libraries say that memory has run out; cuDNN tries its plans in turn and ends with the last of these,
# which it also says of a GPU that it does not support
MEMORY_SIGNS = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "unable to find an engine",
)
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_MAX = -1, -4  # names of malloc.h

logger = logging.getLogger("osteoflow.learning")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A device and the precision of the convolutions on it."""

    device: torch.device
    bf16: bool
    layout: str = "auto"

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs; weights and loss stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @property
    def precision(self) -> str:
        """The name of the precision, as `train.precision` has it."""
        return "bf16" if self.bf16 else "float32"

    def place(self, network: VNet) -> VNet:
        """Move a network to the device, in the layout that `train.memory_layout` asks for.

        `auto` is channels last (what oneDNN on CPUs and bf16 tensor cores want, see bench/README.md), except in
        float32 on CUDA.
        """
        plain = self.layout == "plain" or (
            self.layout == "auto" and self.device.type == "cuda" and not self.bf16
        )
        last = torch.channels_last_3d if network.config.dimensions == 3 else torch.channels_last
        layout = torch.contiguous_format if plain else last
        return network.to(self.device, memory_format=layout)

    def describe(self) -> str:
        """Return the device's name for a record, e.g. "NVIDIA H200" or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type


def choose_compute(device: str = "auto", precision: str = "auto", layout: str = "auto") -> Compute:
    """Resolve the settings `train.device`, `train.precision` and `train.memory_layout`.

    A CUDA device is torch's current one, by its number (see `lib.learning.devices`). The precision `auto` is bf16
    where the device computes in it: CUDA since Ampere, CPUs with AVX512-BF16 or AMX.

    Raises:
        ConfigError: an unknown name, or CUDA is asked for and torch finds none.
    """
    require(device in ("auto", "cpu", "cuda"), "train.device", device, "auto, cpu or cuda")
    require(precision in ("auto", "float32", "bf16"), "train.precision", precision, "auto, float32 or bf16")
    layouts = ("auto", "channels_last", "plain")
    require(layout in layouts, "train.memory_layout", layout, "auto, channels_last or plain")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"train.device: cuda is asked for, but torch finds no CUDA device: {why_no_gpu()}")
    if device == "auto":
        warn_of_unused_gpu()
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    bf16 = precision == "bf16" or (precision == "auto" and _computes_in_bf16(kind))
    index = torch.cuda.current_device() if kind == "cuda" else None
    return Compute(device=torch.device(kind, index), bf16=bf16, layout=layout)


def _computes_in_bf16(kind: str) -> bool:
    """Tell whether a kind of device has bf16 arithmetic of its own; emulated it is slower than float32."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def prepare_torch(*, reproducible: bool, threads: int) -> None:
    """Set torch up for this process: call once, before any work on a device.

    In reproducible mode the same seed, device and thread count give the same bits: an operation that has no
    deterministic kernel raises instead of running. Otherwise cuDNN may choose the fastest kernels by trial.

    Args:
        reproducible: as the setting of that name.
        threads: of the CPU, at most; fewer where the process may use fewer processors, since threads that share one
            wait for each other.
    """
    usable = usable_processors()
    if usable < threads:
        logger.info("%d threads were asked for; this process may use %d processors", threads, usable)
    torch.set_num_threads(min(threads, usable))
    keep_freed_memory()
    torch.use_deterministic_algorithms(reproducible)
    # no operation here reads memory it has not written, so torch need not fill it
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = reproducible
    torch.backends.cudnn.benchmark = not reproducible
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32; speed is what bf16 is for
    if reproducible:
        # read by cuBLAS when it starts; torch offers no other way to set it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where its C library is glibc; elsewhere do nothing.

    By default glibc takes every large block from the system and gives it back at once. The feature maps of each
    update then come as untouched pages, whose first writes are slow: a third of an update's time on a CPU.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(MALLOPT_MMAP_MAX, 0)
        library.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def memory_explained(remedy: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, of CUDA or host, into one that says what was asked and what helps.

    Args:
        remedy: the settings that reduce the need, as the end of a sentence.
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
