"""One GPU for each job of a machine: a lock on the device that no other job, run or user can take meanwhile.

Snakemake counts the GPUs of one run (`--resources gpu=2`) but does not say which of them a job gets, and knows
nothing of a second run. Here a job takes a device itself: it locks (flock) a file that is named after the device's
UUID in the machine's temporary folder. The index would not do, for under SLURM every job sees its own device as
number 0. The system gives the lock back when the process ends, however it ends.

The folder is writable by everybody. A lock file is therefore never written to, never followed as a link and opened
for reading alone, which is enough for a lock; it holds nothing.
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

# not tempfile.gettempdir(), which each user may move: all users of the machine have to meet here
LOCK_FOLDER = Path("/tmp")
POLL_SECONDS = 1.0

logger = logging.getLogger("osteoflow.learning")


@dataclass(frozen=True)
class Gpu:
    """A CUDA device: its number in this process, what names it on the whole machine, its model."""

    index: int
    uuid: str
    name: str


def visible_gpus() -> list[Gpu]:
    """Return the CUDA devices that this process may use."""
    described = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(index, str(one.uuid), one.name) for index, one in enumerate(described)]


@contextmanager
def own_device(device: str, find_gpus: Callable[[], list[Gpu]] = visible_gpus) -> Iterator[None]:
    """Hold a GPU of its own for this process while the block runs, and make it the one that "cuda" means.

    Args:
        device: `train.device`. Nothing is held for cpu, or where torch finds no CUDA device.
        find_gpus: returns the devices to choose from.

    Raises:
        TrainingError: the file that a device is locked by cannot be used, or the device itself (see
            `lib.learning.cuda`), also while the block runs.
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
    """Yield a device that no other process holds; wait until one is free. It is held until the block ends.

    Raises:
        TrainingError: the file that a device is locked by cannot be used.
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
        os.close(descriptor)  # this gives the lock back


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
    """Open a lock file for reading; make it, readable by all users, where there is none.

    Raises:
        TrainingError: what stands there is no plain file, or this user may not read it.
    """
    # a kernel may refuse O_CREAT on the file of another user (fs.protected_regular), so it is given only without one
    careful = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = None
    while descriptor is None:
        try:
            descriptor = os.open(path, careful)
        except FileNotFoundError:
            with suppress(FileExistsError):
                descriptor = os.open(path, careful | os.O_CREAT | os.O_EXCL, 0o444)
                os.fchmod(descriptor, 0o444)  # whatever the umask
        except OSError as error:
            reason = "a link" if error.errno == errno.ELOOP else error.strerror
            raise _unusable(path, reason) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unusable(path, "not a plain file")
    return descriptor


def _unusable(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"{path} cannot be used as the lock of a GPU ({reason}): expected an empty plain file that everybody may "
        "read. Have its owner or the administrator of this machine remove it; it is made anew"
    )


def _is_locked_now(descriptor: int, path: Path) -> bool:
    """Lock an open file if nobody else has; return whether it is locked and still the one at `path`.

    A file that somebody removed in between protects nothing: the next process would make and lock another one.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(PermissionError):  # it may be another user's
            os.utime(descriptor)  # many machines clear their temporary folder of what is days old
        there, mine = os.stat(path, follow_symlinks=False), os.fstat(descriptor)
    except (BlockingIOError, FileNotFoundError):
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)
