"""Prediction intervals of single volumes for a reader's volume, from out-of-fold errors.

Source: the CV+ interval of Barber, Candès, Ramdas & Tibshirani (Ann Stat 2021;49:486). A person i held out from the
model of fold k(i) gives a relative error e_i = |reference - predicted| / predicted. With the volumes v_k of a new
scan by all fold models the bounds are

    high   the smallest bound with enough of v_k(i) (1 + e_i) at or below it
    low    the largest bound with enough of v_k(i) (1 - e_i) at or above it; 0 at least

where "enough" is a weight of confidence * (n + 1) of n people. If the fold models disagree, the interval is wide.
(For people of cross-validation the disagreement is unknown, because all models but one were trained on them.) The
interval always contains the predicted volume.

For a new person of the same population and n people with k(i) in K folds, the interval holds the reference with a
probability of at least 1 - 2 (1 - confidence) - sqrt(2/n), whatever the models and errors are, and in practice of
about `confidence` or more. If n < confidence / (1 - confidence) (19 people at 95 %), no bound exists. This assumes
that members of the ensemble have errors like those of the models of cross-validation, although their weights may be
`best` instead of `last`, and although the volume of a member is estimated as the predicted volume times the ratio of
both volumes at a threshold of one half. No interval holds for a scanner or a population that is not in the cohort.

Errors are relative because they grow with the bone: bounds in mm3 would be too narrow for large femurs and too wide
for small ones. A person has the weight 1, shared by their scans (Lee, Barber & Willett, arXiv:2306.06342). An empty
prediction has an infinite error and is never left out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lib.atomic import read_json
from lib.errors import ModelError
from lib.model_record import model_digests
from lib.stats.flow import SEEN_IN_TRAINING
from lib.stats.tables import INTERVAL_COLUMNS, structure_key
from lib.stats.undefined import NAN

ERRORS_FILE = "volume_errors.json"
ERRORS_FORMAT = 2
WIDE = "interval_wide"  # the flag
# an interval this many times wider than for agreeing models is unusual: the models differ by more than their usual
# errors
WIDE_FACTOR = 1.5

OWN_ERROR = "the error of this scan is one of those from which the intervals are computed"
SEEN = "a model that predicted this was trained on this person, or chosen by their score"
EMPTY = "the predicted mask is empty"
NO_RATIOS = "the fold models find no bone in common"
NO_BOUND = (
    "too many models of cross-validation or of this prediction found no bone: the interval has no upper bound"
)
NO_FILE = (
    f"the file {ERRORS_FILE} is missing, which the study that trained the models wrote next to their folders"
)
OTHER_MODELS = (
    f"the {ERRORS_FILE} next to the models was measured with other models; copy both from one study"
)


@dataclass(frozen=True, kw_only=True)
class FoldErrors:
    """Out-of-fold errors of the volumes of one structure by one network.

    Attributes:
        folds: (n,) the fold whose model predicted, such as `fold-0`.
        relative: (n,) |reference - predicted| / predicted; infinite for an empty prediction.
        weights: (n,) one over the number of the person's scans.
        missing: the reason if there are no errors; else empty.
    """

    folds: Sequence[str] = ()
    relative: Sequence[float] = ()
    weights: Sequence[float] = ()
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class VolumeInterval:
    """Bounds of a volume in mm3; their half-width in percent of the predicted volume, actual and for agreeing models.

    `undefined` gives the reason if there are no bounds.
    """

    low_mm3: float = NAN
    high_mm3: float = NAN
    percent: float = NAN
    agreed_percent: float = NAN
    undefined: str = ""

    @property
    def wide(self) -> bool:
        """Return whether the fold models differ so much that the interval is unusually wide."""
        return self.percent > WIDE_FACTOR * self.agreed_percent


def volume_errors(
    network: str,
    structures: Sequence[str],
    overlaps: Mapping[str, Mapping],
    subjects: Mapping[str, str],
    folder: str | Path,
) -> dict:
    """Return the content of ERRORS_FILE: the errors of the people of cross-validation, without identifiers.

    Args:
        network: group and network, such as `all/vnet`.
        structures: the study's structures.
        overlaps: agreement with the references by `structure_key`, only of out-of-fold predictions.
        subjects: the person of each scan.
        folder: folder of the models, with `fold-*/run.json`.

    Returns:
        `network`; `structures`; `people`; `models`, a digest of each fold's run.json; `errors`, sorted by structure,
        fold and size, each with `structure`, `fold`, `difference_percent` (100 (reference - predicted) / predicted;
        null: an empty prediction), `weight`.
    """
    keys = [key.split("/") for key in overlaps]
    people = pd.Series([subjects[scan] for *_, scan, _ in keys], dtype=object)
    scans = people.groupby([[structure for *_, structure in keys], people]).size()
    errors = []
    for (*_, fold, scan, structure), overlap in zip(keys, overlaps.values(), strict=True):
        reference, predicted = overlap["reference_mm3"], overlap["predicted_mm3"]
        difference = round(100 * (reference - predicted) / predicted, 4) if predicted else None
        errors.append(
            {
                "structure": structure,
                "fold": fold,
                "difference_percent": difference,
                "weight": 1 / int(scans[structure, subjects[scan]]),
            }
        )
    errors.sort(key=lambda error: (structures.index(error["structure"]), *_place(error)))
    return {
        "format": ERRORS_FORMAT,
        "network": network,
        "structures": list(structures),
        "people": people.nunique(),
        "models": model_digests(folder),
        "errors": errors,
    }


def read_volume_errors(paths: Iterable[str | Path]) -> dict[str, FoldErrors]:
    """Return the errors of each `{group}/{network}/{structure}` from files with the content of `volume_errors`.

    A file must lie next to the models whose errors it holds; otherwise its errors are `missing`.

    Raises:
        ModelError: a file is damaged or of another format.
    """
    return {key: errors for path in paths for key, errors in _read_errors(path).items()}


def fewest_people(confidence: float) -> int:
    """Return the number of people with an out-of-fold error that an interval of a level needs: 19 for 0.95."""
    return math.ceil(confidence / (1 - confidence) - 1e-9)


def volume_interval(
    predicted_mm3: float, ratios: Mapping[str, float], errors: FoldErrors, confidence: float
) -> VolumeInterval:
    """Return the interval of one predicted volume.

    Args:
        predicted_mm3: the volume, mm3.
        ratios: for an ensemble, the volume of each fold model over that of the ensemble, by fold. Empty for a single
            model, which is used for all folds. Errors of folds that did not predict are left out.
        errors: errors of cross-validation.
        confidence: level in (0, 1).
    """
    if errors.missing:
        return VolumeInterval(undefined=errors.missing)
    used = [number for number, fold in enumerate(errors.folds) if not ratios or fold in ratios]
    relative, weights = (np.array(values, float)[used] for values in (errors.relative, errors.weights))
    people, fewest = round(float(weights.sum()), 6), fewest_people(confidence)
    if people < fewest:
        words = f"{people:g} {'person' if people == 1 else 'people'} with an out-of-fold error"
        return VolumeInterval(
            undefined=f"{words}, but an interval of {100 * confidence:g} % needs {fewest} (a lower "
            "report.confidence needs fewer)"
        )
    enough = confidence * (people + 1) - 1e-6  # weights are sums of shares of one
    volumes = predicted_mm3 * np.array([ratios.get(errors.folds[number], 1.0) for number in used])
    sizes = np.where(volumes > 0, relative, math.inf)  # a member without bone gives no bound
    high = _bound(np.where(volumes > 0, volumes, 1.0) * (1 + sizes), weights, enough)
    low = -_bound(-volumes * np.maximum(0, 1 - sizes), weights, enough)
    if not math.isfinite(high):
        return VolumeInterval(undefined=NO_BOUND)
    low, high = min(low, predicted_mm3), max(high, predicted_mm3)
    return VolumeInterval(
        low_mm3=low,
        high_mm3=high,
        percent=50 * (high - low) / predicted_mm3,
        agreed_percent=100 * _bound(relative, weights, enough),
    )


def with_intervals(
    volumes: Mapping[str, Mapping],
    predictions: Iterable[Mapping],
    errors: Mapping[str, FoldErrors],
    confidence: float,
) -> dict[str, dict]:
    """Return the measurements of masks with their intervals, by `structure_key` (see `with_interval`).

    Args:
        volumes: what was measured of the masks, by key; their flags mark people on whom the models were trained.
        predictions: the planned predictions by structure. A volume that was not planned is left out.
        errors: errors of each network and structure (see `read_volume_errors`).
        confidence: level of the intervals.
    """
    planned = {structure_key(prediction): prediction for prediction in predictions}
    return {
        key: with_interval(volume, planned[key], errors, confidence)
        for key, volume in volumes.items()
        if key in planned
    }


def with_interval(
    volume: Mapping, prediction: Mapping, errors: Mapping[str, FoldErrors], confidence: float
) -> dict:
    """Return the measurements of a mask with INTERVAL_COLUMNS, the flag WIDE if it applies, and reasons.

    Args:
        volume: what was measured of the mask.
        prediction: group, network, members, protocol and structure of the planned prediction. `seen_in_training`,
            here or among the flags of the volume, means that a model that predicted was trained on this person.
        errors: errors of each network and structure; a missing one has none.
        confidence: level of the interval.
    """
    own = errors.get("{group}/{network}/{structure}".format_map(prediction), FoldErrors(missing=NO_FILE))
    interval = _interval_of(volume, prediction, own, confidence)
    reasons = dict.fromkeys(INTERVAL_COLUMNS, interval.undefined) if interval.undefined else {}
    numbers = (interval.low_mm3, interval.high_mm3, interval.percent)
    values = [None if interval.undefined else number for number in numbers]
    return {
        **volume,
        **dict(zip(INTERVAL_COLUMNS, values, strict=True)),
        "flags": [*volume["flags"], *([WIDE] if interval.wide else [])],
        "undefined": {**volume.get("undefined", {}), **reasons},
    }


def _read_errors(path: str | Path) -> dict[str, FoldErrors]:
    try:
        content = read_json(path)
        if content["format"] != ERRORS_FORMAT:
            raise ModelError(
                f"{path} is of format {content['format']!r}; this Osteoflow reads format {ERRORS_FORMAT}. "
                "Use the models with the Osteoflow that wrote them, or remove the file: volumes then have no interval"
            )
        network, models, entries = content["network"], content["models"], content["errors"]
        found: dict[str, list] = {name: [] for name in content["structures"]}
        for entry in entries:
            error = str(entry["fold"]), _size(entry), float(entry["weight"])
            found[entry["structure"]].append(error)
            if not (error[1] >= 0 and 0 < error[2] <= 1):
                raise ValueError("an error that is not a number, or a weight outside (0, 1]")
        digests = model_digests(Path(path).parent)
        missing = OTHER_MODELS if any(models.get(fold) != own for fold, own in digests.items()) else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{path} is damaged; copy it again from the study that trained the models, or remove it: "
            "volumes then have no interval"
        ) from None
    return {f"{network}/{structure}": _fold_errors(errors, missing) for structure, errors in found.items()}


def _fold_errors(errors: Sequence[tuple[str, float, float]], missing: str) -> FoldErrors:
    if missing:
        return FoldErrors(missing=missing)
    folds, relative, weights = zip(*errors, strict=True) if errors else ((), (), ())
    return FoldErrors(folds=folds, relative=relative, weights=weights)


def _interval_of(
    volume: Mapping, prediction: Mapping, errors: FoldErrors, confidence: float
) -> VolumeInterval:
    ratios = volume.get("member_volume_ratios") or {}
    if prediction.get(SEEN_IN_TRAINING) or SEEN_IN_TRAINING in volume["flags"]:
        return VolumeInterval(undefined=SEEN)
    if prediction["protocol"] == "cv":
        return VolumeInterval(undefined=OWN_ERROR)
    if not volume["predicted_mm3"]:
        return VolumeInterval(undefined=EMPTY)
    if prediction["members"] == "ensemble" and not ratios and len(set(errors.folds)) > 1:
        return VolumeInterval(undefined=NO_RATIOS)
    return volume_interval(volume["predicted_mm3"], ratios, errors, confidence)


def _bound(values: np.ndarray, weights: np.ndarray, enough: float) -> float:
    """Return the smallest of `values` for which the weights of all values at or below it add up to `enough`."""
    order = np.argsort(values, kind="stable")
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), enough)])


def _place(error: Mapping) -> tuple:
    """Return the place of an entry of ERRORS_FILE of a structure: by fold, then by size, an empty prediction last."""
    return error["fold"], error["difference_percent"] is None, _size(error)


def _size(error: Mapping) -> float:
    """Return the relative error of an entry of ERRORS_FILE."""
    difference = error["difference_percent"]
    return math.inf if difference is None else abs(float(difference)) / 100
