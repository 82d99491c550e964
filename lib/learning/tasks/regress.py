"""Regression: a network reads one number, such as a density, from a crop around each structure."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lib.catalog.scales import UNIT
from lib.errors import TrainingError
from lib.learning.collapse import CONSTANT, LIKE_THE_MEAN, NOT_TRAINED
from lib.learning.compute import Compute
from lib.learning.crop_augment import apply_crop_transforms, draw_crop_transform, network_input
from lib.learning.crop_store import CropStore
from lib.learning.densenet import CropDenseNet, gmac_per_crop_voxel
from lib.learning.history import EpochRecord
from lib.learning.order import Draw, SampleOrder
from lib.learning.regression_recipe import RegressionRecipe, RegressionSettings
from lib.learning.tasks.task import Network, Score
from lib.model_record import REGRESS
from lib.regression_settings import HUBER

# estimates that spread less than this share of the targets' SD count as one value for all crops
CONSTANT_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class CropOrder(SampleOrder):
    """The crops of every update of a regression: each once in an epoch, in updates of equal size.

    An update has two crops or more, because batch normalisation needs them where feature maps shrink to one voxel:
    for an odd number of crops in updates of two, the first has three.

    Attributes:
        crops: how many there are.
        config: the recipe.
    """

    crops: int
    config: RegressionRecipe

    @property
    def sources(self) -> int:
        """The number of crops."""
        return self.crops

    @property
    def updates_per_epoch(self) -> int:
        """The number of updates in an epoch."""
        return min(math.ceil(self.crops / self.config.batch_size), self.crops // 2)

    def samples_of_updates(self, epoch: int) -> list[np.ndarray]:
        """Return the crops (indices) of each update of an epoch, counted from 0."""
        return np.array_split(self.permuted(epoch), self.updates_per_epoch)

    def is_settled(self, epoch: int) -> bool:
        """Return whether an epoch, counted from 0, is one of those at the end that learn as the network predicts."""
        epochs = self.config.epochs
        return epoch >= epochs - round(self.config.settle * epochs)

    def draws_of_updates(self, epoch: int) -> list[list[Draw]]:
        """Return the draws of each update of an epoch; in settled epochs no crop lies between voxels.

        Linear sampling between voxels smooths the noise, and crops are not moved at prediction.
        """
        updates = super().draws_of_updates(epoch)
        if self.is_settled(epoch):
            for draw in (draw for draws in updates for draw in draws):
                draw.transforms[:] = [transform.unmoved() for transform in draw.transforms]
        return updates

    def batches(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return the one batch of an update."""
        return [indices]

    def draw(self, indices: Sequence[int], generator: np.random.Generator) -> Draw:
        """Draw the transform of each crop."""
        transforms = [draw_crop_transform(self.config, generator) for _ in indices]
        return Draw(
            indices=[int(index) for index in indices], starts=[0] * len(indices), transforms=transforms
        )


