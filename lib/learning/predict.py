"""Prediction of whole scans by one network or the mean of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import ModelError
from lib.learning.checkpoint import read_model
from lib.learning.determinism import Compute, choose_compute, memory_explained
from lib.learning.intensity import IntensityConfig, to_intensity
from lib.learning.settings import is_count, require
from lib.learning.vnet import VNet, VNetConfig
from lib.learning.windows import WindowLayout, sliding_mean

REMEDY = "make predict.batch_windows smaller"
_SHARED = ("intensity", "preprocessing", "window_slices")  # what the members of an ensemble must agree on


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Keys of config `predict`. The last two concern the rules, not the prediction of one scan."""

    step: int = 1
    z_padding: int = 0
    batch_windows: int = 4
    batch_scans: int = 16
    heldout_weights: str = "best"

    def __post_init__(self) -> None:
        """Refuse values that cannot be used."""
        for key, least in (("step", 1), ("z_padding", 0), ("batch_windows", 1), ("batch_scans", 1)):
            value = getattr(self, key)
            require(is_count(value, least), f"predict.{key}", value, f"an integer of at least {least}")
        weights = self.heldout_weights
        require(weights in ("best", "last"), "predict.heldout_weights", weights, "best or last")


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Networks that were trained on alike input and predict together; a single one is an ensemble too."""

    networks: tuple[VNet, ...]
    intensity: IntensityConfig
    window_slices: int
    preprocessing: Mapping[str, Any]
    compute: Compute


def load_models(
    paths: Sequence[str | Path], weights: str, device: str = "auto", precision: str = "auto"
) -> Ensemble:
    """Load finished models onto a device.

    Args:
        paths: one `model.pt` for each member.
        weights: "last", or "best" on the fold's validation people.
        device: `train.device`.
        precision: `train.precision`.

    Raises:
        ModelError: a model is missing or damaged, or the members were trained on different input.
        ConfigError: an unknown choice of weights, device or precision.
    """
    require(weights in ("best", "last"), "weights", weights, "best or last")
    if not paths:
        raise ModelError("no model to predict with")
    compute = choose_compute(device, precision)
    models = [read_model(path) for path in paths]
    for key in _SHARED:
        if any(model[key] != models[0][key] for model in models):
            raise ModelError(f"the models of this ensemble differ in `{key}`: they cannot predict together")
    return Ensemble(
        networks=tuple(_network(model, weights, compute) for model in models),
        intensity=IntensityConfig(**models[0]["intensity"]),
        window_slices=models[0]["window_slices"],
        preprocessing=models[0]["preprocessing"],
        compute=compute,
    )


def choose_members(paths: Sequence[str | Path], members: str) -> list[str | Path]:
    """Return the models that predict together: of `single` the one with the highest validation Dice, else all.

    Equal Dice is decided by the order of `paths`. The choice never sees a test person (METHODS 1).
    """
    if members != "single":
        return list(paths)
    return [max(paths, key=lambda path: read_model(path)["best_validation_dice"] or 0.0)]


def predict_scan(ensemble: Ensemble, image_zyx: np.ndarray, config: PredictConfig) -> np.ndarray:
    """Return the probability of bone, float32 (z, y, x), for one cropped scan, int16 HU (z, y, x).

    Windows move along z by `config.step`, overlapping probabilities are averaged, then the networks' (Zhao et
    al. 2020). Sums stay on the device; the scan goes there once and one probability map comes back.

    Raises:
        TrainingError: the device has too little memory.
    """
    layout = WindowLayout(
        window=ensemble.window_slices,
        step=config.step,
        z_padding=config.z_padding,
        batch=config.batch_windows,
    )
    with memory_explained(REMEDY):
        image_hu = torch.from_numpy(np.ascontiguousarray(image_zyx)).to(ensemble.compute.device)
        intensity = to_intensity(image_hu, ensemble.intensity)
        return predict_volume(ensemble.networks, intensity, layout, ensemble.compute).cpu().numpy()


def predict_volume(
    networks: Sequence[VNet], intensity: Tensor, layout: WindowLayout, compute: Compute
) -> Tensor:
    """Return the mean probability (z, y, x) of `networks` for an intensity volume (z, y, x) on the device."""

    def mean_probability(windows: Tensor) -> Tensor:
        with compute.autocast():
            members = [network(windows).float().sigmoid() for network in networks]
        return sum(members[1:], start=members[0]) / len(members)

    with torch.inference_mode():
        return sliding_mean(intensity, mean_probability, layout)


def _network(model: Mapping[str, Any], weights: str, compute: Compute) -> VNet:
    network = VNet(VNetConfig(**model["network"]))
    try:
        network.load_state_dict(model[weights])
    except RuntimeError as error:
        raise ModelError("the model's weights do not fit its own description; train it again") from error
    return network.to(compute.device, memory_format=compute.memory_format).eval()
