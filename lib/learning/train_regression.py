"""Training of one fold of a regression."""

from collections.abc import Iterable
from pathlib import Path

from lib.learning.compute import Compute, choose_compute
from lib.learning.crop_store import CropStore, TargetCrop
from lib.learning.engine import AfterUpdate, AfterValidation, TrainedFold, train_task
from lib.learning.memory import memory_explained
from lib.learning.regression_recipe import LAYOUT, PRECISION, RegressionSettings
from lib.learning.scan_store import Allowance
from lib.learning.tasks.regress import RegressTask

REMEDY = (
    "make regression.train.batch_size, regression.crop.size or the network of regression.networks smaller"
)


def train_regression(
    training: Iterable[TargetCrop],
    validation: Iterable[TargetCrop],
    settings: RegressionSettings,
    state_path: str | Path,
    after_update: AfterUpdate = lambda epoch, update: None,
    after_validation: AfterValidation = lambda epoch, errors: None,
) -> TrainedFold:
    """Train one fold on crops with reference values, continuing from the state at `state_path` if its key matches.

    Args:
        training: crops to learn from; read one at a time.
        validation: crops to estimate every `validate_every` epochs; without any, the last weights are also the best.
        settings: everything else.
        state_path, after_update: see `lib.learning.engine.train_task`.
        after_validation: called after each validation with the epoch and the absolute error of each validation crop.

    Raises:
        TrainingError: no usable crops, a loss that is not finite, too little memory, or a request to stop.
    """
    config = settings.train

    def make_task(compute: Compute) -> RegressTask:
        allowance = Allowance(
            device_gb=config.device_cache_gb,
            host_gb=config.host_cache_gb,
            spill_folder=Path(state_path).parent,
        )
        stored = CropStore(training, settings.crop, compute.device, allowance)
        rest = CropStore(validation, settings.crop, compute.device, allowance.without(stored.volumes))
        return RegressTask(stored, rest, settings, compute)

    with memory_explained(REMEDY):
        compute = choose_compute(config.device, PRECISION, LAYOUT)
        return train_task(make_task, settings, compute, state_path, after_update, after_validation)