class RegressTask:
    """See `lib.learning.tasks.task.Task`. Scores are errors of the validation crops, in the target's unit."""

    def __init__(
        self, training: CropStore, validation: CropStore, settings: RegressionSettings, compute: Compute
    ) -> None:
        """Take the crops of a fold.

        Raises:
            TrainingError: there are fewer than two crops to train on, or their targets are all the same.
        """
        if len(training) < 2:
            raise TrainingError(
                f"{settings.name}: {len(training)} crops with a reference value to train on; expected at least 2. "
                "Look at the columns of regression.targets, and at which structures were found"
            )
        self.section, self.digest = "regression.train", f"{training.digest} {validation.digest}"
        self.training, self.validation, self.settings, self.compute = training, validation, settings, compute
        self.order = CropOrder(crops=len(training), config=settings.train, seed=settings.seed)
        self.mean, self.sd = float(training.targets.mean()), float(training.targets.std())
        if np.ptp(training.targets) == 0:
            raise TrainingError(
                f"{settings.name}: the reference values of all {len(training)} training crops are {self.mean:g}; "
                "expected values that differ. Look at the columns of regression.targets"
            )

    def build(self) -> CropDenseNet:
        """Return a new DenseNet."""
        return CropDenseNet(self.settings.architecture, self.settings.crop.channels)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return AdamW (Loshchilov and Hutter 2019): the decay is decoupled from the gradient.

        Biases, and the scales of normalisations, do not decay.
        """
        config = self.settings.train
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=config.fused)

    def initialise(self, network: nn.Module) -> None:
        """Do nothing: batch normalisation fits the network to its data."""

    def set_mode(self, network: nn.Module, epoch: int) -> None:
        """Put a network into its training mode; in settled epochs the statistics of batch normalisation stay.

        With the statistics of few crops, which hold a part of the very value that is looked for, a network learns
        another scale than it has at prediction.
        """
        network.train()
        if self.order.is_settled(epoch):
            for layer in network.modules():
                if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
                    layer.eval()

    def stream(self, draws: Iterable[Draw]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the crops of each draw: image in int16 HU, mask in uint8."""
        return self.training.stream(draw.indices for draw in draws)

    def prepare(self, draw: Draw, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return input (N, channels, z, y, x) and standardised targets (N,) of a draw, augmented as drawn."""
        moved = apply_crop_transforms(image, reference, draw.transforms, self.settings.crop.voxel_mm)
        targets = (self.training.targets[draw.indices] - self.mean) / self.sd
        on_device = torch.as_tensor(targets, dtype=torch.float32).to(image.device, non_blocking=True)
        return network_input(*moved, self.settings.crop), on_device

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean Huber loss (Huber 1964, linear beyond one SD of the target), or the mean squared error."""
        kind = functional.huber_loss if self.settings.train.loss == HUBER else functional.mse_loss
        return kind(output.float(), target)

    def validate(self, network: Network, heed: Callable[[], None]) -> Score:
        """Estimate the validation crops and compare them with their references."""
        if not len(self.validation):
            return self.unvalidated()
        estimates = self._estimate(network, heed) * self.sd + self.mean
        references = self.validation.targets
        errors = estimates - references
        rmse, r = float(np.sqrt(np.mean(errors**2))), correlation(references, estimates)
        told = "not defined" if r is None else f"{r:.3f}"
        return Score(
            columns={"validation_rmse": rmse, "validation_r": r, "validation_sd": float(estimates.std())},
            best_by=-rmse,
            of_scans=[float(error) for error in np.abs(errors)],
            words=f"validation RMSE {rmse:.2f} {UNIT}, r {told}",
        )

    def unvalidated(self) -> Score:
        """Return the score of an epoch that is not validated."""
        return Score(columns=dict.fromkeys(("validation_rmse", "validation_r", "validation_sd")))

    def collapse(self, history: Sequence[EpochRecord]) -> str:
        """Return nothing: where crops tell nothing of the target, the same estimate for all is the best one."""
        return ""

    def warnings(self, history: Sequence[EpochRecord]) -> list[str]:
        """Return keys of `lib.learning.collapse.WARNINGS`."""
        if not history:
            return [NOT_TRAINED]
        validated = [record for record in history if record.validation_rmse is not None]
        if not validated:
            return []
        last = validated[-1]
        of_mean = float(np.sqrt(np.mean((self.validation.targets - self.mean) ** 2)))
        found = {
            CONSTANT: last.validation_sd < CONSTANT_SHARE * self.sd,
            LIKE_THE_MEAN: last.validation_rmse >= of_mean,
        }
        return [code for code, applies in found.items() if applies]

    def names(self, indices: Iterable[int]) -> list[str]:
        """Return scan and structure of the crops with these indices."""
        return [" ".join(self.training.names[index]) for index in indices]

    def describe_data(self) -> str:
        """Return the numbers of crops and scans, and where they are kept."""
        training, validation = self.training, self.validation
        return (
            f"{len(training)} crops of {len(training.scans)} scans to train on (in {training.volumes.placement} "
            f"memory), {len(validation)} of {len(validation.scans)} to validate, target {self.mean:.2f} ± "
            f"{self.sd:.2f} {UNIT}"
        )

    def describe_best(self, best_by: float | None) -> Mapping[str, float | None]:
        """Return the lowest error of the validation crops."""
        return {"best_validation_rmse": None if best_by is None else -best_by}

    def facts(self, network: CropDenseNet, epochs: int) -> Mapping[str, Any]:
        """Return the target, the crops, their scans and operations."""
        size_zyx, stores = (
            self.settings.crop.size_zyx,
            {"training": self.training, "validation": self.validation},
        )
        return {
            "task": REGRESS,
            "structures": list(self.settings.targets),
            "target": {
                "columns": dict(self.settings.targets),
                "scale": self.settings.scale,
                "unit": UNIT,
                "mean": self.mean,
                "sd": self.sd,
            },
            **{role: store.scans for role, store in stores.items()},
            "crops": {role: store.structures for role, store in stores.items()},
            "voxels_seen": epochs * self.order.samples_per_epoch * math.prod(size_zyx),
            "gmac_per_voxel": gmac_per_crop_voxel(network, size_zyx),
        }

    @torch.inference_mode()
    def _estimate(self, network: Network, heed: Callable[[], None]) -> np.ndarray:
        """Return the standardised estimates of the validation crops, float64 (N,)."""
        size, count = self.settings.train.batch_size, len(self.validation)
        found = []
        for image, mask in self.validation.stream(
            range(i, min(i + size, count)) for i in range(0, count, size)
        ):
            heed()
            found.append(
                estimate_standardised(network, (image, mask), self.settings.crop, self.compute).cpu()
            )
        return torch.cat(found).double().numpy()


def estimate_standardised(
    network: Network, crops: tuple[Tensor, Tensor], config: Any, compute: Compute
) -> Tensor:
    """Return the standardised estimates (N,), float32, of crops: image int16 HU and mask (N, 1, z, y, x)."""
    image, mask = crops
    with compute.autocast():
        return network(network_input(image.float(), mask.float(), config)).float()


def correlation(references: np.ndarray, estimates: np.ndarray) -> float | None:
    """Return Pearson's r; None with fewer than two values, or where one of both is the same for all."""
    if len(references) < 2 or np.ptp(references) == 0 or np.ptp(estimates) == 0:
        return None
    return float(np.corrcoef(references, estimates)[0, 1])
