"""The state of a training, and the file from which an unfinished training is continued.

A state holds weights, optimiser and counters, and no random state (`lib.learning.order`): a training that was killed
and started again ends with the same bits as one that was not.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib.learning.average import RunningAverage
from lib.learning.checkpoint import read_state, weights_on_host, write_state
from lib.learning.history import EpochRecord


@dataclass
class Progress:
    """How far a training has come."""

    epoch: int = 0  # epochs that are done
    update: int = 0  # updates done in the current epoch
    losses: list[float] = field(default_factory=list)  # of the current epoch, as far as fetched
    seconds: float = 0.0  # spent on the current epoch
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None

    def records(self) -> list[EpochRecord]:
        """Return the course of the training so far."""
        return [EpochRecord(**row) for row in self.history]

    def close_epoch(self, record: EpochRecord) -> None:
        """Add the record of the current epoch and begin the next one."""
        self.history.append(asdict(record))
        self.epoch, self.update, self.losses, self.seconds = record.epoch, 0, [], 0.0


class TrainingState:
    """The parts of a training that change.

    Attributes:
        network: with its weights, on the device.
        optimizer: with its moments.
        average: the running average of the weights.
        best: weights of the epoch with the highest score in validation (host memory); empty before a validation.
        progress: the counters and the course so far.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, weight_average: float) -> None:
        """Begin a training; the average starts from the network's weights as they are now."""
        self.network, self.optimizer = network, optimizer
        self.average = RunningAverage(network, weight_average)
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()

    def content(self) -> dict[str, Any]:
        """Return the content of a state file without its key, in host memory except for the optimiser's moments."""
        return {
            "network": weights_on_host(self.network),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state(),
            "best": self.best,
            "progress": asdict(self.progress),
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Restore what `content` returned, from any device."""
        self.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            # a state from another device may have another layout, which fused Adam does not check
            for name, moment in moments.items():
                if moment.ndim:
                    moments[name] = torch.empty_like(parameter).copy_(moment)
        self.average.load(content["average"])
        self.best = content["best"]
        self.progress = Progress(**content["progress"])

    def keep_best(self, score: float | None) -> None:
        """Keep the averaged weights if the epoch that was just recorded has the highest score so far."""
        progress = self.progress
        if score is not None and (progress.best_score is None or score > progress.best_score):
            progress.best_epoch, progress.best_score = progress.epoch, score
            self.best = self.average.weights()


class StateFile:
    """The file of an unfinished training's state, and when it is next due to be written."""

    def __init__(self, path: Path, key: str, minutes: float) -> None:
        """Name the file. It is saved every `minutes`; a state with another `key` is not continued."""
        self.path, self.key = path, key
        self._seconds, self._saved_at = minutes * 60, time.monotonic()

    def read(self) -> dict[str, Any] | None:
        """Return the saved content, or None if there is none to continue from."""
        return read_state(self.path, self.key)

    def write(self, content: Mapping[str, Any]) -> None:
        """Write the content of a state, whole or not at all."""
        write_state(self.path, {"key": self.key, **content})
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Tell whether the state is due to be saved."""
        return time.monotonic() - self._saved_at >= self._seconds

    def kept(self) -> str:
        """Return, for the end of an error, which saved state of a stopped training is kept."""
        return "the last state saved before it is kept" if self.path.is_file() else "no state was saved yet"


class Digested(Protocol):
    """Settings with a digest of all that affect the result."""

    def digest(self) -> str:
        """Return the digest."""


def state_key(settings: Digested, data: str) -> str:
    """Return a digest of settings, code and data, which must be equal for a training to be continued.

    Args:
        settings: of the training; their digest covers the code, too.
        data: a digest of the samples to train on and to validate.
    """
    return hashlib.sha256(f"{settings.digest()} {data}".encode()).hexdigest()


def all_finite(weights: Mapping[str, Tensor]) -> bool:
    """Tell whether every weight is a finite number."""
    return all(bool(weight.isfinite().all()) for weight in weights.values())
