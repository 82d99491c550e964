"""Validation during training: whole scans predicted with the current weights, and their scores."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lib.learning.compute import Compute
from lib.learning.intensity import to_intensity
from lib.learning.predict import Network, predict_volume
from lib.learning.recipe import FoldSettings, TrainConfig
from lib.learning.scan_store import ScanStore
from lib.learning.windows import WindowLayout


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Result of one validation scan: its Dice, and the shares of its voxels that are bone."""

    scan: str
    dice: float
    predicted_share: float
    reference_share: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation scans of a fold and how they are predicted."""

    scans: ScanStore
    settings: FoldSettings
    compute: Compute

    def validate(self, network: Network, heed: Callable[[], None]) -> list[Validated]:
        """Return `network`'s result for each whole scan, at probability 0.5; `heed` is called before each window."""
        layout = WindowLayout(
            window=self.settings.train.window_slices,
            step=self.settings.train.validate_step,
            z_padding=self.settings.predict.z_padding,
            batch=self.settings.predict.batch_windows,
        )

        def predictor(windows: Tensor) -> Tensor:
            heed()
            return network(windows)

        return [self._find(index, predictor, layout) for index in range(len(self.scans.scans))]

    def _find(self, index: int, predictor: Network, layout: WindowLayout) -> Validated:
        image, mask = self.scans.volume(index)
        intensity = to_intensity(image, self.scans.scans[index].intensity)
        predicted = predict_volume([predictor], intensity, layout, self.compute) >= 0.5
        return compare_scan(self.scans.scans[index].scan, mask > 0, predicted)


def compare_scan(scan: str, reference: Tensor, predicted: Tensor) -> Validated:
    """Compare two masks (z, y, x) in bool of one scan; two empty ones have a Dice of 1."""
    shared = (predicted & reference).sum().item()
    found, wanted = predicted.sum().item(), reference.sum().item()
    total = found + wanted
    return Validated(
        scan=scan,
        dice=2 * shared / total if total else 1.0,
        predicted_share=found / reference.numel(),
        reference_share=wanted / reference.numel(),
    )


def is_validated(config: TrainConfig, epoch: int) -> bool:
    """Tell whether the scans are predicted after an epoch, counted from 1."""
    return epoch % config.validate_every == 0 or epoch == config.epochs


def mean_dice(found: Sequence[Validated]) -> float | None:
    """Return the mean Dice over the scans; None where none was predicted."""
    return float(np.mean([scan.dice for scan in found])) if found else None


def bone_share(found: Sequence[Validated]) -> float | None:
    """Return the mean share of voxels predicted as bone, over scans with a reference; None where there is none."""
    bone = [scan.predicted_share for scan in found if scan.reference_share > 0]
    return math.fsum(bone) / len(bone) if bone else None


def worst_scan(found: Sequence[Validated]) -> Validated:
    """Return the (first) scan with the lowest Dice."""
    return min(found, key=lambda scan: scan.dice)
