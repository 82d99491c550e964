"""Validation during training: whole scans predicted with the current weights, and their scores."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from lib.learning.compute import Compute
from lib.learning.intensity import to_intensity
from lib.learning.labels import choose_labels
from lib.learning.predict import Network, predict_volume
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import ScanStore
from lib.learning.windows import WindowLayout, step_between


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Result of one validation scan.

    Attributes:
        scan: pseudonym.
        dice: mean over the structures that the reference or the prediction has; 1 if both are empty.
        structure_dice: Dice of each structure, in the order of the labels; None if it is in neither.
        predicted_share: share of the scan's voxels that is predicted as bone of any structure.
        reference_share: the same of the reference.
    """

    scan: str
    dice: float
    structure_dice: tuple[float | None, ...]
    predicted_share: float
    reference_share: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation scans of a fold and how they are predicted."""

    scans: ScanStore
    settings: FoldSettings
    compute: Compute

    def validate(self, network: Network, heed: Callable[[], None]) -> list[Validated]:
        """Return `network`'s result for each whole scan; `heed` is called before each batch of windows."""
        train, dimensions = self.settings.train, self.settings.architecture.dimensions
        layout = WindowLayout(
            window=train.window_slices,
            step=step_between(dimensions, train.validate_step, train.window_slices),
            z_padding=self.settings.predict.z_padding,
            batch=self.settings.predict.batch_windows,
        )

        def predictor(windows: Tensor) -> Tensor:
            heed()
            return network(windows)

        return [self._find(index, predictor, layout) for index in range(len(self.scans.scans))]

    def _find(self, index: int, predictor: Network, layout: WindowLayout) -> Validated:
        image, reference = self.scans.volume(index)
        intensity = to_intensity(image, self.scans.scans[index].intensity)
        maps = self.settings.architecture.maps
        predicted = choose_labels(predict_volume([predictor], intensity, layout, self.compute, maps))
        structures = len(self.settings.structures)
        return compare_scan(self.scans.scans[index].scan, reference, predicted, structures)


def compare_scan(scan: str, reference: Tensor, predicted: Tensor, structures: int) -> Validated:
    """Compare two label maps (z, y, x) in uint8 of one scan with labels 1...structures.

    A structure that one of the two lacks has a Dice of 0, so that bone found where there is none costs as much as
    bone that is missed (as in nnU-Net, Isensee et al. 2021); one that both lack is left out of the mean.
    """
    sizes = []
    for label in range(1, structures + 1):
        wanted, found = reference == label, predicted == label
        sizes.append(torch.stack([(wanted & found).sum(), wanted.sum(), found.sum()]))
    shared, wanted, found = zip(*torch.stack(sizes).tolist(), strict=True)
    by_structure = tuple(
        2 * both / (one + other) if one + other else None
        for both, one, other in zip(shared, wanted, found, strict=True)
    )
    present = [dice for dice in by_structure if dice is not None]
    return Validated(
        scan=scan,
        dice=fmean(present) if present else 1.0,
        structure_dice=by_structure,
        predicted_share=sum(found) / reference.numel(),
        reference_share=sum(wanted) / reference.numel(),
    )


def mean_dice(found: Sequence[Validated]) -> float | None:
    """Return the mean Dice over the scans; None where none was predicted."""
    return float(np.mean([scan.dice for scan in found])) if found else None


def mean_structure_dice(found: Sequence[Validated]) -> list[float | None]:
    """Return the mean Dice of each structure over the scans in which it is or was found; None where there is none."""
    columns = zip(*(scan.structure_dice for scan in found), strict=True)
    present = [[dice for dice in column if dice is not None] for column in columns]
    return [fmean(values) if values else None for values in present]


def bone_share(found: Sequence[Validated]) -> float | None:
    """Return the mean share of voxels predicted as bone, over scans with a reference; None where there is none."""
    bone = [scan.predicted_share for scan in found if scan.reference_share > 0]
    return math.fsum(bone) / len(bone) if bone else None


def worst_scan(found: Sequence[Validated]) -> Validated:
    """Return the (first) scan with the lowest Dice."""
    return min(found, key=lambda scan: scan.dice)
