"""Segmentation: every voxel of a scan gets the label of a structure, or of the background."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import TrainingError
from lib.learning.augment import apply_transforms
from lib.learning.collapse import Yardstick, constant_loss, describe_collapse, find_warnings, remedies
from lib.learning.compute import Compute
from lib.learning.history import EpochRecord
from lib.learning.losses import parameter_groups, segmentation_loss
from lib.learning.operations import gmac_per_voxel
from lib.learning.order import Draw, TrainingOrder
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import ScanStore
from lib.learning.tasks.task import Network, Score
from lib.learning.train_settings import AUTO, TrainConfig
from lib.learning.validation import (
    Validated,
    Validation,
    bone_share,
    mean_dice,
    mean_structure_dice,
    worst_scan,
)
from lib.learning.vnet import VNet, initialise_on
from lib.model_record import SEGMENT


class SegmentTask:
    """See `lib.learning.tasks.task.Task`. Scores are Dice coefficients of whole validation scans."""

    def __init__(
        self,
        training: ScanStore,
        validation: ScanStore,
        order: TrainingOrder,
        settings: FoldSettings,
        compute: Compute,
    ) -> None:
        """Take the scans of a fold.

        Raises:
            TrainingError: a reference holds a label of no structure, or `bone_weight: auto` has no bone to weigh.
        """
        for store in (training, validation):
            _require_labels(store, len(settings.structures))
        self.section, self.order, self.digest = "train", order, f"{training.digest} {validation.digest}"
        self.training, self.settings, self.config = training, settings, settings.train
        self.validation = Validation(scans=validation, settings=settings, compute=compute)
        self.bone_weight = _bone_weight(training, self.config)
        self.yardstick = _yardstick(training, order, len(settings.structures), self.bone_weight)

    def build(self) -> VNet:
        """Return a new V-Net or U-Net."""
        return VNet(self.settings.architecture)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return Adam, with the penalty on squared weights."""
        groups = parameter_groups(network, self.config.l2_alpha)
        return torch.optim.Adam(groups, lr=self.config.learning_rate, fused=self.config.fused)

    def initialise(self, network: VNet) -> None:
        """Fit the network's scales to a few windows of the training scans."""
        draw = self.order.initial_draw()
        batch = self.training.windows(*self.order.place(draw), self.order.slices)
        initialise_on(network, self.prepare(draw, *batch)[0])

    def set_mode(self, network: nn.Module, epoch: int) -> None:
        """Put a network into its training mode."""
        network.train()

    def stream(self, draws: Iterable[Draw]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the windows of each draw with their margins: image in int16, labels in uint8."""
        return self.training.stream((self.order.place(draw) for draw in draws), self.order.slices)

    def prepare(self, draw: Draw, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return intensity and labels (N, 1, window, y, x) of a draw, augmented as drawn.

        A 2-D network sees whole slices: a rotation out of their plane is drawn for it too, and not applied.
        """
        scans = [self.training.scans[index] for index in draw.indices]
        structures, transforms = len(self.settings.structures), draw.transforms
        if self.settings.architecture.dimensions == 2:
            transforms = [transform.within_slices() for transform in transforms]
        return apply_transforms(image, reference, transforms, scans, self.config.window_slices, structures)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits against labels."""
        return segmentation_loss(output, target, kind=self.config.loss, bone_weight=self.bone_weight)

    def validate(self, network: Network, heed: Callable[[], None]) -> Score:
        """Predict the validation scans as a whole and compare them with their references."""
        return self._score(self.validation.validate(network, heed))

    def unvalidated(self) -> Score:
        """Return the score of an epoch that is not validated."""
        return self._score([])

    def collapse(self, history: Sequence[EpochRecord]) -> str:
        """Return in words why the network has stopped finding structures."""
        words = describe_collapse(history, self.yardstick)
        return words and f"{words}. {remedies(asdict(self.config), asdict(self.settings.architecture))}"

    def warnings(self, history: Sequence[EpochRecord]) -> list[str]:
        """Return keys of `lib.learning.collapse.WARNINGS`."""
        return find_warnings(history, self.yardstick)

    def names(self, indices: Iterable[int]) -> list[str]:
        """Return the scans with these indices."""
        return [self.training.scans[index].scan for index in indices]

    def describe_data(self) -> str:
        """Return the numbers of scans, and where they are kept."""
        return (
            f"{len(self.training.scans)} scans to train on (in {self.training.placement} memory), "
            f"{len(self.validation.scans.scans)} to validate"
        )

    def describe_best(self, best_by: float | None) -> Mapping[str, float | None]:
        """Return the best mean Dice."""
        return {"best_validation_dice": best_by}

    def facts(self, network: VNet, epochs: int) -> Mapping[str, Any]:
        """Return structures, weight of bone, scans and operations."""
        windows, size_yx = epochs * self.order.samples_per_epoch, self.training.scans[0].shape_zyx[1:]
        return {
            "task": SEGMENT,
            "structures": list(self.settings.structures),
            "bone_weight": self.bone_weight,
            "slice_axis": self.settings.axes[0],
            "training": [scan.scan for scan in self.training.scans],
            "validation": [scan.scan for scan in self.validation.scans.scans],
            "voxels_seen": windows * self.config.window_slices * math.prod(size_yx),
            "gmac_per_voxel": gmac_per_voxel(network),
        }

    def _score(self, found: list[Validated]) -> Score:
        dice, names = mean_dice(found), self.settings.structures
        by_structure = (
            dict(zip(names, mean_structure_dice(found), strict=True)) if found and len(names) > 1 else {}
        )
        columns = {
            "validation_dice": dice,
            "validation_bone": bone_share(found),
            "structure_dice": by_structure,
        }
        if not found:
            return Score(columns=columns)
        worst = worst_scan(found)
        return Score(
            columns=columns,
            best_by=dice,
            of_scans=[scan.dice for scan in found],
            words=f"validation Dice {dice:.4f} (lowest {worst.dice:.4f}, scan {worst.scan})",
        )


def _require_labels(store: ScanStore, structures: int) -> None:
    """Refuse scans with a label that is no structure."""
    for scan, shares in zip(store.scans, store.shares, strict=True):
        if len(shares) > structures:
            raise TrainingError(
                f"scan {scan.scan}: its reference holds the label {len(shares)}; expected at most {structures}, the "
                "number of `structures`. Remove this scan's folder in results/cropped, so that it is made again"
            )


def _bone_weight(training: ScanStore, config: TrainConfig) -> float:
    """Return the weight of a bone voxel; `auto` lets bone and background of all training scans weigh the same.

    With a share p of bone it is (1 - p) / p.

    Raises:
        TrainingError: `auto`, and no voxel or every voxel is bone.
    """
    if config.bone_weight != AUTO:
        return config.bone_weight
    voxels = [math.prod(scan.shape_zyx) for scan in training.scans]
    bone = math.fsum(count * sum(shares) for count, shares in zip(voxels, training.shares, strict=True))
    if not 0 < bone < sum(voxels):
        raise TrainingError(
            "train.bone_weight: auto needs bone and background in the references of the training scans; found "
            f"{'no bone' if bone <= 0 else 'only bone'}. Look at the references, or set a number"
        )
    return (sum(voxels) - bone) / bone


def _yardstick(training: ScanStore, order: TrainingOrder, structures: int, bone_weight: float) -> Yardstick:
    """Return the values that a training's course is compared with; windows beyond the ends of a scan hold air."""
    config = order.config
    shares = np.zeros((len(training.scans), structures))
    for row, of_scan, scan in zip(shares, training.shares, training.scans, strict=True):
        row[: len(of_scan)] = of_scan
        row *= min(1.0, scan.shape_zyx[0] / config.window_slices)
    return Yardstick(
        constant_loss=constant_loss(shares, config.loss, bone_weight),
        updates_per_epoch=order.updates_per_epoch,
        warm_up_epochs=math.ceil(config.warm_up * config.epochs),
    )
