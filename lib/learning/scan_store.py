"""The training scans, in device memory, host memory or a file, and the way their windows get onto the device."""

import hashlib
import json
import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.intensity_scale import IntensityRange
from lib.learning.staging import Batch, Copy, CudaSender, Staging, one_ahead
from lib.learning.storage import VolumeStorage
from lib.learning.windows import copy_slices

Request = tuple[Sequence[int], Sequence[int]]  # scans (indices) and first slices of a batch of windows


@dataclass(frozen=True)
class TrainingScan:
    """One cropped scan with its reference, as the model sees it (a right hip mirrored to a left one).

    Attributes:
        scan: pseudonym.
        image_zyx: int16; HU for CT.
        labels_zyx: its reference, uint8, the same shape: 0 and the labels 1...n of the structures.
        spacing_mm_zyx: of the voxels; rotations are made in mm.
        intensity: the image's intensity range.
    """

    scan: str
    image_zyx: np.ndarray
    labels_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]
    intensity: IntensityRange


@dataclass(frozen=True)
class StoredScan:
    """A scan's data without its voxels."""

    scan: str
    shape_zyx: tuple[int, int, int]
    spacing_mm_zyx: tuple[float, float, float]
    intensity: IntensityRange


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """Where voxels may be kept: 1e9 bytes of the device and of the host, and a folder for the rest."""

    device_gb: float
    host_gb: float
    spill_folder: Path

    def without(self, store: "ScanStore") -> "Allowance":
        """Return what is left beside the voxels of a store."""
        taken = {store.placement: store.bytes / 1e9}
        return replace(
            self,
            device_gb=max(self.device_gb - taken.get("device", 0.0), 0.0),
            host_gb=max(self.host_gb - taken.get("host", 0.0), 0.0),
        )


