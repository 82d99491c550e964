"""The order of a training: which samples each update sees, how they are augmented, at which learning rate.

No random state is carried from update to update: samples, windows, transforms and dropout follow from the seed, the
epoch and the number of the update.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lib.learning.augment import draw_transform, margin_slices
from lib.learning.recipe import Recipe, learning_rate
from lib.learning.scan_store import StoredScan
from lib.learning.train_settings import TrainConfig
from lib.learning.windows import draw_start
from lib.seeding import derive_seed

INITIAL_WINDOWS = 4  # windows that set the scales of a new network


@dataclass(frozen=True)
class Draw:
    """The samples of one pass through the network: scans (indices), first slices, transforms; one entry a sample."""

    indices: list[int]
    starts: list[int]
    transforms: list[Any]


@dataclass(frozen=True, kw_only=True)
class SampleOrder(ABC):
    """The samples of every update of a training, whatever they are.

    Attributes:
        config: the recipe.
        seed: of the fold.
    """

    config: Recipe
    seed: int

    @property
    @abstractmethod
    def sources(self) -> int:
        """The number of scans (or crops) that samples are drawn from."""

    @abstractmethod
    def draw(self, indices: Sequence[int], generator: np.random.Generator) -> Draw:
        """Draw sample by sample, so that the draws do not depend on how an update is cut into batches."""

    @property
    def samples_per_epoch(self) -> int:
        """The number of samples in an epoch."""
        return self.sources * self.config.samples_per_scan

    @property
    def updates_per_epoch(self) -> int:
        """The number of updates in an epoch."""
        return math.ceil(self.samples_per_epoch / (self.config.batch_size * self.config.accumulate))

    def samples_of_updates(self, epoch: int) -> list[np.ndarray]:
        """Return the samples' sources (indices) of each update of an epoch, counted from 0."""
        size = self.config.batch_size * self.config.accumulate
        order = self.permuted(epoch)
        return [order[i : i + size] for i in range(0, len(order), size)]

    def permuted(self, epoch: int) -> np.ndarray:
        """Return the sources (indices) of all samples of an epoch, in their order."""
        generator = np.random.default_rng(derive_seed(self.seed, "order", epoch))
        order = np.repeat(np.arange(self.sources), self.config.samples_per_scan)
        return generator.permutation(order)

    def draws_of_updates(self, epoch: int) -> list[list[Draw]]:
        """Return the draws of each update of an epoch: one for each batch whose gradients are summed."""
        return [
            self._draws(epoch, update, indices)
            for update, indices in enumerate(self.samples_of_updates(epoch))
        ]

    def batches(self, indices: np.ndarray) -> list[np.ndarray]:
        """Return the samples of an update in batches whose gradients are summed."""
        size = self.config.batch_size
        return [indices[i : i + size] for i in range(0, len(indices), size)]

    def update_seed(self, epoch: int, update: int) -> int:
        """Return the seed of an update, from which its samples and its dropout are drawn."""
        return derive_seed(self.seed, "update", epoch, update)

    def done(self, epoch: int, update: int) -> int:
        """Return how many updates lie before this one of this epoch, both counted from 0."""
        return epoch * self.updates_per_epoch + update

    def learning_rate(self, epoch: int, update: int) -> float:
        """Return the learning rate of an update."""
        return learning_rate(
            self.config, self.done(epoch, update), self.config.epochs * self.updates_per_epoch
        )

    def _draws(self, epoch: int, update: int, indices: np.ndarray) -> list[Draw]:
        generator = np.random.default_rng(self.update_seed(epoch, update))
        return [self.draw(batch, generator) for batch in self.batches(indices)]


@dataclass(frozen=True, kw_only=True)
class TrainingOrder(SampleOrder):
    """The windows of every update of a segmentation.

    Attributes:
        scans: the training scans, in the order of the indices.
        config: the recipe.
        axes: patient axes of the arrays, the slice axis first.
        dimensions: of the network. With 2 no slices are read beyond a window; scans, windows and transforms are the
            same as with 3.
    """

    scans: Sequence[StoredScan]
    config: TrainConfig
    axes: Sequence[str] = ("z", "y", "x")
    dimensions: int = 3

    @property
    def sources(self) -> int:
        """The number of training scans."""
        return len(self.scans)

    @cached_property
    def margin(self) -> int:
        """The number of slices beyond each end of a window that its rotation may reach."""
        if self.dimensions == 2:
            return 0
        return max(
            margin_slices(self.config.augment, scan.shape_zyx, scan.spacing_mm_zyx) for scan in self.scans
        )

    @property
    def slices(self) -> int:
        """The number of slices read for a window, margins included."""
        return self.config.window_slices + 2 * self.margin

    def initial_draw(self) -> Draw:
        """Return the windows that set the scales of a new network."""
        generator = np.random.default_rng(derive_seed(self.seed, "initial windows"))
        return self.draw(generator.permutation(len(self.scans))[:INITIAL_WINDOWS], generator)

    def place(self, draw: Draw) -> tuple[list[int], list[int]]:
        """Return scans and first slices of a draw's windows, margins included."""
        return draw.indices, [start - self.margin for start in draw.starts]

    def draw(self, indices: Sequence[int], generator: np.random.Generator) -> Draw:
        """Draw first slice and transform of each window."""
        drawn = Draw(indices=[int(index) for index in indices], starts=[], transforms=[])
        for index in indices:
            slices = self.scans[index].shape_zyx[0]
            drawn.starts.append(draw_start(slices, self.config.window_slices, generator))
            drawn.transforms.append(draw_transform(self.config.augment, generator, self.axes))
        return drawn
