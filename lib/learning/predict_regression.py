"""Estimates of a number, such as a density, by one regression network or the mean of several."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import ModelError
from lib.learning.allowed_values import require
from lib.learning.checkpoint import read_model
from lib.learning.compute import Compute
from lib.learning.densenet import CropDenseNet
from lib.learning.tasks.regress import estimate_standardised
from lib.model_record import REGRESS, require_target
from lib.regression_settings import RegressionCropConfig, read_densenet

# what the members of an ensemble must agree on; their targets' means and SDs differ
_SHARED = ("structures", "crop", "architecture", "preprocessing")


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """Networks that estimate the same target from crops of the same kind; may be a single network.

    Attributes:
        networks: by fold, such as `fold-0`.
        scales: mean and SD of each network's training targets, by fold.
        target: columns by structure, scale and unit.
        crop: settings of the crops.
        compute: where they run.
    """

    networks: Mapping[str, CropDenseNet]
    scales: Mapping[str, tuple[float, float]]
    target: Mapping[str, Any]
    crop: RegressionCropConfig
    compute: Compute


def load_estimator(
    paths: Sequence[str | Path],
    weights: str,
    compute: Compute,
    asked: tuple[Mapping[str, str], Mapping[str, Any]],
) -> Estimator:
    """Load models that estimate together.

    Args:
        paths: their model.pt, each in the folder of its fold.
        weights: `last`, or `best` on the fold's validation people.
        compute: where they run.
        asked: the columns that the study wants estimated, by structure, and its settings of the crops.

    Raises:
        ModelError: a model is missing, damaged, of another task, target or scale, was trained on other crops, or the
            members differ.
    """
    require(weights in ("best", "last"), "weights", weights, "best or last")
    if not paths:
        raise ModelError("no model to estimate with")
    models = {Path(path).parent.name: read_model(path, REGRESS) for path in paths}
    first = next(iter(models.values()))
    for fold, model in models.items():
        require_target(model, *asked, where=fold)
        if differing := [key for key in _SHARED if model[key] != first[key]]:
            raise ModelError(
                f"{fold} differs from the other folds in `{differing[0]}`: they cannot estimate together"
            )
    return Estimator(
        networks={fold: _network(model, weights, compute) for fold, model in models.items()},
        scales={fold: (model["target"]["mean"], model["target"]["sd"]) for fold, model in models.items()},
        target=first["target"],
        crop=RegressionCropConfig(**first["crop"]),
        compute=compute,
    )


@torch.inference_mode()
def estimate_crops(
    estimator: Estimator, crops: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Estimate the crops of one scan.

    Args:
        estimator: the networks.
        crops: image int16 (HU) and mask uint8, each (z, y, x), by structure.

    Returns:
        By structure: `value`, the mean of the networks' estimates; `sd`, their sample standard deviation, None for
        one network; `by_fold`, each estimate. All in the unit of the target.
    """
    if not crops:
        return {}
    image, mask = (_batch(arrays, estimator.compute) for arrays in zip(*crops.values(), strict=True))
    by_fold = {}
    for fold, network in estimator.networks.items():
        mean, sd = estimator.scales[fold]
        found = estimate_standardised(network, (image, mask), estimator.crop, estimator.compute)
        by_fold[fold] = (found.double().cpu() * sd + mean).tolist()
    return {
        structure: _summary({fold: values[number] for fold, values in by_fold.items()})
        for number, structure in enumerate(crops)
    }


def _summary(by_fold: Mapping[str, float]) -> dict[str, Any]:
    values = [*by_fold.values()]
    return {
        "value": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "by_fold": dict(by_fold),
    }


def _batch(arrays: Sequence[np.ndarray], compute: Compute) -> Tensor:
    """Return arrays (z, y, x) as one batch (N, 1, z, y, x) on the device."""
    return torch.from_numpy(np.stack(arrays)[:, None].copy()).to(compute.device)


def _network(model: Mapping[str, Any], weights: str, compute: Compute) -> CropDenseNet:
    network = CropDenseNet(
        read_densenet(model["architecture"]), RegressionCropConfig(**model["crop"]).channels
    )
    try:
        network.load_state_dict(model[weights])
    except RuntimeError as error:
        raise ModelError("the model's weights do not fit its own description; train it again") from error
    return compute.place(network).eval()
