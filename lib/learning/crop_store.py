"""The crops of a regression with their targets, and the way they get onto the device."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.intensity_scale import PADDING_HU, IntensityRange
from lib.learning.scan_store import Allowance, ScanStore, TrainingScan
from lib.regression_settings import RegressionCropConfig


@dataclass(frozen=True)
class TargetCrop:
    """One crop with its reference value.

    Attributes:
        scan: pseudonym.
        structure: around whose centroid it lies.
        image_zyx: int16, HU, of patient axes (LPS).
        mask_zyx: of the structure, uint8 0 or 1, the same shape.
        target: in the unit of the target's column.
    """

    scan: str
    structure: str
    image_zyx: np.ndarray
    mask_zyx: np.ndarray
    target: float


class CropStore:
    """Stores crops one at a time and returns batches of them on the device.

    Attributes:
        names: scan and structure of each crop, in the order of the indices.
        targets: of each crop, float64 (N,).
        volumes: the images and masks.
        digest: SHA-256 over names, voxels and targets.
    """

    def __init__(
        self,
        crops: Iterable[TargetCrop],
        config: RegressionCropConfig,
        device: torch.device,
        allowance: Allowance,
    ) -> None:
        """Store the crops; they are read one by one.

        Raises:
            TrainingError: a crop has another size than configured, or a target that is no number.
        """
        self._size_zyx = config.size_zyx
        self.names: list[tuple[str, str]] = []
        targets: list[float] = []

        def scans() -> Iterator[TrainingScan]:
            scale = IntensityRange(low=config.low_hu, high=config.high_hu, padding=PADDING_HU)
            for crop in crops:
                require_crop(f"scan {crop.scan}, {crop.structure}", crop.image_zyx, config)
                if not np.isfinite(crop.target):
                    raise TrainingError(
                        f"scan {crop.scan}, {crop.structure}: its reference value is {crop.target}; expected a "
                        "number. Correct the cohort table, or leave the cell empty"
                    )
                self.names.append((crop.scan, crop.structure))
                targets.append(float(crop.target))
                name, spacing_mm = f"{crop.scan}/{crop.structure}", (config.voxel_mm,) * 3
                yield TrainingScan(name, crop.image_zyx, crop.mask_zyx, spacing_mm, scale)

        self.volumes = ScanStore.within(allowance, scans(), device)
        self.targets = np.asarray(targets, dtype=np.float64)
        text = json.dumps([self.volumes.digest, targets])
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.names)

    @property
    def scans(self) -> list[str]:
        """Return each scan with a crop once."""
        return list(dict.fromkeys(scan for scan, _ in self.names))

    @property
    def structures(self) -> dict[str, int]:
        """Return the number of crops of each structure, by name."""
        return dict(sorted(Counter(structure for _, structure in self.names).items()))

    def stream(self, requests: Iterable[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield image int16 and mask uint8 (N, 1, z, y, x) of crops (indices), on the device."""
        whole = (([*indices], [0] * len(indices)) for indices in requests)
        return self.volumes.stream(whole, self._size_zyx[0])


def require_crop(name: str, image_zyx: np.ndarray, config: RegressionCropConfig) -> None:
    """Refuse a crop whose size is not the configured one.

    Raises:
        TrainingError: it has another size.
    """
    if image_zyx.shape != config.size_zyx:
        raise TrainingError(
            f"{name}: the crop has {image_zyx.shape} voxels (z, y, x); expected {config.size_zyx}, by "
            "regression.crop.size. Remove this scan's folder in results/structure_crops, so that it is cut again"
        )
