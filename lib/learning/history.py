"""The course of a training: one record an epoch, and its file."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from lib.atomic import whole_file
from lib.model_record import REGRESS, SEGMENT


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One row of history.csv.

    Attributes:
        epoch: counted from 1.
        loss: mean over the updates; without the penalty on the weights, which is part of the optimiser.
        validation_dice: mean over whole validation scans, of a scan's mean over structures (one structure is cut at
            probability 0.5); None if the epoch was not validated.
        validation_bone: mean share of the voxels of the validation scans that is predicted as bone, scans without any
            reference left out; None where there is none. At 0 or 1 the network predicts the same everywhere.
        validation_rmse: of a regression: root mean square of the errors of the validation crops, in the target's
            unit; None if the epoch was not validated.
        validation_r: Pearson correlation of estimates and references of the validation crops; None if one of them is
            the same for all.
        validation_sd: standard deviation of the estimates of the validation crops, in the target's unit.
        learning_rate: of the last update.
        seconds: of the epoch, validation included.
        samples_per_second: windows trained on, validation not counted.
        memory_mb: largest so far: of the device's allocator on CUDA, else of the process.
        structure_dice: mean over whole validation scans of each structure, by name, if there are several; None for a
            structure that is in no scan. A column `validation_dice_{structure}` each.
    """

    epoch: int
    loss: float
    validation_dice: float | None = None
    validation_bone: float | None = None
    validation_rmse: float | None = None
    validation_r: float | None = None
    validation_sd: float | None = None
    learning_rate: float
    seconds: float
    samples_per_second: float
    memory_mb: float
    structure_dice: Mapping[str, float | None] = field(default_factory=dict)


_OF_TASK = {
    SEGMENT: ("validation_dice", "validation_bone"),
    REGRESS: ("validation_rmse", "validation_r", "validation_sd"),
}


def history_columns(task: str) -> tuple[str, ...]:
    """Return the columns of history.csv of a task."""
    others = {name for other, names in _OF_TASK.items() if other != task for name in names}
    names = (entry.name for entry in fields(EpochRecord) if entry.name != "structure_dice")
    return tuple(name for name in names if name not in others)


def write_history(path: str | Path, history: Sequence[EpochRecord], task: str = SEGMENT) -> None:
    """Write history.csv of a task; the validation columns of an epoch that was not validated are empty.

    For several structures that are segmented a column `validation_dice_{structure}` each follows.
    """
    rows = [
        asdict(record) | {f"validation_dice_{name}": dice for name, dice in record.structure_dice.items()}
        for record in history
    ]
    further = dict.fromkeys(name for row in rows for name in row if name.startswith("validation_dice_"))
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        columns = [*history_columns(task), *further]
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def has_settled(history: Sequence[EpochRecord], epochs: int) -> bool:
    """Tell whether the mean training loss of the last `epochs` is no lower than that of the `epochs` before them.

    Validation people are not used, so that they stay held out when the fold is scored on them.
    """
    losses = [record.loss for record in history[-2 * epochs :]]
    return 0 < 2 * epochs == len(losses) and sum(losses[epochs:]) >= sum(losses[:epochs])
