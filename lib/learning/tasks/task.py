"""What the engine asks of a task. The engine keeps order, seeds, state, averages, schedule and interrupts itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from lib.learning.history import EpochRecord
from lib.learning.order import Draw

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Score:
    """The outcome of one validation.

    Attributes:
        columns: fields of the epoch's record in the history, by name.
        best_by: the higher, the better the weights; None where no scan was validated.
        of_scans: the score of each validation scan.
        words: the outcome for a progress line; empty where no scan was validated.
    """

    columns: Mapping[str, Any]
    best_by: float | None = None
    of_scans: Sequence[float] = ()
    words: str = ""


class Task(Protocol):
    """What a network learns."""

    def prepare(self, draw: Draw, image: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return input and target of the windows of a draw, which were taken with their margins."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar."""

    def validate(self, network: Network, heed: Callable[[], None]) -> Score:
        """Return the score of the validation scans; `heed` is called before each batch of windows."""

    def unvalidated(self) -> Score:
        """Return the score of an epoch that is not validated."""

    def collapse(self, history: Sequence[EpochRecord]) -> str:
        """Return in words why a training counts as collapsed; empty if it does not."""

    def warnings(self, history: Sequence[EpochRecord]) -> list[str]:
        """Return what is wrong with a training that has ended, as codes."""

    def facts(self) -> Mapping[str, Any]:
        """Return what the record of a trained fold tells of the task."""
