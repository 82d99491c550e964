"""Training of one fold: the loop over epochs and updates, validated by whole scans, resumable at every update.

This is the engine. What a network learns is a task (`lib.learning.tasks`); the order of windows is in
`lib.learning.order`, the saved state in `lib.learning.state`.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.joblog import progress
from lib.learning.collapse import describe_warnings, remedies
from lib.learning.compute import Compute, choose_compute
from lib.learning.determinism import compiled
from lib.learning.history import EpochRecord, has_settled
from lib.learning.interrupts import StopRequest, ToldToStopError, stop_on_signal
from lib.learning.losses import parameter_groups
from lib.learning.memory import memory_explained, peak_memory_mb, peak_memory_of
from lib.learning.operations import gmac_per_voxel
from lib.learning.order import Draw, TrainingOrder
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import ScanStore, TrainingScan
from lib.learning.state import StateFile, TrainingState, all_finite, state_key
from lib.learning.tasks.segment import SegmentTask
from lib.learning.tasks.task import Score
from lib.learning.validation import is_validated
from lib.learning.vnet import VNet, initialise_on
from lib.seeding import derive_seed

REMEDY = (
    "make train.batch_size (train.accumulate keeps the size of an update), train.window_slices, crop.size or the "
    "channels of the model smaller, or set train.device_cache_gb below the size of the cohort so that it stays "
    "in host memory"
)

AfterUpdate = Callable[[int, int], None]
AfterValidation = Callable[[int, list[float]], None]

logger = logging.getLogger("osteoflow.learning")


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """A finished training: weights (host memory), history, facts for run.json.

    `last` are the weights of the last epoch, or their running average where the recipe asks for one; `best` are
    those of the epoch with the highest validation Dice.
    """

    last: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    best_validation_dice: float | None
    history: list[EpochRecord]
    facts: dict[str, Any]
    settings: FoldSettings


def train_fold(
    training: Iterable[TrainingScan],
    validation: Iterable[TrainingScan],
    settings: FoldSettings,
    state_path: str | Path,
    after_update: AfterUpdate = lambda epoch, update: None,
    after_validation: AfterValidation = lambda epoch, dice: None,
) -> TrainedFold:
    """Train one fold, continuing from the state at `state_path` if its key matches.

    Args:
        training: scans to learn from; read one at a time, so that they are never in memory twice.
        validation: scans to predict as a whole every `validate_every` epochs; without any, the last weights
            are also the best.
        settings: everything else.
        state_path: where an unfinished training is saved, every `checkpoint_minutes` and on SIGTERM or SIGINT.
            The caller deletes it when the results are safely written.
        after_update: called after each update with epoch and update, both counted from 1.
        after_validation: called after each validation with the epoch and the Dice of each validation scan.

    Raises:
        TrainingError: no usable scans, a loss that is not finite, a network that has collapsed
            (`lib.learning.collapse`; the state is kept, so that a retry fails at once), too little memory, or a
            request to stop.
    """
    with memory_explained(REMEDY):
        config, path = settings.train, Path(state_path)
        compute = choose_compute(config.device, config.precision, config.memory_layout)
        stores = _stores(training, validation, settings, compute, path)
        loop = _TrainingLoop(stores, settings, compute, path)
        with stop_on_signal() as stop:
            return loop.run(stop, after_update, after_validation)


class _TrainingLoop:
    """One training: it makes the updates of an order, and validates and saves at the end of epochs."""

    def __init__(
        self,
        stores: tuple[ScanStore, ScanStore],
        settings: FoldSettings,
        compute: Compute,
        state_path: Path,
    ) -> None:
        """Start or continue a training; `stores` hold the training scans and the validation scans."""
        training, validation = stores
        self.settings, self.config, self.compute = settings, settings.train, compute
        self.training, self.validated = training, validation
        self.order = TrainingOrder(
            scans=training.scans,
            config=settings.train,
            seed=settings.seed,
            axes=settings.axes,
            dimensions=settings.architecture.dimensions,
        )
        self.task = SegmentTask(training, validation, self.order, settings, compute)
        self.fresh_losses: list[Tensor] = []  # kept on the device: fetching each one would stall it
        torch.manual_seed(derive_seed(settings.seed, "weights"))
        network = self.compute.place(VNet(settings.architecture))
        self.forward = compiled(network) if self.config.compile else network
        groups = parameter_groups(network, self.config.l2_alpha)
        optimizer = torch.optim.Adam(groups, lr=self.config.learning_rate, fused=self.config.fused)
        key = state_key(settings, training, validation)
        self.file = StateFile(state_path, key, self.config.checkpoint_minutes)
        content = self.file.read()
        self.resumed = content is not None
        if content is None:
            self._initialise(network)
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
            "%s: %d scans to train on (in %s memory), %d to validate, %s, %s, %d updates an epoch",
            self.settings.name,
            len(self.training.scans),
            self.training.placement,
            len(self.validated.scans),
            self.compute.describe(),
            self.compute.precision,
            self.order.updates_per_epoch,
        )

    def _initialise(self, network: VNet) -> None:
        """Fit a new network's scales to a few windows of the training scans."""
        draw = self.order.initial_draw()
        batch = self.training.windows(*self.order.place(draw), self.order.slices)
        initialise_on(network, self.task.prepare(draw, *batch)[0])

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
            advice = remedies(asdict(self.config), asdict(self.settings.architecture))
            raise TrainingError(f"{self.settings.name} {words}. {advice}")

    def _make_updates(self, stop: StopRequest, after_update: AfterUpdate) -> None:
        """Make the updates that the current epoch still lacks."""
        now = self.state.progress
        to_do = self.order.draws_of_updates(now.epoch)[now.update :]
        places = (self.order.place(draw) for draws in to_do for draw in draws)
        self.state.network.train()
        begin = time.monotonic() - now.seconds
        with closing(self.training.stream(places, self.order.slices)) as batches:
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
        windows = sum(len(draw.indices) for draw in draws)
        total = torch.zeros((), device=self.compute.device)
        for draw in draws:
            given, target = self.task.prepare(draw, *next(batches))
            with self.compute.autocast():
                output = self.forward(given)
            loss = self.task.loss(output, target) * (len(draw.indices) / windows)
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
            samples_per_second=round(self.order.windows_per_epoch / max(now.seconds, 1e-9), 3),
            memory_mb=round(peak_memory_mb(self.compute.device), 1),
            **score.columns,
        )
        now.close_epoch(record)
        self.state.keep_best(score.best_by)
        report = progress if score.of_scans else logger.info
        course = f"epoch {record.epoch}/{self.config.epochs} loss {record.loss:.4f} {score.words}".strip()
        report("%s: %s (%.1f s)", self.settings.name, course, record.seconds)

    def _fetch_losses(self) -> None:
        """Bring the losses of this epoch to the host and refuse one that is not finite."""
        now = self.state.progress
        if self.fresh_losses:
            now.losses += torch.stack(self.fresh_losses).tolist()
            self.fresh_losses = []
        bad = next((i for i, loss in enumerate(now.losses) if not math.isfinite(loss)), None)
        if bad is not None:
            indices = self.order.scans_of_updates(now.epoch)[bad]
            scans = ", ".join(self.training.scans[index].scan for index in indices)
            raise TrainingError(
                f"{self.settings.name}: the loss is {now.losses[bad]} in epoch {now.epoch + 1}, update {bad + 1} "
                f"(scans {scans}); look at these scans, or lower train.learning_rate; {self.file.kept()}"
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
                f"{now.epoch + 1}; lower train.learning_rate; {self.file.kept()}"
            )

    def _outcome(self) -> TrainedFold:
        now, last = self.state.progress, self.state.average.weights()
        self._require_finite(last)
        validated = now.best_dice is not None
        best_epoch = now.best_epoch if validated else now.epoch
        facts = self._facts(best_epoch)
        if facts["warnings"]:
            progress("%s: %s", self.settings.name, describe_warnings(facts))
        return TrainedFold(
            last=last,
            best=self.state.best if validated else last,
            best_epoch=best_epoch,
            best_validation_dice=now.best_dice,
            history=now.records(),
            facts=facts,
            settings=self.settings,
        )

    def _facts(self, best_epoch: int) -> dict[str, Any]:
        settings = {key: value for key, value in asdict(self.settings).items() if isinstance(value, dict)}
        history = self.state.progress.records()
        windows, size_yx = len(history) * self.order.windows_per_epoch, self.training.scans[0].shape_zyx[1:]
        return settings | {
            **self.task.facts(),
            "code": self.settings.code,
            "slice_axis": self.settings.axes[0],
            "seed": self.settings.seed,
            "state_key": self.file.key,
            "training": [scan.scan for scan in self.training.scans],
            "validation": [scan.scan for scan in self.validated.scans],
            "epochs": len(history),
            "best_epoch": best_epoch,
            "best_validation_dice": self.state.progress.best_dice,
            "warnings": self.task.warnings(history),
            "updates": len(history) * self.order.updates_per_epoch,
            "voxels_seen": windows * self.config.window_slices * math.prod(size_yx),
            "gmac_per_voxel": gmac_per_voxel(self.state.network),
            "parameters": sum(parameter.numel() for parameter in self.state.network.parameters()),
            "seconds": round(sum(record.seconds for record in history), 1),
            "peak_memory_mb": max(record.memory_mb for record in history),
            "peak_memory_of": peak_memory_of(self.compute.device),
            "device": self.compute.describe(),
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            "reproducible": torch.are_deterministic_algorithms_enabled(),
            "resumed": self.resumed,
            "torch": str(torch.__version__),
        }


def _stores(
    training: Iterable[TrainingScan],
    validation: Iterable[TrainingScan],
    settings: FoldSettings,
    compute: Compute,
    state_path: Path,
) -> tuple[ScanStore, ScanStore]:
    """Load the scans into memory: training scans first, then validation scans into the rest of the allowance.

    Raises:
        TrainingError: there is nothing to train on, or scans cannot be used (see `ScanStore`).
    """
    config = settings.train

    def store(scans: Iterable[TrainingScan], taken_gb: dict[str, float]) -> ScanStore:
        return ScanStore(
            scans,
            compute.device,
            device_gb=max(config.device_cache_gb - taken_gb.get("device", 0.0), 0.0),
            host_gb=max(config.host_cache_gb - taken_gb.get("host", 0.0), 0.0),
            spill_folder=state_path.parent,
        )

    stored = store(training, {})
    if not stored.scans:
        raise TrainingError("nothing to train on: no scan with a reference is left for this fold")
    return stored, store(validation, {stored.placement: stored.bytes / 1e9})
