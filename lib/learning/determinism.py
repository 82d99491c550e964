"""Torch's settings for a process: whether results are reproducible bit for bit, and the number of threads."""

import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lib.learning.memory import keep_freed_memory
from lib.processors import usable_processors

logger = logging.getLogger("osteoflow.learning")


def prepare_torch(*, reproducible: bool, threads: int) -> None:
    """Set torch up for this process. Call it once, before any work on a device.

    In reproducible mode the same seed, device and thread count give the same bits: an operation that has no
    deterministic kernel raises instead of running. Otherwise cuDNN may choose the fastest kernels by trial.

    Args:
        reproducible: the setting of that name.
        threads: the most CPU threads; fewer if the process may use fewer processors, because threads that share a
            processor wait for each other.
    """
    usable = usable_processors()
    if usable < threads:
        logger.info("%d threads were asked for; this process may use %d processors", threads, usable)
    torch.set_num_threads(min(threads, usable))
    keep_freed_memory()
    # torch.use_deterministic_algorithms does the same, but loads torch's compiler: more than a second of each job
    torch.set_deterministic_debug_mode("error" if reproducible else "default")
    # no operation here reads uninitialised memory, so torch need not fill it
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic = reproducible
    torch.backends.cudnn.benchmark = not reproducible
    torch.backends.cudnn.allow_tf32 = False  # no TF32 in place of float32; bf16 is the fast choice
    if reproducible:
        # read by cuBLAS when it starts; torch offers no other way to set it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the network compiled by torch, which is reproducible if `prepare_torch` made this process so."""
    # this call, unlike `prepare_torch`, also tells the compiler
    torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
    return torch.compile(network)
