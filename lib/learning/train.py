"""Training of one fold: validated by whole scans, resumable at every update.

Nothing random is carried along: order, windows, transforms and dropout of an update follow from the seed, the
epoch and the number of the update. A state is therefore weights, optimiser and counters, and a training that
was killed and started again ends with the same bits as one that was not.
"""

import hashlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import TrainingError
from lib.joblog import progress
from lib.learning.augment import Transform, apply_transforms, draw_transform, margin_slices
from lib.learning.average import RunningAverage
from lib.learning.checkpoint import read_state, weights_on_host, write_state
from lib.learning.collapse import (
    Yardstick,
    constant_loss,
    describe_collapse,
    describe_warnings,
    find_warnings,
    remedies,
)
from lib.learning.determinism import choose_compute, memory_explained
from lib.learning.history import EpochRecord, has_settled
from lib.learning.intensity import to_intensity
from lib.learning.interrupts import StopRequest, ToldToStopError, stop_on_signal
from lib.learning.losses import parameter_groups, segmentation_loss
from lib.learning.predict import predict_volume
from lib.learning.recipe import FoldSettings, learning_rate
from lib.learning.scan_store import ScanStore, TrainingScan
from lib.learning.vnet import VNet, initialise_on
from lib.learning.windows import WindowLayout, draw_start
from lib.seeding import derive_seed

REMEDY = (
    "make train.batch_size (train.accumulate keeps the size of an update), train.window_slices, crop.size_xy or the "
    "channels of the model smaller, or set train.device_cache_gb below the size of the cohort so that it stays "
    "in host memory"
)
INITIAL_WINDOWS = 4  # from which a new network takes its scales

AfterUpdate = Callable[[int, int], None]
AfterValidation = Callable[[int, list[float]], None]

logger = logging.getLogger("osteoflow.learning")


@dataclass
class Progress:
    """How far a training has come; with weights and optimiser, all that a state holds."""

    epoch: int = 0  # epochs that are done
    update: int = 0  # updates done in the current epoch
    losses: list[float] = field(default_factory=list)  # of the current epoch, as far as fetched
    seconds: float = 0.0  # spent on the current epoch
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_dice: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """A finished training: weights (host memory), the course of it, facts for run.json.

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


@dataclass(frozen=True)
class Draw:
    """What one pass through the network is made of: scans (indices), first slices, transforms; one entry a window."""

    indices: list[int]
    starts: list[int]
    transforms: list[Transform]


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What a validation found in one scan: its Dice, and the shares of its voxels that are bone."""

    dice: float
    predicted_share: float
    reference_share: float


def train_fold(
    training: Iterable[TrainingScan],
    validation: Iterable[TrainingScan],
    settings: FoldSettings,
    state_path: str | Path,
    after_update: AfterUpdate = lambda epoch, update: None,
    after_validation: AfterValidation = lambda epoch, dice: None,
) -> TrainedFold:
    """Train one fold, going on from the state at `state_path` where that fits.

    Args:
        training: scans to learn from; taken one at a time, so that they are never in memory twice.
        validation: scans to predict as a whole every `validate_every` epochs; without any, the last weights
            also count as the best.
        settings: everything else.
        state_path: where an unfinished training is kept, every `checkpoint_minutes` and on SIGTERM or SIGINT.
            The caller deletes it when the results are safely written.
        after_update: called after each update with epoch and update, both counted from 1.
        after_validation: called after each validation with the epoch and the Dice of each validation scan.

    Raises:
        TrainingError: no usable scans, a loss that is not finite, a network that has collapsed
            (`lib.learning.collapse`; the state is kept, so that a retry ends as it did), too little memory, or told
            to stop.
    """
    if settings.architecture.classes != 1:
        raise TrainingError(
            f"{settings.name}: networks of several classes cannot be trained yet; set classes: 1"
        )
    with memory_explained(REMEDY):
        trainer = _FoldTrainer(training, validation, settings, Path(state_path))
        with stop_on_signal() as stop:
            return trainer.run(stop, after_update, after_validation)


