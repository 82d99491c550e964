"""Training of one fold of a segmentation."""

from collections.abc import Iterable
from pathlib import Path

from lib.errors import TrainingError
from lib.learning.compute import Compute, choose_compute
from lib.learning.engine import AfterUpdate, AfterValidation, TrainedFold, train_task
from lib.learning.memory import memory_explained
from lib.learning.order import TrainingOrder
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import Allowance, ScanStore, TrainingScan
from lib.learning.tasks.segment import SegmentTask

REMEDY = (
    "make train.batch_size (train.accumulate keeps the size of an update), train.window_slices, crop.size or the "
    "channels of the model smaller, or set train.device_cache_gb below the size of the cohort so that it stays "
    "in host memory"
)


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
        state_path, after_update: see `lib.learning.engine.train_task`.
        after_validation: called after each validation with the epoch and the Dice of each validation scan.

    Raises:
        TrainingError: no usable scans, a loss that is not finite, a network that has collapsed
            (`lib.learning.collapse`; the state is kept, so that a retry fails at once), too little memory, or a
            request to stop.
    """
    config = settings.train

    def make_task(compute: Compute) -> SegmentTask:
        stores = _stores(training, validation, settings, compute, Path(state_path).parent)
        order = TrainingOrder(
            scans=stores[0].scans,
            config=config,
            seed=settings.seed,
            axes=settings.axes,
            dimensions=settings.architecture.dimensions,
        )
        return SegmentTask(*stores, order, settings, compute)

    with memory_explained(REMEDY):
        compute = choose_compute(config.device, config.precision, config.memory_layout)
        return train_task(make_task, settings, compute, state_path, after_update, after_validation)


def _stores(
    training: Iterable[TrainingScan],
    validation: Iterable[TrainingScan],
    settings: FoldSettings,
    compute: Compute,
    spill_folder: Path,
) -> tuple[ScanStore, ScanStore]:
    """Load the scans into memory: training scans first, then validation scans into the rest of the allowance.

    Raises:
        TrainingError: there is nothing to train on, or scans cannot be used (see `ScanStore`).
    """
    config = settings.train
    allowance = Allowance(
        device_gb=config.device_cache_gb, host_gb=config.host_cache_gb, spill_folder=spill_folder
    )
    stored = ScanStore.within(allowance, training, compute.device)
    if not stored.scans:
        raise TrainingError("nothing to train on: no scan with a reference is left for this fold")
    return stored, ScanStore.within(allowance.without(stored), validation, compute.device)
