"""The training cohort in memory: on the device while it fits, else on the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.learning.intensity import PADDING_HU
from lib.learning.windows import take_slices


@dataclass(frozen=True)
class TrainingScan:
    """One cropped scan with its reference, as the model sees it (a right hip mirrored to a left one).

    Attributes:
        scan: pseudonym.
        image_zyx: int16, HU.
        mask_zyx: uint8, 0 or 1, the same shape.
        spacing_mm_zyx: of the voxels; rotations are made in mm.
    """

    scan: str
    image_zyx: np.ndarray
    mask_zyx: np.ndarray
    spacing_mm_zyx: tuple[float, float, float]

    @property
    def bytes(self) -> int:
        """Memory of image and mask."""
        return self.image_zyx.nbytes + self.mask_zyx.nbytes


def require_usable(scans: Sequence[TrainingScan]) -> None:
    """Refuse scans that cannot form batches.

    Raises:
        TrainingError: no scan, an array of another type, or in-plane sizes that differ.
    """
    if not scans:
        raise TrainingError("nothing to train on: no scan with a reference is left for this fold")
    size_yx = scans[0].image_zyx.shape[1:]
    for scan in scans:
        if scan.image_zyx.dtype != np.int16 or scan.mask_zyx.dtype != np.uint8:
            found = f"{scan.image_zyx.dtype} and {scan.mask_zyx.dtype}"
            raise TrainingError(f"scan {scan.scan}: expected an int16 image and a uint8 mask, got {found}")
        if scan.mask_zyx.shape != scan.image_zyx.shape or scan.image_zyx.shape[1:] != size_yx:
            found = f"image {scan.image_zyx.shape}, mask {scan.mask_zyx.shape}"
            raise TrainingError(f"scan {scan.scan}: expected slices of {size_yx} voxels (y, x), got {found}")


class ScanStore:
    """Hands out batches of windows on the device, wherever the scans themselves lie."""

    def __init__(self, scans: Sequence[TrainingScan], device: torch.device, cache_gb: float) -> None:
        self._device = device
        self.on_device = sum(scan.bytes for scan in scans) <= cache_gb * 1e9
        home = device if self.on_device else torch.device("cpu")
        self._images = [torch.from_numpy(np.ascontiguousarray(scan.image_zyx)).to(home) for scan in scans]
        self._masks = [torch.from_numpy(np.ascontiguousarray(scan.mask_zyx)).to(home) for scan in scans]

    def windows(self, indices: Sequence[int], starts: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
        """Return slices `starts[i]` to `starts[i] + count` of scans `indices[i]` as one batch.

        Slices that a scan does not have are air and no mask. The copies from host memory are pinned and do
        not wait, so that the device works on one batch while the next is cut.

        Returns:
            HU (N, 1, count, y, x) int16 and mask (N, 1, count, y, x) uint8, on the device.
        """
        picks = list(zip(indices, starts, strict=True))
        images = [take_slices(self._images[index], start, count, PADDING_HU) for index, start in picks]
        masks = [take_slices(self._masks[index], start, count, 0) for index, start in picks]
        return self._send(torch.stack(images)[:, None]), self._send(torch.stack(masks)[:, None])

    def _send(self, batch: Tensor) -> Tensor:
        if batch.device.type == self._device.type:
            return batch
        return batch.pin_memory().to(self._device, non_blocking=True)