class _FoldTrainer:
    """The moving parts of one training."""

    def __init__(
        self,
        training: Iterable[TrainingScan],
        validation: Iterable[TrainingScan],
        settings: FoldSettings,
        state_path: Path,
    ) -> None:
        self.settings, self.config, self.state_path = settings, settings.train, state_path
        self.compute = choose_compute(self.config.device, self.config.precision, self.config.memory_layout)
        self.training = self._store(training)
        if not self.training.scans:
            raise TrainingError("nothing to train on: no scan with a reference is left for this fold")
        self.validation = self._store(validation, beside=self.training)
        self.key = self._key()
        self.yardstick = self._yardstick()
        self.margin = max(
            margin_slices(self.config.augment, scan.shape_zyx, scan.spacing_mm_zyx)
            for scan in self.training.scans
        )
        self.slices = self.config.window_slices + 2 * self.margin
        torch.manual_seed(derive_seed(settings.seed, "weights"))
        self.network = self.compute.place(VNet(settings.architecture))
        self.forward = torch.compile(self.network) if self.config.compile else self.network
        groups = parameter_groups(self.network, self.config.l2_alpha)
        self.optimizer = torch.optim.Adam(groups, lr=self.config.learning_rate, fused=self.config.fused)
        self.best: dict[str, Tensor] = {}
        self.progress = Progress()
        self.fresh_losses: list[Tensor] = []  # on the device: fetching each one would make it wait
        self.saved_at = time.monotonic()
        state = read_state(self.state_path, self.key)
        self.resumed = state is not None
        if state is None:
            self._initialise()
        self.average = RunningAverage(self.network, self.config.weight_average)
        if state is not None:
            self._restore(state)

    def run(
        self, stop: StopRequest, after_update: AfterUpdate, after_validation: AfterValidation
    ) -> TrainedFold:
        logger.info(
            "%s: %d scans to train on (in %s memory), %d to validate, %s, %s, %d updates an epoch",
            self.settings.name,
            len(self.training.scans),
            self.training.placement,
            len(self.validation.scans),
            self.compute.describe(),
            self.compute.precision,
            self.updates_per_epoch,
        )
        try:
            self._refuse_collapse()
            while not self._has_ended():
                self._make_updates(stop, after_update)
                begin = time.monotonic()
                found = self._validate(stop) if self._is_validated() else []
                self._close_epoch(found, time.monotonic() - begin)
                if found:
                    after_validation(self.progress.epoch, [scan.dice for scan in found])
                self._refuse_collapse()
        except ToldToStopError:
            self._save()
            where = f"after update {self.progress.update} of epoch {self.progress.epoch + 1}"
            raise TrainingError(
                f"{self.settings.name}: told to stop {where}; the next start goes on there"
            ) from None
        return self._result()

    @property
    def windows_per_epoch(self) -> int:
        return len(self.training.scans) * self.config.samples_per_scan

    @property
    def updates_per_epoch(self) -> int:
        return math.ceil(self.windows_per_epoch / (self.config.batch_size * self.config.accumulate))

    def _store(self, scans: Iterable[TrainingScan], beside: ScanStore | None = None) -> ScanStore:
        """Take scans into the memory that another store has left of what the settings allow."""
        taken_gb = {beside.placement: beside.bytes / 1e9} if beside else {}
        return ScanStore(
            scans,
            self.compute.device,
            device_gb=max(self.config.device_cache_gb - taken_gb.get("device", 0.0), 0.0),
            host_gb=max(self.config.host_cache_gb - taken_gb.get("host", 0.0), 0.0),
            spill_folder=self.state_path.parent,
        )

    def _key(self) -> str:
        """Return a digest of settings, code and data: what must be equal for a training to be continued."""
        parts = self.settings.digest(), self.training.digest, self.validation.digest
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def _initialise(self) -> None:
        """Fit the new network's scales to a few windows of the training scans."""
        generator = np.random.default_rng(derive_seed(self.settings.seed, "initial windows"))
        draw = self._draw(generator.permutation(len(self.training.scans))[:INITIAL_WINDOWS], generator)
        intensity, _ = self._prepare(draw, *self.training.windows(*self._place(draw), self.slices))
        initialise_on(self.network, intensity)

    def _history(self) -> list[EpochRecord]:
        return [EpochRecord(**row) for row in self.progress.history]

    def _has_ended(self) -> bool:
        state = self.progress
        if state.epoch == self.config.epochs:
            return True
        return state.update == 0 and has_settled(self._history(), self.config.early_stop_epochs)

    def _refuse_collapse(self) -> None:
        """End a training that has collapsed; the state is saved first, so that a retry ends here at once."""
        words = describe_collapse(self._history(), self.yardstick)
        if words:
            self._save()
            advice = remedies(asdict(self.config), asdict(self.settings.architecture))
            raise TrainingError(f"{self.settings.name} {words}. {advice}")

    def _yardstick(self) -> Yardstick:
        """Return what this training's course is measured by; where windows exceed a scan they hold air beside it."""
        shares = [
            share * min(1.0, scan.shape_zyx[0] / self.config.window_slices)
            for share, scan in zip(self.training.bone_shares, self.training.scans, strict=True)
        ]
        return Yardstick(
            constant_loss=constant_loss(shares, self.config.loss, self.config.bone_weight),
            updates_per_epoch=self.updates_per_epoch,
            warm_up_epochs=math.ceil(self.config.warm_up * self.config.epochs),
        )

    def _make_updates(self, stop: StopRequest, after_update: AfterUpdate) -> None:
        """Make the updates that the current epoch still lacks."""
        state = self.progress
        updates = [
            self._draws(state.epoch, number, scans)
            for number, scans in enumerate(self._scans_of_updates(state.epoch))
        ]
        to_do = updates[state.update :]
        places = (self._place(draw) for draws in to_do for draw in draws)
        self.network.train()
        begin = time.monotonic() - state.seconds
        with closing(self.training.stream(places, self.slices)) as batches:
            for draws in to_do:
                self._update(draws, batches, stop)
                state.update += 1
                state.seconds = time.monotonic() - begin
                self._save_if_due()
                after_update(state.epoch + 1, state.update)
        self._fetch_losses()
        state.seconds = time.monotonic() - begin

    def _close_epoch(self, found: list[Validated], validation_seconds: float) -> None:
        """Record the epoch, and keep its weights if they are the best so far."""
        state = self.progress
        mean_dice = float(np.mean([scan.dice for scan in found])) if found else None
        bone = [scan.predicted_share for scan in found if scan.reference_share > 0]
        record = EpochRecord(
            epoch=state.epoch + 1,
            loss=math.fsum(state.losses) / len(state.losses),
            validation_dice=mean_dice,
            validation_bone=math.fsum(bone) / len(bone) if bone else None,
            learning_rate=self._learning_rate(state.update - 1),
            seconds=round(state.seconds + validation_seconds, 3),
            samples_per_second=round(self.windows_per_epoch / max(state.seconds, 1e-9), 3),
            memory_mb=round(_peak_memory_mb(self.compute.device), 1),
        )
        state.history.append(asdict(record))
        state.epoch, state.update, state.losses, state.seconds = record.epoch, 0, [], 0.0
        if mean_dice is not None and (state.best_dice is None or mean_dice > state.best_dice):
            state.best_epoch, state.best_dice, self.best = record.epoch, mean_dice, self.average.weights()
        report = progress if found else logger.info
        report("%s: %s (%.1f s)", self.settings.name, self._course(record, found), record.seconds)

    def _course(self, record: EpochRecord, found: list[Validated]) -> str:
        text = f"epoch {record.epoch}/{self.config.epochs} loss {record.loss:.4f}"
        if not found:
            return text
        lowest = int(np.argmin([scan.dice for scan in found]))
        worst = f"lowest {found[lowest].dice:.4f}, scan {self.validation.scans[lowest].scan}"
        return f"{text} validation Dice {record.validation_dice:.4f} ({worst})"

    def _scans_of_updates(self, epoch: int) -> list[np.ndarray]:
        """Return the scans (indices) of each update of an epoch."""
        generator = np.random.default_rng(derive_seed(self.settings.seed, "order", epoch))
        order = np.repeat(np.arange(len(self.training.scans)), self.config.samples_per_scan)
        order = generator.permutation(order)
        size = self.config.batch_size * self.config.accumulate
        return [order[i : i + size] for i in range(0, len(order), size)]

    def _draws(self, epoch: int, update: int, indices: np.ndarray) -> list[Draw]:
        """Return what an update is made of: a draw for each batch whose gradients are summed."""
        generator = np.random.default_rng(self._update_seed(epoch, update))
        size = self.config.batch_size
        return [self._draw(indices[i : i + size], generator) for i in range(0, len(indices), size)]

    def _draw(self, indices: Sequence[int], generator: np.random.Generator) -> Draw:
        """Draw window by window, so that the batches an update is cut into do not change what is drawn."""
        draw = Draw(indices=[int(index) for index in indices], starts=[], transforms=[])
        for index in indices:
            slices = self.training.scans[index].shape_zyx[0]
            draw.starts.append(draw_start(slices, self.config.window_slices, generator))
            draw.transforms.append(draw_transform(self.config.augment, generator))
        return draw

    def _update_seed(self, epoch: int, update: int) -> int:
        return derive_seed(self.settings.seed, "update", epoch, update)

    def _update(self, draws: list[Draw], batches: Iterator[tuple[Tensor, Tensor]], stop: StopRequest) -> None:
        """Make one update; its loss stays on the device."""
        stop.heed()  # not within an update: running statistics of batch normalisation would have seen half of it
        state = self.progress
        torch.manual_seed(self._update_seed(state.epoch, state.update))  # dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(state.update)
        self.optimizer.zero_grad(set_to_none=True)
        windows = sum(len(draw.indices) for draw in draws)
        total = torch.zeros((), device=self.compute.device)
        for draw in draws:
            intensity, mask = self._prepare(draw, *next(batches))
            with self.compute.autocast():
                logits = self.forward(intensity)
            loss = segmentation_loss(
                logits, mask, kind=self.config.loss, bone_weight=self.config.bone_weight
            ) * (len(draw.indices) / windows)
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        self.average.follow(self._done(state.update))
        self.fresh_losses.append(total)

    def _place(self, draw: Draw) -> tuple[list[int], list[int]]:
        """Return scans and first slices of a draw's windows, margins included."""
        return draw.indices, [start - self.margin for start in draw.starts]

    def _prepare(self, draw: Draw, image_hu: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return intensity and mask (N, 1, window, y, x) of a draw whose windows were taken with their margins."""
        spacings = [self.training.scans[index].spacing_mm_zyx for index in draw.indices]
        return apply_transforms(
            image_hu, mask, draw.transforms, spacings, self.config.window_slices, self.settings.intensity
        )

    def _done(self, update: int) -> int:
        """Return how many updates lie before this one of the current epoch."""
        return self.progress.epoch * self.updates_per_epoch + update

    def _learning_rate(self, update: int) -> float:
        return learning_rate(self.config, self._done(update), self.config.epochs * self.updates_per_epoch)

    def _is_validated(self) -> bool:
        epoch = self.progress.epoch + 1
        return epoch % self.config.validate_every == 0 or epoch == self.config.epochs

    def _validate(self, stop: StopRequest) -> list[Validated]:
        """Return what is found in each whole validation scan, at probability 0.5."""
        layout = WindowLayout(
            window=self.config.window_slices,
            step=self.config.validate_step,
            z_padding=self.settings.predict.z_padding,
            batch=self.settings.predict.batch_windows,
        )
        with self.average.in_place() as network:
            network.eval()

            def predictor(windows: Tensor) -> Tensor:
                stop.heed()
                return network(windows)

            return [self._find(index, predictor, layout) for index in range(len(self.validation.scans))]

    def _find(self, index: int, predictor: Callable[[Tensor], Tensor], layout: WindowLayout) -> Validated:
        image_hu, mask = self.validation.volume(index)
        intensity = to_intensity(image_hu, self.settings.intensity)
        predicted = predict_volume([predictor], intensity, layout, self.compute) >= 0.5
        mask = mask > 0
        shared = (predicted & mask).sum().item()
        bone, reference = predicted.sum().item(), mask.sum().item()
        total = bone + reference
        return Validated(
            dice=2 * shared / total if total else 1.0,
            predicted_share=bone / mask.numel(),
            reference_share=reference / mask.numel(),
        )

    def _fetch_losses(self) -> None:
        """Bring the losses of this epoch to the host and refuse one that is not finite."""
        state = self.progress
        if self.fresh_losses:
            state.losses += torch.stack(self.fresh_losses).tolist()
            self.fresh_losses = []
        bad = next((i for i, loss in enumerate(state.losses) if not math.isfinite(loss)), None)
        if bad is not None:
            indices = self._scans_of_updates(state.epoch)[bad]
            scans = ", ".join(self.training.scans[index].scan for index in indices)
            raise TrainingError(
                f"{self.settings.name}: the loss is {state.losses[bad]} in epoch {state.epoch + 1}, "
                f"update {bad + 1} (scans {scans}); look at these scans, or lower train.learning_rate; {self._kept()}"
            )

    def _save_if_due(self) -> None:
        if time.monotonic() - self.saved_at >= self.config.checkpoint_minutes * 60:
            self._save()

    def _finite(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights, refused if a gradient has spoilt them: the loss shows it one update too late."""
        if not all(bool(weight.isfinite().all()) for weight in weights.values()):
            raise TrainingError(
                f"{self.settings.name}: weights are no longer finite after update {self.progress.update} of epoch "
                f"{self.progress.epoch + 1}; lower train.learning_rate; {self._kept()}"
            )
        return weights

    def _kept(self) -> str:
        return (
            "the last state saved before it is kept"
            if self.state_path.is_file()
            else "no state was saved yet"
        )

    def _save(self) -> None:
        self._fetch_losses()
        state = {
            "key": self.key,
            "network": self._finite(weights_on_host(self.network)),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state(),
            "best": self.best,
            "progress": asdict(self.progress),
        }
        write_state(self.state_path, state)
        self.saved_at = time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            # a state from another device may have another layout, which fused Adam does not look at
            for name, moment in moments.items():
                if moment.ndim:
                    moments[name] = torch.empty_like(parameter).copy_(moment)
        self.average.load(state["average"])
        self.best = state["best"]
        self.progress = Progress(**state["progress"])
        progress("%s: going on after epoch %d", self.settings.name, self.progress.epoch)

    def _result(self) -> TrainedFold:
        state, last = self.progress, self._finite(self.average.weights())
        validated = state.best_dice is not None
        best_epoch = state.best_epoch if validated else state.epoch
        history = self._history()
        facts = self._facts(history, best_epoch)
        if facts["warnings"]:
            progress("%s: %s", self.settings.name, describe_warnings(facts))
        return TrainedFold(
            last=last,
            best=self.best if validated else last,
            best_epoch=best_epoch,
            best_validation_dice=state.best_dice,
            history=history,
            facts=facts,
            settings=self.settings,
        )

    def _facts(self, history: list[EpochRecord], best_epoch: int) -> dict[str, Any]:
        settings = {key: value for key, value in asdict(self.settings).items() if isinstance(value, dict)}
        return settings | {
            "code": self.settings.code,
            "seed": self.settings.seed,
            "state_key": self.key,
            "training": [scan.scan for scan in self.training.scans],
            "validation": [scan.scan for scan in self.validation.scans],
            "epochs": len(history),
            "best_epoch": best_epoch,
            "best_validation_dice": self.progress.best_dice,
            "warnings": find_warnings(history, self.yardstick),
            "updates": len(history) * self.updates_per_epoch,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "seconds": round(sum(record.seconds for record in history), 1),
            "device": self.compute.describe(),
            "precision": self.compute.precision,
            "threads": torch.get_num_threads(),
            "reproducible": torch.are_deterministic_algorithms_enabled(),
            "resumed": self.resumed,
            "torch": str(torch.__version__),
        }


def _peak_memory_mb(device: torch.device) -> float:
    """Return the largest memory used so far: of the device's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource  # absent on Windows, where only CUDA training reports its memory

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
