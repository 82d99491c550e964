"""The course of a training: one record an epoch, and its file."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lib.atomic import whole_file


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One row of history.csv.

    Attributes:
        epoch: counted from 1.
        loss: mean over the updates; without the penalty on the weights, which is part of the optimiser.
        validation_dice: mean over whole validation scans at probability 0.5; None if the epoch was not validated.
        validation_bone: mean share of the voxels of the validation scans that is predicted as bone, scans without any
            reference left out; None where there is none. At 0 or 1 the network predicts the same everywhere.
        learning_rate: of the last update.
        seconds: of the epoch, validation included.
        samples_per_second: windows trained on, validation not counted.
        memory_mb: largest so far: of the device's allocator on CUDA, else of the process.
    """

    epoch: int
    loss: float
    validation_dice: float | None
    validation_bone: float | None
    learning_rate: float
    seconds: float
    samples_per_second: float
    memory_mb: float


def write_history(path: str | Path, history: Sequence[EpochRecord]) -> None:
    """Write history.csv; the validation columns of an epoch that was not validated are empty."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [entry.name for entry in fields(EpochRecord)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(record) for record in history)


def has_settled(history: Sequence[EpochRecord], epochs: int) -> bool:
    """Tell whether the mean training loss of the last `epochs` is no lower than that of the `epochs` before them.

    Validation people are not used, so that they stay held out when the fold is scored on them.
    """
    losses = [record.loss for record in history[-2 * epochs :]]
    return 0 < 2 * epochs == len(losses) and sum(losses[epochs:]) >= sum(losses[:epochs])
