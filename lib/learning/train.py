"""Training of one fold: a fixed schedule, validated by whole scans, resumable at every update.

Nothing random is carried along: order, windows, transforms and dropout of an update follow from the seed, the
epoch and the number of the update. A state is therefore weights, optimiser and counters, and a training that
was killed and started again ends with the same bits as one that was not.
"""

import csv
import hashlib
import json
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.atomic import whole_file
from lib.errors import TrainingError
from lib.joblog import progress
from lib.learning.augment import AugmentConfig, apply_transforms, draw_transform, margin_slices
from lib.learning.checkpoint import read_state, weights_on_host, write_state
from lib.learning.determinism import choose_compute, memory_explained
from lib.learning.intensity import IntensityConfig, to_intensity
from lib.learning.losses import parameter_groups, soft_dice_loss
from lib.learning.predict import PredictConfig, predict_volume
from lib.learning.scans import ScanStore, TrainingScan, require_usable
from lib.learning.settings import is_count, require
from lib.learning.vnet import VNet, VNetConfig, initialise_on
from lib.learning.windows import WindowLayout, draw_start
from lib.seeding import derive_seed

REMEDY = (
    "make train.batch_size, train.window_slices, crop.size_xy or the channels of the model smaller, or set "
    "train.device_cache_gb below the size of the cohort so that it stays in host memory"
)

INITIAL_WINDOWS = 4  # from which a new network takes its scales
WARM_UP = 0.08  # share of all updates over which the rate of schedule `cosine` rises

logger = logging.getLogger("osteoflow.learning")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Keys of config `train`, with their units and meanings there.

    `schedule` is constant, or cosine: up over the first 8 % of the updates, then down to 0 at the last epoch.
    `validate_step` is the step between windows, in slices, when validation scans are predicted while training
    goes on. The paper's step of 1 would cost several times as much and moves the Dice in the fourth digit.
    """

    epochs: int = 1000
    samples_per_scan: int = 1
    batch_size: int = 1
    window_slices: int = 32
    learning_rate: float = 1e-4
    schedule: str = "constant"
    l2_alpha: float = 1e-5
    validate_every: int = 10
    validate_step: int = 8
    checkpoint_minutes: float = 5.0
    device: str = "auto"
    precision: str = "auto"
    device_cache_gb: float = 24.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        if not isinstance(self.augment, AugmentConfig):
            object.__setattr__(self, "augment", AugmentConfig(**self.augment))
        counts = (
            "epochs",
            "samples_per_scan",
            "batch_size",
            "window_slices",
            "validate_every",
            "validate_step",
        )
        for key in counts:
            value = getattr(self, key)
            require(is_count(value), f"train.{key}", value, "an integer of at least 1")
        for key in ("l2_alpha", "checkpoint_minutes", "device_cache_gb"):
            require(getattr(self, key) >= 0, f"train.{key}", getattr(self, key), "0 or more")
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "more than 0")
        require(
            self.schedule in ("constant", "cosine"), "train.schedule", self.schedule, "constant or cosine"
        )


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """All that shapes one training, beside the data.

    `network`, `train`, `intensity` and `predict` may be given as mappings with the keys of the configuration.

    Attributes:
        name: how progress lines call the fold, e.g. "all/vnet fold 0".
        seed: of this fold alone.
        code: digest of the code that trains; another one does not continue an unfinished state.
    """

    network: VNetConfig
    train: TrainConfig
    intensity: IntensityConfig
    predict: PredictConfig
    name: str
    seed: int
    code: str = ""

    def __post_init__(self) -> None:
        """Turn mappings into settings, which validate themselves."""
        kinds = {
            "network": VNetConfig,
            "train": TrainConfig,
            "intensity": IntensityConfig,
            "predict": PredictConfig,
        }
        for key, kind in kinds.items():
            value = getattr(self, key)
            object.__setattr__(self, key, value if isinstance(value, kind) else kind(**value))


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One row of history.csv. `seconds` includes validation, `samples_per_second` is of training alone."""

    epoch: int
    loss: float
    validation_dice: float | None
    learning_rate: float
    seconds: float
    samples_per_second: float
    memory_mb: float


