"""Storage for the voxels of a cohort: device memory, host memory or a file, the first with enough room."""

import math
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.errors import TrainingError

ALIGNMENT = 64  # bytes; where a scan begins in the file


class InMemory:
    """Volumes in the memory of one device."""

    def __init__(self, home: torch.device) -> None:
        self._home = home
        self._pairs: deque[tuple[Tensor, Tensor]] = deque()

    def append(self, image: Tensor, labels: Tensor) -> None:
        """Keep these volumes; they are copied only if they are on another device."""
        self._pairs.append((image.to(self._home), labels.to(self._home)))

    def drain(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand the volumes out in order and forget each."""
        while self._pairs:
            yield self._pairs.popleft()

    def volumes(self) -> list[tuple[Tensor, Tensor]]:
        """Return image and labels of each scan."""
        return list(self._pairs)


class InFile:
    """Volumes in one memory-mapped file without a name, which disappears when the process ends or is killed.

    Raises:
        TrainingError: the folder cannot be made or written to, or its disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: list[tuple[int, torch.Size]] = []  # first byte and shape (z, y, x)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, lives as long as this
        except OSError as error:
            raise self._explained(error) from error

    def append(self, image: Tensor, labels: Tensor) -> None:
        """Append the volumes (int16 and uint8, contiguous)."""
        self._places.append((self._file.tell(), image.shape))
        padding = bytes(-(image.nbytes + labels.nbytes) % ALIGNMENT)
        try:
            for part in (image.cpu().numpy(), labels.cpu().numpy(), padding):
                self._write_all(part)
        except OSError as error:
            raise self._explained(error) from error

    def volumes(self) -> list[tuple[Tensor, Tensor]]:
        """Return image and labels of each scan, memory-mapped: read from the disk on access."""
        # "r+" only because torch warns about read-only memory; it is never written to
        content = torch.from_numpy(np.memmap(self._file, np.uint8, "r+"))
        return [self._mapped(content, first, shape) for first, shape in self._places]

    @staticmethod
    def _mapped(content: Tensor, first: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        voxels = math.prod(shape)
        image, labels = content[first : first + 3 * voxels].split([2 * voxels, voxels])
        return image.view(torch.int16).view(shape), labels.view(shape)

    def _write_all(self, part: np.ndarray | bytes) -> None:
        """Write everything: one call of the system takes 2 GiB at most, and less when the disk fills up."""
        rest = memoryview(part).cast("B")
        while rest:
            rest = rest[self._file.write(rest) :]

    def _explained(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"the cohort does not fit into memory and could not be written to {self._folder}: {error.strerror}; "
            "allow more memory (train.host_cache_gb) or free space on that disk"
        )


class VolumeStorage:
    """Stores volumes one by one, and moves them to the next place, one by one, when they outgrow the current one.

    Attributes:
        placement: "device", "host" or "file".
        bytes: of all images and labelss so far.
    """

    def __init__(self, device: torch.device, *, device_gb: float, host_gb: float, spill_folder: Path) -> None:
        self._places = iter(
            [
                ("device", device_gb * 1e9, lambda: InMemory(device)),
                ("host", host_gb * 1e9, lambda: InMemory(torch.device("cpu"))),
                ("file", math.inf, lambda: InFile(spill_folder)),
            ]
        )
        self.bytes = 0
        self.placement, self._limit, make = next(self._places)
        self._shelf: InMemory | InFile = make()

    def append(self, image: Tensor, labels: Tensor) -> None:
        """Keep image and labels of one scan; they belong to the storage from now on."""
        self.bytes += image.nbytes + labels.nbytes
        if self.bytes > self._limit:
            self._move_on()
        self._shelf.append(image, labels)

    def volumes(self) -> list[tuple[Tensor, Tensor]]:
        """Return image and labels of each scan, in the order they came."""
        return self._shelf.volumes()

    def _move_on(self) -> None:
        outgrown = self._shelf
        while self.bytes > self._limit:
            self.placement, self._limit, make = next(self._places)
        self._shelf = make()
        for image, labels in outgrown.drain():
            self._shelf.append(image, labels)
