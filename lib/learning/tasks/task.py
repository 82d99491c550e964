"""What the engine asks of a task. The engine keeps order, seeds, state, averages, schedule and interrupts itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib.learning.history import EpochRecord
from lib.learning.order import Draw, SampleOrder

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Score:
    """The outcome of one validation.

    Attributes:
        columns: fields of the epoch's record in the history, by name.
        best_by: the higher, the better the weights; None where no scan was validated.
        of_scans: the score of each validation scan (or crop).
        words: the outcome for a progress line; empty where no scan was validated.
    """

    columns: Mapping[str, Any]
    best_by: float | None = None
    of_scans: Sequence[float] = ()
    words: str = ""


class Task(Protocol):
    """What a network learns, with the data of one fold.

    Attributes:
        section: of the configuration with its recipe, for messages.
        order: the samples of every update.
        digest: of the samples to train on and to validate.
    """

    section: str
    order: SampleOrder
    digest: str

    def build(self) -> nn.Module:
        """Return a new network, whose random weights come from torch's generator."""

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of a network's weights."""

    def initialise(self, network: nn.Module) -> None:
        """Fit a new network to the training data."""

    def set_mode(self, network: nn.Module, epoch: int) -> None:
        """Put a network into the mode in which it learns in an epoch, counted from 0."""

    def stream(self, draws: Iterable[Draw]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `prepare` takes of the samples of each draw, on the device."""

    def prepare(self, draw: Draw, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return input and target of the samples of a draw, augmented as drawn."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""

    def validate(self, network: Network, heed: Callable[[], None]) -> Score:
        """Return the score of the validation samples; `heed` is called before each batch."""

    def unvalidated(self) -> Score:
        """Return the score of an epoch that is not validated."""

    def collapse(self, history: Sequence[EpochRecord]) -> str:
        """Return in words why a training counts as collapsed, and what helps; empty if it does not."""

    def warnings(self, history: Sequence[EpochRecord]) -> list[str]:
        """Return what is wrong with a training that has ended, as codes."""

    def names(self, indices: Iterable[int]) -> list[str]:
        """Return the names of samples (indices of the order) in messages."""

    def describe_data(self) -> str:
        """Return in words how much there is to train on and to validate."""

    def describe_best(self, best_by: float | None) -> Mapping[str, float | None]:
        """Return the best score as the record of a trained fold names it."""

    def facts(self, network: nn.Module, epochs: int) -> Mapping[str, Any]:
        """Return what the record of a fold trained for `epochs` tells of the task; its name is `task`."""