@dataclass
class Progress:
    """How far a training has come; with weights and optimiser, all that a state holds."""

    epoch: int = 0  # epochs that are done
    update: int = 0  # updates done in the current epoch
    losses: list[float] = field(
        default_factory=list
    )  # of the current epoch, as far as fetched from the device
    seconds: float = 0.0  # spent on the current epoch
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_dice: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """A finished training: weights (host memory), the course of it, facts for run.json."""

    last: dict[str, Tensor]
    best: dict[str, Tensor]
    best_epoch: int
    best_validation_dice: float | None
    history: list[EpochRecord]
    facts: dict[str, Any]
    settings: FoldSettings

    def model_content(self, preprocessing: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `write_model` wants; `preprocessing` are the settings the scans were prepared with."""
        return {
            "network": asdict(self.settings.network),
            "intensity": asdict(self.settings.intensity),
            "preprocessing": dict(preprocessing),
            "window_slices": self.settings.train.window_slices,
            "last": self.last,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_validation_dice": self.best_validation_dice,
        }


def train_fold(
    training: Sequence[TrainingScan],
    validation: Sequence[TrainingScan],
    settings: FoldSettings,
    state_path: str | Path,
    after_update: Callable[[int, int], None] = lambda epoch, update: None,
) -> TrainedFold:
    """Train one fold, going on from the state at `state_path` where that fits.

    Args:
        training: scans to learn from.
        validation: scans to predict as a whole every `validate_every` epochs; without any, the last weights
            also count as the best.
        settings: everything else.
        state_path: where an unfinished training is kept, every `checkpoint_minutes` and on SIGTERM or SIGINT.
            The caller deletes it when the results are safely written.
        after_update: called after each update with epoch and update, both counted from 1.

    Raises:
        TrainingError: no usable scans, a loss that is not finite, too little memory, or told to stop.
    """
    require_usable(training)
    if validation:
        require_usable([training[0], *validation])
    with memory_explained(REMEDY), _stop_on_signal() as stop:
        trainer = _FoldTrainer(training, validation, settings, Path(state_path))
        return trainer.run(stop, after_update)


def write_history(path: str | Path, history: Sequence[EpochRecord]) -> None:
    """Write history.csv; an epoch that was not validated leaves its Dice empty."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [entry.name for entry in fields(EpochRecord)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in history)


def state_key(
    training: Sequence[TrainingScan], validation: Sequence[TrainingScan], settings: FoldSettings
) -> str:
    """Return a digest of settings, code and data: what must be equal for a training to be continued."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for role, scans in (("training", training), ("validation", validation)):
        for scan in scans:
            digest.update(f"{role} {scan.scan} {scan.image_zyx.shape} {scan.spacing_mm_zyx}".encode())
            digest.update(np.ascontiguousarray(scan.image_zyx))
            digest.update(np.ascontiguousarray(scan.mask_zyx))
    return digest.hexdigest()


class _FoldTrainer:
    """The moving parts of one training."""

    def __init__(
        self,
        training: Sequence[TrainingScan],
        validation: Sequence[TrainingScan],
        settings: FoldSettings,
        state_path: Path,
    ) -> None:
        self.training, self.validation, self.settings = training, validation, settings
        self.config = settings.train
        self.state_path = state_path
        self.key = state_key(training, validation, settings)
        self.compute = choose_compute(self.config.device, self.config.precision)
        self.store = ScanStore(training, self.compute.device, self.config.device_cache_gb)
        self.margin = max(
            margin_slices(self.config.augment, scan.image_zyx.shape, scan.spacing_mm_zyx) for scan in training
        )
        torch.manual_seed(derive_seed(settings.seed, "weights"))
        network = VNet(settings.network)
        self.network = network.to(self.compute.device, memory_format=self.compute.memory_format)
        groups = parameter_groups(self.network, self.config.l2_alpha)
        self.optimizer = torch.optim.Adam(groups, lr=self.config.learning_rate, fused=True)
        self.best = weights_on_host(self.network)
        self.progress = Progress()
        self.fresh_losses: list[Tensor] = []  # on the device: fetching each one would make it wait
        self.saved_at = time.monotonic()
        self.restored = self._restore()
        if not self.restored:
            self._initialise()

    @property
    def updates_per_epoch(self) -> int:
        windows = len(self.training) * self.config.samples_per_scan
        return math.ceil(windows / self.config.batch_size)

    def run(self, stop: threading.Event, after_update: Callable[[int, int], None]) -> TrainedFold:
        logger.info(
            "%s: %d scans to train on (%s memory), %d to validate, %s, %s, %d updates an epoch",
            self.settings.name,
            len(self.training),
            "device" if self.store.on_device else "host",
            len(self.validation),
            self.compute.describe(),
            "bf16" if self.compute.bf16 else "float32",
            self.updates_per_epoch,
        )
        while self.progress.epoch < self.config.epochs:
            self._train_epoch(stop, after_update)
        return self._result()

    def _initialise(self) -> None:
        """Fit the new network's scales to a few windows of the training scans."""
        generator = np.random.default_rng(derive_seed(self.settings.seed, "initial windows"))
        indices = generator.permutation(len(self.training))[:INITIAL_WINDOWS]
        initialise_on(self.network, self._draw_batch(indices, generator)[0])

    def _train_epoch(self, stop: threading.Event, after_update: Callable[[int, int], None]) -> None:
        """Make the updates that the current epoch still lacks, then validate and record it."""
        epoch, state = self.progress.epoch, self.progress
        batches = self._batches(epoch)
        begin = time.monotonic() - state.seconds
        self.network.train()
        while state.update < len(batches):
            self.fresh_losses.append(self._update(epoch, state.update, batches[state.update]))
            state.update += 1
            state.seconds = time.monotonic() - begin
            self._save_if_due(stop)
            after_update(epoch + 1, state.update)
        self._fetch_losses()
        trained_seconds = time.monotonic() - begin
        dice = self._validate() if self._is_validated(epoch) else None
        windows = len(self.training) * self.config.samples_per_scan
        record = EpochRecord(
            epoch=epoch + 1,
            loss=math.fsum(state.losses) / len(batches),
            validation_dice=dice,
            learning_rate=self._learning_rate(epoch, len(batches) - 1),
            seconds=round(time.monotonic() - begin, 3),
            samples_per_second=round(windows / max(trained_seconds, 1e-9), 3),
            memory_mb=round(_peak_memory_mb(self.compute.device), 1),
        )
        self._close_epoch(record)

    def _close_epoch(self, record: EpochRecord) -> None:
        state = self.progress
        state.history.append(asdict(record))
        state.epoch, state.update, state.losses, state.seconds = record.epoch, 0, [], 0.0
        dice = record.validation_dice
        if dice is not None and (state.best_dice is None or dice > state.best_dice):
            state.best_epoch, state.best_dice, self.best = record.epoch, dice, weights_on_host(self.network)
        report = logger.info if dice is None else progress
        report(
            "%s: epoch %d/%d loss %.4f%s (%.1f s)",
            self.settings.name,
            record.epoch,
            self.config.epochs,
            record.loss,
            "" if dice is None else f" validation Dice {dice:.4f}",
            record.seconds,
        )

    def _batches(self, epoch: int) -> list[np.ndarray]:
        """Return the scans (indices) of each update of an epoch."""
        generator = np.random.default_rng(derive_seed(self.settings.seed, "order", epoch))
        order = np.repeat(np.arange(len(self.training)), self.config.samples_per_scan)
        order = generator.permutation(order)
        return [order[i : i + self.config.batch_size] for i in range(0, len(order), self.config.batch_size)]

    def _update(self, epoch: int, update: int, indices: np.ndarray) -> Tensor:
        """Make one update; return its loss, still on the device."""
        seed = derive_seed(self.settings.seed, "update", epoch, update)
        intensity, mask = self._draw_batch(indices, np.random.default_rng(seed))
        torch.manual_seed(seed)  # dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(epoch, update)
        with self.compute.autocast():
            logits = self.network(intensity)
        loss = soft_dice_loss(logits, mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _draw_batch(self, indices: np.ndarray, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return intensity and mask (N, 1, window, y, x) of random, transformed windows of these scans."""
        window, scans = self.config.window_slices, [self.training[index] for index in indices]
        starts = [draw_start(scan.image_zyx.shape[0], window, generator) for scan in scans]
        transforms = [draw_transform(self.config.augment, generator) for _ in scans]
        first = [start - self.margin for start in starts]
        image_hu, mask = self.store.windows(indices, first, window + 2 * self.margin)
        intensity = to_intensity(image_hu, self.settings.intensity)
        spacings = [scan.spacing_mm_zyx for scan in scans]
        return apply_transforms(intensity, mask, transforms, spacings, window)

    def _learning_rate(self, epoch: int, update: int) -> float:
        """Return the rate of an update; `cosine` rises linearly at first, because Adam's first steps are blind."""
        rate = self.config.learning_rate
        if self.config.schedule == "constant":
            return rate
        updates = self.config.epochs * self.updates_per_epoch
        done = epoch * self.updates_per_epoch + update
        rising = min(1.0, (done + 1) / max(WARM_UP * updates, 1.0))
        return rate * rising * (1 + math.cos(math.pi * done / updates)) / 2

    def _is_validated(self, epoch: int) -> bool:
        due = (epoch + 1) % self.config.validate_every == 0 or epoch + 1 == self.config.epochs
        return due and len(self.validation) > 0

    def _validate(self) -> float:
        """Return the mean Dice at probability 0.5 of the whole validation scans."""
        self.network.eval()
        layout = WindowLayout(
            window=self.config.window_slices,
            step=self.config.validate_step,
            z_padding=self.settings.predict.z_padding,
            batch=self.settings.predict.batch_windows,
        )
        return float(np.mean([self._dice(scan, layout) for scan in self.validation]))

    def _dice(self, scan: TrainingScan, layout: WindowLayout) -> float:
        device = self.compute.device
        image_hu = torch.from_numpy(np.ascontiguousarray(scan.image_zyx)).to(device)
        mask = torch.from_numpy(np.ascontiguousarray(scan.mask_zyx)).to(device) > 0
        intensity = to_intensity(image_hu, self.settings.intensity)
        predicted = predict_volume([self.network], intensity, layout, self.compute) >= 0.5
        shared, total = (predicted & mask).sum().item(), predicted.sum().item() + mask.sum().item()
        return 2 * shared / total if total else 1.0

    def _fetch_losses(self) -> None:
        """Bring the losses of this epoch to the host and refuse one that is not finite."""
        state = self.progress
        if self.fresh_losses:
            state.losses += torch.stack(self.fresh_losses).tolist()
            self.fresh_losses = []
        bad = next((i for i, loss in enumerate(state.losses) if not math.isfinite(loss)), None)
        if bad is not None:
            scans = ", ".join(self.training[index].scan for index in self._batches(state.epoch)[bad])
            raise TrainingError(
                f"{self.settings.name}: the loss is {state.losses[bad]} in epoch {state.epoch + 1}, "
                f"update {bad + 1} (scans {scans}); look at these scans, or lower train.learning_rate"
            )

    def _save_if_due(self, stop: threading.Event) -> None:
        stopping = stop.is_set()
        if stopping or time.monotonic() - self.saved_at >= self.config.checkpoint_minutes * 60:
            self._save()
        if stopping:
            where = f"epoch {self.progress.epoch + 1}, update {self.progress.update}"
            raise TrainingError(
                f"{self.settings.name}: told to stop in {where}; the next start goes on there"
            )

    def _save(self) -> None:
        self._fetch_losses()
        state = {
            "key": self.key,
            "network": weights_on_host(self.network),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "progress": asdict(self.progress),
        }
        write_state(self.state_path, state)
        self.saved_at = time.monotonic()

    def _restore(self) -> bool:
        state = read_state(self.state_path, self.key)
        if state is None:
            return False
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.progress = Progress(**state["progress"])
        progress("%s: going on after epoch %d", self.settings.name, self.progress.epoch)
        return True

    def _result(self) -> TrainedFold:
        state, last = self.progress, weights_on_host(self.network)
        validated = state.best_dice is not None
        history = [EpochRecord(**row) for row in state.history]
        return TrainedFold(
            last=last,
            best=self.best if validated else last,
            best_epoch=state.best_epoch if validated else self.config.epochs,
            best_validation_dice=state.best_dice,
            history=history,
            facts=self._facts(history),
            settings=self.settings,
        )

    def _facts(self, history: list[EpochRecord]) -> dict[str, Any]:
        settings = {key: value for key, value in asdict(self.settings).items() if isinstance(value, dict)}
        return settings | {
            "code": self.settings.code,
            "seed": self.settings.seed,
            "state_key": self.key,
            "training": [scan.scan for scan in self.training],
            "validation": [scan.scan for scan in self.validation],
            "best_epoch": self.progress.best_epoch or self.config.epochs,
            "best_validation_dice": self.progress.best_dice,
            "updates": self.config.epochs * self.updates_per_epoch,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "seconds": round(sum(record.seconds for record in history), 1),
            "device": self.compute.describe(),
            "precision": "bf16" if self.compute.bf16 else "float32",
            "threads": torch.get_num_threads(),
            "reproducible": torch.are_deterministic_algorithms_enabled(),
            "resumed": self.restored,
            "torch": str(torch.__version__),
        }


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that is set by SIGTERM (a cluster takes the node away) or SIGINT (Ctrl-C)."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    former = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _peak_memory_mb(device: torch.device) -> float:
    """Return the largest memory used so far: of the device's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    import resource  # absent on Windows, where only CUDA training reports its memory

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
