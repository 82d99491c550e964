"""One GPU for each job of a machine: a lock that keeps other jobs, runs and users off the device.

Snakemake counts the GPUs of one run (`--resources gpu=2`) but does not assign them to jobs, and does not know of a
second run. A job therefore chooses a device itself: it locks (flock) a file named after the device's UUID in the
machine's temporary folder. The index cannot be used, because under SLURM every job sees its own device as number 0.
The operating system releases the lock when the process ends, even if it is killed.

All users can write to that folder. A lock file is therefore empty, never written to, opened for reading only, and
links are not followed.
"""

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.errors import TrainingError
from lib.joblog import progress
from lib.learning.cuda import cuda_explained

# not tempfile.gettempdir(), which each user may change: all users of the machine must use the same folder
LOCK_FOLDER = Path("/tmp")
POLL_SECONDS = 1.0

logger = logging.getLogger("osteoflow.learning")


@dataclass(frozen=True)
class Gpu:
    """A CUDA device: its number in this process, its UUID, its model."""

    index: int
    uuid: str
    name: str


def visible_gpus() -> list[Gpu]:
    """Return the CUDA devices that this process may use."""
    described = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(index, str(one.uuid), one.name) for index, one in enumerate(described)]


@contextmanager
def own_device(device: str, find_gpus: Callable[[], list[Gpu]] = visible_gpus) -> Iterator[None]:
    """Reserve a GPU for this process while the block runs, and make it the device that "cuda" means.

    Args:
        device: `train.device`. Nothing is reserved for cpu, or if torch finds no CUDA device.
        find_gpus: returns the devices to choose from.

    Raises:
        TrainingError: the lock file of a device cannot be used, or the device cannot (see `lib.learning.cuda`), also
            while the block runs.
    """
    with cuda_explained():
        gpus = [] if device == "cpu" else find_gpus()
        if not gpus:
            yield
            return
        with one_of(gpus, LOCK_FOLDER) as gpu:
            torch.cuda.set_device(gpu.index)
            yield


@contextmanager
def one_of(gpus: Sequence[Gpu], folder: Path) -> Iterator[Gpu]:
    """Wait for a device that no other process holds, yield it, and hold it until the block ends.

    Raises:
        TrainingError: the lock file of a device cannot be used.
    """
    begin = time.monotonic()
    taken = _take_free(gpus, folder)
    if taken is None:
        progress("all %d GPUs of this machine are taken by other jobs; waiting until one is free", len(gpus))
    while taken is None:
        time.sleep(POLL_SECONDS)
        taken = _take_free(gpus, folder)
    gpu, descriptor = taken
    try:
        logger.info(
            "took GPU %d (%s, UUID %s) after %.0f s",
            gpu.index, gpu.name, gpu.uuid, time.monotonic() - begin,
        )  # fmt: skip
        yield gpu
    finally:
        os.close(descriptor)  # this releases the lock


def _take_free(gpus: Sequence[Gpu], folder: Path) -> tuple[Gpu, int] | None:
    """Return the first device that is free, and the descriptor that holds its lock; None if all are taken."""
    for gpu in gpus:
        path = folder / f"osteoflow-gpu-{gpu.uuid}.lock"
        descriptor = _open_lock(path)
        if _is_locked_now(descriptor, path):
            return gpu, descriptor
        os.close(descriptor)
    return None


def _open_lock(path: Path) -> int:
    """Open a lock file for reading; create it, readable by all users, if it does not exist.

    Raises:
        TrainingError: it is not a plain file, or this user may not read it.
    """
    # a kernel may refuse O_CREAT on the file of another user (fs.protected_regular), so open without it first
    careful = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = None
    while descriptor is None:
        try:
            descriptor = os.open(path, careful)
        except FileNotFoundError:
            with suppress(FileExistsError):
                descriptor = os.open(path, careful | os.O_CREAT | os.O_EXCL, 0o444)
                os.fchmod(descriptor, 0o444)  # independent of the umask
        except OSError as error:
            reason = "a link" if error.errno == errno.ELOOP else error.strerror
            raise _unusable(path, reason) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unusable(path, "not a plain file")
    return descriptor


def _unusable(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"{path} cannot be used as the lock of a GPU ({reason}): expected an empty plain file that all users may "
        "read. Ask its owner or the administrator of this machine to remove it; it will be created again"
    )


def _is_locked_now(descriptor: int, path: Path) -> bool:
    """Lock an open file if it is free; return whether it is locked and still the file at `path`.

    A file that was removed in between protects nothing: the next process would create and lock another one.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(PermissionError):  # the file may belong to another user
            os.utime(descriptor)  # many machines delete old files from their temporary folder
        there, mine = os.stat(path, follow_symlinks=False), os.fstat(descriptor)
    except (BlockingIOError, FileNotFoundError):
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
