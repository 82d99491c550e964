"""Where torch computes, in which precision, and whether twice the same."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lib.errors import ConfigError, TrainingError
from lib.learning.settings import require


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A device and the precision of the convolutions on it."""

    device: torch.device
    bf16: bool

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs; weights and loss stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels last is about twice as fast on CPUs (oneDNN) and feeds bf16 tensor cores on CUDA."""
        plain = self.device.type == "cuda" and not self.bf16
        return torch.contiguous_format if plain else torch.channels_last_3d

    def describe(self) -> str:
        """Return the device's name for a record, e.g. "NVIDIA H200" or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve the settings `train.device` and `train.precision`.

    Raises:
        ConfigError: an unknown name, or CUDA is asked for and torch finds none.
    """
    require(device in ("auto", "cpu", "cuda"), "train.device", device, "auto, cpu or cuda")
    require(precision in ("auto", "float32", "bf16"), "train.precision", precision, "auto, float32 or bf16")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "train.device: cuda is asked for, but torch finds no CUDA device; "
            "use auto or cpu, or install a CUDA build of torch (make TORCH_INDEX=...)"
        )
    kind = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    bf16 = precision == "bf16" or (precision == "auto" and kind == "cuda" and torch.cuda.is_bf16_supported())
    return Compute(device=torch.device(kind), bf16=bf16)


def prepare_torch(*, reproducible: bool, threads: int) -> None:
    """Set torch up for this process: call once, before any work on a device.

    In reproducible mode the same seed, device and thread count give the same bits: an operation that has no
    deterministic kernel raises instead of running. Otherwise cuDNN may choose the fastest kernels by trial.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(reproducible)
    # no operation here reads memory it has not written, so torch need not fill it
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = reproducible
    torch.backends.cudnn.benchmark = not reproducible
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32; speed is what bf16 is for
    if reproducible:
        # read by cuBLAS when it starts; torch offers no other way to set it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def memory_explained(remedy: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, of CUDA or host, into one that says what was asked and what helps.

    Args:
        remedy: the settings that reduce the need, as the end of a sentence.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)):
            raise
        raise TrainingError(f"out of memory: {_asked(str(error))} more was asked for; {remedy}") from error


def _asked(message: str) -> str:
    """Return the amount that an allocator's message names, e.g. "2.00 GiB"."""
    cuda = re.search(r"[Tt]ried to allocate ([\d.]+ ?[KMGT]?i?B)", message)
    host = re.search(r"tried to allocate (\d+) bytes", message)
    if host:
        return f"{int(host[1]) / 2**30:.2f} GiB"
    return cuda[1] if cuda else "an unknown amount"