class ScanStore:
    """Stores scans one at a time and returns windows of them on the device, wherever the scans are kept.

    Attributes:
        scans: the stored scans, in the order of the indices.
        shares: share of each scan's voxels that has each label from 1 to the scan's highest.
        placement: where the voxels are kept: "device", "host" or "file".
        bytes: of all images and references.
        digest: SHA-256 over names, shapes, spacings, intensity ranges and voxels.
    """

    @classmethod
    def within(cls, allowance: Allowance, scans: Iterable[TrainingScan], device: torch.device) -> "ScanStore":
        """Return a store whose voxels are kept where an allowance has room for them; see `__init__`."""
        return cls(
            scans,
            device,
            device_gb=allowance.device_gb,
            host_gb=allowance.host_gb,
            spill_folder=allowance.spill_folder,
        )

    def __init__(
        self,
        scans: Iterable[TrainingScan],
        device: torch.device,
        *,
        device_gb: float,
        host_gb: float,
        spill_folder: Path,
    ) -> None:
        """Store the scans in the first of three places that has room for all of them.

        Args:
            scans: read one by one, so that a generator's scans are never in memory twice.
            device: where windows are needed. With a CPU, device memory and host memory are the same.
            device_gb: device memory that they may use, in 1e9 bytes.
            host_gb: host memory that they may use, in 1e9 bytes.
            spill_folder: where a larger cohort is written to an unnamed temporary file.

        Raises:
            TrainingError: an array of another type, in-plane sizes that differ, or no room in memory or for the file.
        """
        self._device = device
        storage = VolumeStorage(device, device_gb=device_gb, host_gb=host_gb, spill_folder=spill_folder)
        digest, stored, shares = hashlib.sha256(), [], []
        for scan in scans:
            stored.append(_described(scan))
            _require_usable(scan, stored[0].shape_zyx[1:])
            image, labels = _own_copy(scan.image_zyx), _own_copy(scan.labels_zyx)
            for part in (json.dumps(asdict(stored[-1])).encode(), image, labels):
                digest.update(part)
            shares.append(_label_shares(labels))
            storage.append(torch.from_numpy(image), torch.from_numpy(labels))
        self.scans, self.shares = tuple(stored), tuple(shares)
        self.placement, self.bytes, self.digest = storage.placement, storage.bytes, digest.hexdigest()
        self._volumes = storage.volumes()
        self._home = device if self.placement == "device" else torch.device("cpu")

    def volume(self, index: int) -> tuple[Tensor, Tensor]:
        """Return image int16 and labels uint8 (z, y, x) of a scan, on the device. Do not change them in place."""
        image, labels = self._volumes[index]
        return image.to(self._device), labels.to(self._device)

    def windows(self, indices: Sequence[int], starts: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
        """Return slices `starts[i]` to `starts[i] + count` of scans `indices[i]` as one batch.

        Slices beyond the ends of a scan hold its padding, labelled as background.

        Returns:
            image (N, 1, count, y, x) int16 and labels (N, 1, count, y, x) uint8, on the device.
        """
        image, labels = batch = self._empty(len(indices), count)
        self._gather((indices, starts), batch)
        return image.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)

    def stream(self, requests: Iterable[Request], count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `windows` returns for each of `requests` (indices, starts), in order.

        Scans that are not on the device are cut and copied by a background thread while the device works on the
        previous batch. The thread ends with the iterator.
        """
        if self._home == self._device:
            for indices, starts in requests:
                yield self.windows(indices, starts, count)
            return
        yield from self.staged(requests, count, CudaSender(self._device))

    def staged(
        self, requests: Iterable[Request], count: int, send: Callable[[Batch], Copy]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Do what `stream` does for scans in host memory; `send` starts the copy of a batch to the device."""
        staging = Staging(lambda windows: self._empty(windows, count), send)

        def load(request: Request) -> Copy:
            return staging.load(len(request[0]), lambda batch: self._gather(request, batch))

        for copy in one_ahead(requests, load):
            yield copy.receive()

    def _empty(self, windows: int, count: int) -> tuple[Tensor, Tensor]:
        """Return memory for a batch, next to the volumes; pinned if it will be copied to a device."""
        shape = (windows, 1, count, *self.scans[0].shape_zyx[1:])
        pinned = self._home != self._device
        image, labels = (
            torch.empty(shape, dtype=kind, device=self._home, pin_memory=pinned)
            for kind in (torch.int16, torch.uint8)
        )
        return image, labels

    def _gather(self, request: Request, batch: Batch) -> None:
        """Copy the windows of `request` into the rows of `batch`."""
        for index, start, image, labels in zip(*request, *batch, strict=True):
            volume, reference = self._volumes[index]
            copy_slices(volume, start, image[0], self.scans[index].intensity.padding)
            copy_slices(reference, start, labels[0], 0)


def _described(scan: TrainingScan) -> StoredScan:
    spacing_mm_zyx = tuple(float(spacing) for spacing in scan.spacing_mm_zyx)
    return StoredScan(scan.scan, scan.image_zyx.shape, spacing_mm_zyx, scan.intensity)


def _own_copy(array: np.ndarray) -> np.ndarray:
    """Return a contiguous copy in memory pages of its own.

    The array may be a view that keeps a larger one in memory. A copy in ordinary memory, between the many short-lived
    arrays of reading, would fragment it (by a twelfth of the cohort).
    """
    try:
        pages = mmap.mmap(-1, max(array.nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise TrainingError(
            f"out of memory: {array.nbytes / 1e6:.1f} MB more were requested to hold the cohort; "
            "lower train.host_cache_gb, so that it is written to a file"
        ) from error
    copy = np.frombuffer(pages, array.dtype, array.size).reshape(array.shape)
    copy[...] = array
    return copy


def _label_shares(labels_zyx: np.ndarray) -> tuple[float, ...]:
    """Return the share of voxels with each label from 1 to the highest."""
    labels = range(1, int(labels_zyx.max(initial=0)) + 1)
    return tuple(np.count_nonzero(labels_zyx == label) / labels_zyx.size for label in labels)


def _require_usable(scan: TrainingScan, size_yx: tuple[int, int]) -> None:
    """Refuse a scan that cannot form batches with the others, whose slices have `size_yx` voxels."""
    if scan.image_zyx.dtype != np.int16 or scan.labels_zyx.dtype != np.uint8:
        found = f"{scan.image_zyx.dtype} and {scan.labels_zyx.dtype}"
        raise TrainingError(f"scan {scan.scan}: expected an int16 image and a uint8 reference, got {found}")
    if scan.labels_zyx.shape != scan.image_zyx.shape or scan.image_zyx.shape[1:] != size_yx:
        found = f"image {scan.image_zyx.shape}, reference {scan.labels_zyx.shape}"
        raise TrainingError(f"scan {scan.scan}: expected slices of {size_yx} voxels (y, x), got {found}")
