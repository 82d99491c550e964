"""Detection of collapsed trainings, as distinct from slow ones.

Too high a learning rate leaves a network that predicts the same everywhere: all bone, or none. Its loss then
stays at that of a constant prediction. The loss of a slow training also starts near that value, but falls.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median
from typing import Any

import numpy as np

from lib.learning.history import EpochRecord
from lib.model_record import REGRESS

# validations in a row that find no bone, or only bone, and updates they span; after fewer, some networks recovered
LEAST_VALIDATIONS, LEAST_UPDATES = 3, 300
# updates after which a loss that does not fall is enough: a slow training may need hundreds of updates
STILL_UPDATES = 2000
LEAST_EPOCHS = 4  # fewest epochs for a judgement by the loss
# shares of a scan: up to the first it counts as no bone, from the second as all bone; a femur fills some percent
NO_BONE, ALL_BONE = 1e-4, 0.99
# share of a constant's loss from which a loss counts as no better: windows hold more or less bone than whole scans
NEAR_CONSTANT = 0.9
# a loss that falls by less than 1 % from the first half of the epochs to the second does not move
NOT_FALLING = 0.99
# Dice of validation scans above which a network has learnt; all bone has less, unless bone fills a third of a scan
LEARNT_DICE = 0.5
# Adam moves a weight by at most about its rate in an update: below this rate, a training hardly leaves its start
SLOW_RATE = 1e-5
GRID = 1000  # probabilities that are tried

NOT_TRAINED, CONSTANT, LIKE_THE_MEAN = "not_trained", "constant_estimate", "no_better_than_mean"
REGRESSION_ADVICE = (
    "Look at history.csv, at the reference values and at the crops. If the loss still fell, raise "
    "regression.train.epochs; if it did not, change regression.train.learning_rate."
)
WARNINGS = {
    NOT_TRAINED: "the network was not trained (regression.train.epochs: 0)",
    CONSTANT: "the network estimated nearly the same value for all crops of the last validation",
    LIKE_THE_MEAN: "the estimates of the last validation were no better than the mean of the training crops",
    "no_bone_in_validation": "no bone was predicted in the scans of the last validation",
    "all_bone_in_validation": "everything was predicted as bone in the scans of the last validation",
    "structure_missed": "a structure (history.csv) overlapped its reference in no scan of the last validation",
    "loss_of_a_constant": "the loss ended no better than about a constant prediction's",
}
_RUNNING_WORDS = {"no_bone_in_validation": "no bone", "all_bone_in_validation": "all bone"}


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """Values that the course of a training is compared with.

    Attributes:
        constant_loss: the lowest loss of a prediction that is the same everywhere (`constant_loss`).
        updates_per_epoch: of this training.
        warm_up_epochs: epochs at the start that are not judged, because the learning rate still rises.
    """

    constant_loss: float
    updates_per_epoch: int
    warm_up_epochs: int


def constant_loss(shares: Sequence[Sequence[float]], kind: str, bone_weight: float = 1.0) -> float:
    """Return the lowest loss that the same probabilities for all voxels of all scans can have.

    With a share s of a structure, its probability p adds 1 - 2ps / (p + s) to the soft Dice loss, over the number of
    structures; background and structures add -q ln p to the cross-entropy, where q is the weighted share. All terms
    are convex and fall with p, so that steps of probability, given one after the other to the term that gains most,
    lead to the lowest sum.

    Args:
        shares: of the voxels of each scan, by structure (scans, structures), 0 to 1.
        kind: one of `lib.learning.losses.LOSSES`.
        bone_weight: as there.
    """
    share = np.asarray(shares, float)
    labels = share.shape[1] + 1
    weights = np.array([1 - share.mean(0).sum(), *bone_weight * share.mean(0)])
    probability = (np.arange(GRID) + 0.5) / GRID
    terms = np.zeros((labels, GRID))
    if kind != "cross_entropy":
        for of_scan in share[:, :, None]:
            terms[1:] += (1 - 2 * probability * of_scan / (probability + of_scan)) / of_scan.size / len(share)
    if kind != "dice":
        terms -= weights[:, None] / weights.sum() * np.log(probability)
    gains = np.sort(terms[:, :-1] - terms[:, 1:], axis=None)[::-1]
    return float(terms[:, 0].sum() - gains[: GRID - (labels + 1) // 2].sum())


def describe_collapse(history: Sequence[EpochRecord], yardstick: Yardstick) -> str:
    """Return in words why a training counts as collapsed; empty if it does not.

    A training has collapsed once `LEAST_VALIDATIONS` validations in a row, over at least `LEAST_UPDATES` updates,
    found no bone, or only bone, while the loss neither fell nor was lower than that of a constant prediction. Without
    such validations the loss must have stayed there for `STILL_UPDATES` updates, with no Dice above `LEARNT_DICE`.
    """
    judged = history[yardstick.warm_up_epochs :]
    validated, epochs = _running(judged)
    many = len(validated) >= LEAST_VALIDATIONS and len(epochs) * yardstick.updates_per_epoch >= LEAST_UPDATES
    if many and _stands(*_halves(epochs), yardstick.constant_loss):
        found = _RUNNING_WORDS[_found(validated[-1])]
        span = f"epochs {validated[0].epoch} to {validated[-1].epoch}"
        seen = f"{found} in {len(validated)} validations running ({span})"
        return f"has collapsed: {seen}, with {_beside(epochs, yardstick.constant_loss)}"
    still = max(LEAST_EPOCHS, math.ceil(STILL_UPDATES / yardstick.updates_per_epoch))
    epochs = judged[-still:]
    if (
        len(epochs) == still
        and not _has_learnt(epochs)
        and _stands(*_halves(epochs), yardstick.constant_loss)
    ):
        span = f"epochs {epochs[0].epoch} to {epochs[-1].epoch}"
        return f"does not learn: {span} stood at {_beside(epochs, yardstick.constant_loss)}"
    return ""


def find_warnings(history: Sequence[EpochRecord], yardstick: Yardstick) -> list[str]:
    """Return what is wrong with a training that has ended, as keys of `WARNINGS`; none for a good one.

    A loss that still falls, or few updates, are no fault if the last validation found bone.
    """
    validated = [record for record in history if record.validation_bone is not None]
    collapsed = _found(validated[-1]) if validated else ""
    missed = bool(validated) and 0 in validated[-1].structure_dice.values()
    early, late = _halves(history)[0], history[-math.ceil(len(history) / 10) :]
    if collapsed:
        like_a_constant = _level(late) >= NEAR_CONSTANT * yardstick.constant_loss
    else:
        long = len(history) >= max(LEAST_EPOCHS, LEAST_UPDATES / yardstick.updates_per_epoch)
        like_a_constant = (
            long and not _has_learnt(validated[-1:]) and _stands(early, late, yardstick.constant_loss)
        )
    found = {collapsed or "structure_missed": collapsed or missed, "loss_of_a_constant": like_a_constant}
    return [code for code, applies in found.items() if applies]


def describe_warnings(run: Mapping[str, Any]) -> str:
    """Return what is wrong with a finished fold and what to do, in sentences; empty for a good one.

    Args:
        run: content of run.json. An older file without `warnings` has none.
    """
    codes = run.get("warnings", [])
    if not codes:
        return ""
    # a later version of the same format may have more codes
    words = " and ".join(WARNINGS.get(code, code) for code in codes)
    if run.get("task") == REGRESS:
        return f"{words[0].upper()}{words[1:]}. {REGRESSION_ADVICE}"
    advice = [remedies(run["train"], run["architecture"])]
    if "loss_of_a_constant" in codes:
        advice.append("If it still fell (history.csv), raise train.epochs instead.")
    else:
        advice.insert(0, "Look at these scans and their references.")
    return f"{words[0].upper()}{words[1:]}. {' '.join(advice)}"


def remedies(train: Mapping[str, Any], network: Mapping[str, Any]) -> str:
    """Return the remedies after a collapse as a sentence, with the learning rate that was used.

    Args:
        train, network: settings of the fold, by the keys of the configuration.
    """
    rate = train["learning_rate"]
    if rate < SLOW_RATE:
        return f"Raise train.learning_rate ({rate:g})."
    ways = [f"Lower train.learning_rate ({rate:g})"]
    ways += ["set train.warm_up above 0"] if train["warm_up"] == 0 else []
    ways += ["set normalisation: instance for the model"] if network["normalisation"] != "instance" else []
    return f"{', or '.join(ways)}."


def _found(record: EpochRecord) -> str:
    """Return the code of a validation that found no bone or only bone, or an empty text."""
    share = record.validation_bone
    if share is None or NO_BONE < share < ALL_BONE:
        return ""
    return "no_bone_in_validation" if share <= NO_BONE else "all_bone_in_validation"


def _running(history: Sequence[EpochRecord]) -> tuple[list[EpochRecord], list[EpochRecord]]:
    """Return the last validations that have the same code, and the epochs since the validation before them."""
    validated = [record for record in history if record.validation_bone is not None]
    code = _found(validated[-1]) if validated else ""
    running = list(takewhile(lambda record: code and _found(record) == code, reversed(validated)))[::-1]
    before = validated[: len(validated) - len(running)]
    since = before[-1].epoch if before else 0
    return running, [record for record in history if record.epoch > since]


def _halves(epochs: Sequence[EpochRecord]) -> tuple[Sequence[EpochRecord], Sequence[EpochRecord]]:
    half = len(epochs) // 2
    return epochs[:half], epochs[half:]


def _stands(early: Sequence[EpochRecord], late: Sequence[EpochRecord], constant_loss: float) -> bool:
    """Tell whether the late loss is neither clearly lower than the early one nor than a constant prediction's.

    Medians are used because a collapse often begins with a few losses many times that of the constant.
    """
    return _level(late) >= max(NEAR_CONSTANT * constant_loss, NOT_FALLING * _level(early))


def _has_learnt(epochs: Sequence[EpochRecord]) -> bool:
    return any((record.validation_dice or 0.0) > LEARNT_DICE for record in epochs)


def _level(epochs: Sequence[EpochRecord]) -> float:
    return median(record.loss for record in epochs)


def _beside(epochs: Sequence[EpochRecord], constant_loss: float) -> str:
    late = _halves(epochs)[1]
    return f"a loss of {_level(late):.4f}, where a constant prediction has {constant_loss:.4f}"
