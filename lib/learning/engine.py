"""The engine of all trainings: the loop over epochs and updates, validated and resumable at every update.

What a network learns is a task (`lib.learning.tasks`); the order of samples is in `lib.learning.order`, the saved
state in `lib.learning.state`.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.joblog import progress, report_done
from lib.learning.collapse import describe_warnings
from lib.learning.compute import Compute
from lib.learning.determinism import compiled
from lib.learning.history import EpochRecord, has_settled
from lib.learning.interrupts import StopRequest, ToldToStopError, stop_on_signal
from lib.learning.memory import peak_memory_mb, peak_memory_of
from lib.learning.order import Draw
from lib.learning.recipe import Recipe, is_validated
from lib.learning.state import StateFile, TrainingState, all_finite, state_key
from lib.learning.tasks.task import Score, Task
from lib.seeding import derive_seed

AfterUpdate = Callable[[int, int], None]
AfterValidation = Callable[[int, list[float]], None]

logger = logging.getLogger("osteoflow.learning")


class TrainingSettings(Protocol):
    """What the engine needs to know of the settings of a training: a frozen dataclass.

    Attributes:
        train: the recipe.
        name: of the fold in progress lines, e.g. "all/vnet fold 0".
        seed: of this fold alone.
        code: digest of the training code; an unfinished state with another digest is not continued.
    """

    train: Recipe
    name: str
    seed: int
    code: str

    def digest(self) -> str:
        """Return a digest of all settings that affect the result."""


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """A finished training: weights (host memory), history, facts for run.json.

    `last` are the weights of the last epoch, or their running average where the recipe asks for one; `best` are
    those of the epoch with the highest `best_score` (`lib.learning.tasks.task.Score.best_by`).
    """

    last: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    best_score: float | None
    history: list[EpochRecord]
    facts: dict[str, Any]
    settings: TrainingSettings


def train_task(
    make_task: Callable[[Compute], Task],
    settings: TrainingSettings,
    compute: Compute,
    state_path: str | Path,
    after_update: AfterUpdate = lambda epoch, update: None,
    after_validation: AfterValidation = lambda epoch, scores: None,
) -> TrainedFold:
    """Train one network on a task, continuing from the state at `state_path` if its key matches.

    Args:
        make_task: loads the data and returns the task.
        settings: everything else.
        compute: where and in which precision.
        state_path: where an unfinished training is saved, every `checkpoint_minutes` and on SIGTERM or SIGINT.
            The caller deletes it when the results are safely written.
        after_update: called after each update with epoch and update, both counted from 1.
        after_validation: called after each validation with the epoch and the score of each validation sample.

    Raises:
        TrainingError: a loss that is not finite, a network that has collapsed (the state is kept, so that a retry
            fails at once), or a request to stop; and what `make_task` raises.
    """
    loop = _TrainingLoop(make_task(compute), settings, compute, Path(state_path))
    with stop_on_signal() as stop:
        return loop.run(stop, after_update, after_validation)


class _TrainingLoop:
    """One training: it makes the updates of an order, and validates and saves at the end of epochs."""

    def __init__(self, task: Task, settings: TrainingSettings, compute: Compute, state_path: Path) -> None:
        """Start or continue a training."""
        self.task, self.settings, self.config, self.compute = task, settings, settings.train, compute
        self.order = task.order
        self.fresh_losses: list[Tensor] = []  # kept on the device: fetching each one would stall it
        torch.manual_seed(derive_seed(settings.seed, "weights"))
        network = self.compute.place(task.build())
        self.forward = compiled(network) if self.config.compile else network
        optimizer = task.optimizer(network)
        self.file = StateFile(state_path, state_key(settings, task.digest), self.config.checkpoint_minutes)
        content = self.file.read()
        self.resumed = content is not None
        if content is None:
            task.initialise(network)
        self.state = TrainingState(network, optimizer, self.config.weight_average)
        if content is not None:
            self.state.restore(content)
            progress("%s: continuing after epoch %d", settings.name, self.state.progress.epoch)

    def run(
        self, stop: StopRequest, after_update: AfterUpdate, after_validation: AfterValidation
    ) -> TrainedFold:
        """Make the epochs that are left and return the outcome."""
        self._log_start()
        try:
            self._refuse_collapse()
            while not self._has_ended():
                self._make_updates(stop, after_update)
                begin = time.monotonic()
                score = self._validate(stop)
                self._close_epoch(score, time.monotonic() - begin)
                if score.of_scans:
                    after_validation(self.state.progress.epoch, list(score.of_scans))
                self._refuse_collapse()
        except ToldToStopError:
            self._save()
            where = f"after update {self.state.progress.update} of epoch {self.state.progress.epoch + 1}"
            raise TrainingError(
                f"{self.settings.name}: told to stop {where}; the next start continues there"
            ) from None
        return self._outcome()

    def _log_start(self) -> None:
        logger.info(
            "%s: %s, %s, %s, %d updates an epoch",
            self.settings.name,
            self.task.describe_data(),
            self.compute.describe(),
            self.compute.precision,
            self.order.updates_per_epoch,
        )

    def _has_ended(self) -> bool:
        now = self.state.progress
        if now.epoch == self.config.epochs:
            return True
        return now.update == 0 and has_settled(now.records(), self.config.early_stop_epochs)

    def _refuse_collapse(self) -> None:
        """Stop a training that has collapsed; the state is saved first, so that a retry stops here at once."""
        words = self.task.collapse(self.state.progress.records())
        if words:
            self._save()
            raise TrainingError(f"{self.settings.name} {words}")

    def _make_updates(self, stop: StopRequest, after_update: AfterUpdate) -> None:
        """Make the updates that the current epoch still lacks."""
        now = self.state.progress
        to_do = self.order.draws_of_updates(now.epoch)[now.update :]
        draws_to_do = (draw for draws in to_do for draw in draws)
        self.task.set_mode(self.state.network, now.epoch)
        begin = time.monotonic() - now.seconds
        with closing(self.task.stream(draws_to_do)) as batches:
            for draws in to_do:
                stop.heed()  # not within an update: batch normalisation would have used half of it
                self._update(draws, batches)
                now.update += 1
                now.seconds = time.monotonic() - begin
                if self.file.is_due():
                    self._save()
                after_update(now.epoch + 1, now.update)
        self._fetch_losses()
        now.seconds = time.monotonic() - begin

    def _update(self, draws: list[Draw], batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Make one update; its loss stays on the device."""
        now, optimizer = self.state.progress, self.state.optimizer
        torch.manual_seed(self.order.update_seed(now.epoch, now.update))  # dropout
        for group in optimizer.param_groups:
            group["lr"] = self.order.learning_rate(now.epoch, now.update)
        optimizer.zero_grad(set_to_none=True)
        samples = sum(len(draw.indices) for draw in draws)
        total = torch.zeros((), device=self.compute.device)
        for draw in draws:
            given, target = self.task.prepare(draw, *next(batches))
            with self.compute.autocast():
                output = self.forward(given)
            loss = self.task.loss(output, target) * (len(draw.indices) / samples)
            loss.backward()
            total += loss.detach()
        optimizer.step()
        self.state.average.follow(self.order.done(now.epoch, now.update))
        self.fresh_losses.append(total)

    def _validate(self, stop: StopRequest) -> Score:
        """Return the score of the validation scans, if this epoch is validated."""
        if not is_validated(self.config, self.state.progress.epoch + 1):
            return self.task.unvalidated()
        with self.state.average.in_place() as network:
            network.eval()
            return self.task.validate(network, stop.heed)

    def _close_epoch(self, score: Score, validation_seconds: float) -> None:
        """Record the epoch, and keep its weights if they are the best so far."""
        now = self.state.progress
        record = EpochRecord(
            epoch=now.epoch + 1,
            loss=math.fsum(now.losses) / len(now.losses),
            learning_rate=self.order.learning_rate(now.epoch, now.update - 1),
            seconds=round(now.seconds + validation_seconds, 3),
            samples_per_second=round(self.order.samples_per_epoch / max(now.seconds, 1e-9), 3),
            memory_mb=round(peak_memory_mb(self.compute.device), 1),
            **score.columns,
        )
        now.close_epoch(record)
        self.state.keep_best(score.best_by)
        report = progress if score.of_scans else logger.info
        course = f"epoch {record.epoch}/{self.config.epochs} loss {record.loss:.4f} {score.words}".strip()
        report("%s: %s (%.1f s)", self.settings.name, course, record.seconds)
        report_done(record.epoch, self.config.epochs)

    def _fetch_losses(self) -> None:
        """Bring the losses of this epoch to the host and refuse one that is not finite."""
        now = self.state.progress
        if self.fresh_losses:
            now.losses += torch.stack(self.fresh_losses).tolist()
            self.fresh_losses = []
        bad = next((i for i, loss in enumerate(now.losses) if not math.isfinite(loss)), None)
        if bad is not None:
            scans = ", ".join(self.task.names(self.order.samples_of_updates(now.epoch)[bad]))
            raise TrainingError(
                f"{self.settings.name}: the loss is {now.losses[bad]} in epoch {now.epoch + 1}, update {bad + 1} "
                f"(scans {scans}); look at these scans, or lower {self.task.section}.learning_rate; "
                f"{self.file.kept()}"
            )

    def _save(self) -> None:
        self._fetch_losses()
        content = self.state.content()
        self._require_finite(content["network"])
        self.file.write(content)

    def _require_finite(self, weights: dict[str, Tensor]) -> None:
        """Refuse weights that are not finite: the loss would show it one update later."""
        if not all_finite(weights):
            now = self.state.progress
            raise TrainingError(
                f"{self.settings.name}: weights are no longer finite after update {now.update} of epoch "
                f"{now.epoch + 1}; lower {self.task.section}.learning_rate; {self.file.kept()}"
            )

    def _outcome(self) -> TrainedFold:
        now, last = self.state.progress, self.state.average.weights()
        self._require_finite(last)
        validated = now.best_score is not None
        best_epoch = now.best_epoch if validated else now.epoch
        facts = self._facts(best_epoch)
        if facts["warnings"]:
            progress("%s: %s", self.settings.name, describe_warnings(facts))
        return TrainedFold(
            last=last,
            best=self.state.best if validated else last,
            best_epoch=best_epoch,
            best_score=now.best_score,
            history=now.records(),
            facts=facts,
            settings=self.settings,
        )

    def _facts(self, best_epoch: int) -> dict[str, Any]:
        settings = {key: value for key, value in asdict(self.settings).items() if isinstance(value, Mapping)}
        history, network = self.state.progress.records(), self.state.network
        return settings | {
            **self.task.facts(network, len(history)),
            "code": self.settings.code,
            "seed": self.settings.seed,
            "state_key": self.file.key,
            "epochs": len(history),
            "best_epoch": best_epoch,
            **self.task.describe_best(self.state.progress.best_score),
            "warnings": self.task.warnings(history),
            "updates": len(history) * self.order.updates_per_epoch,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "seconds": round(sum(record.seconds for record in history), 1),
            "peak_memory_mb": max(
                (record.memory_mb for record in history),
                default=round(peak_memory_mb(self.compute.device), 1),
            ),
            "peak_memory_of": peak_memory_of(self.compute.device),
            "device": self.compute.describe(),
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            "reproducible": torch.are_deterministic_algorithms_enabled(),
            "resumed": self.resumed,
            "torch": str(torch.__version__),
        }
