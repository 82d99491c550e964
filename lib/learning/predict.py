"""Prediction of whole scans by one network or the mean of several."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from lib.errors import ModelError, TrainingError
from lib.intensity_scale import IntensityConfig, IntensityRange, fixed_range
from lib.learning.allowed_values import require
from lib.learning.architecture import VNetConfig
from lib.learning.checkpoint import read_model
from lib.learning.compute import Compute, choose_compute
from lib.learning.intensity import to_intensity
from lib.learning.labels import choose_labels, to_probabilities
from lib.learning.memory import memory_explained
from lib.learning.predict_settings import PredictConfig
from lib.learning.uncertainty import Disagreement, measure_disagreements
from lib.learning.vnet import VNet
from lib.learning.windows import WindowLayout, sliding_mean, step_between

REMEDY = "not even one window at a time fits: free memory, take a larger device, or set train.device: cpu"
# what the members of an ensemble must agree on
_SHARED = ("structures", "intensity", "preprocessing", "window_slices", "slice_axis")

Network = Callable[[Tensor], Tensor]  # windows (N, 1, z, y, x) -> logits (N, maps, z, y, x)
Result = TypeVar("Result")
logger = logging.getLogger("osteoflow.learning")


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Networks that were trained on input of the same kind and predict together; may be a single network.

    `structures` are the names of the bones that they find, in the order of their labels.
    """

    networks: tuple[VNet, ...]
    structures: tuple[str, ...]
    intensity: IntensityConfig
    window_slices: int
    slice_axis: str
    preprocessing: Mapping[str, Any]
    compute: Compute

    def require_slice_axis(self, slice_axis: str) -> None:
        """Refuse a scan whose slices run along another patient axis than those of the training scans.

        Raises:
            ModelError: they do.
        """
        if slice_axis != self.slice_axis:
            raise ModelError(
                f"the models learned slices along {self.slice_axis}, and this scan was cropped for slices along "
                f"{slice_axis}: set model_frame.slice_axis as in the study that trained them"
            )


@dataclass(frozen=True, kw_only=True)
class ScanPrediction:
    """The prediction of one scan.

    Attributes:
        maps: by name, arrays (z, y, x). For one structure `probability`, the mean probability of bone (float32); for
            several `labels` (uint8), the labels of the highest mean probability, and `confidence`, that probability
            (float32).
        disagreements: how far the members disagree, by structure; empty for a single network.
        seconds: from the cropped scan to the maps, both in host memory.
    """

    maps: Mapping[str, np.ndarray]
    disagreements: Mapping[str, Disagreement]
    seconds: float = 0.0

    @property
    def probability_zyx(self) -> np.ndarray:
        """Return the mean probability of the only structure, float32 (z, y, x)."""
        return self.maps["probability"]


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
        structures=tuple(models[0]["structures"]),
        intensity=IntensityConfig(**models[0]["intensity"]),
        window_slices=models[0]["window_slices"],
        slice_axis=models[0]["slice_axis"],
        preprocessing=models[0]["preprocessing"],
        compute=compute,
    )


def choose_members(paths: Sequence[str | Path], members: str) -> list[str | Path]:
    """Return the models that predict together: of `single` the one with the highest validation Dice, else all.

    Ties are decided by the order of `paths`. Test people are not used for the choice.
    """
    if members != "single":
        return list(paths)
    return [max(paths, key=lambda path: read_model(path)["best_validation_dice"] or 0.0)]


def predict_scan(
    ensemble: Ensemble, image_zyx: np.ndarray, scale: IntensityRange, config: PredictConfig
) -> ScanPrediction:
    """Predict one cropped scan, int16 (z, y, x), with the intensity range `scale`.

    Windows move along z by `config.step`, overlapping probabilities are averaged, then the networks' (Zhao et
    al. 2020). Windows of 2-D networks do not overlap. Sums stay on the device; the scan is copied there once and only
    the result is copied back. If memory is too small for that, `within_memory` continues with less.

    Raises:
        ModelError: the models were trained on another fixed intensity range.
        TrainingError: the device has too little memory for one window.
    """
    if ensemble.intensity.scale == "range" and scale != fixed_range(ensemble.intensity):
        raise ModelError(
            f"the models take values from {ensemble.intensity.low:g} to {ensemble.intensity.high:g}, and this scan "
            f"was cropped for {scale.low:g} to {scale.high:g}: use the overlay that the models were trained with"
        )
    begin = time.monotonic()
    image, shape = torch.from_numpy(np.ascontiguousarray(image_zyx)), ensemble.networks[0].config

    def predict(layout: WindowLayout, home: torch.device) -> ScanPrediction:
        intensity = to_intensity(image.to(home), scale)
        maps, members = predict_members(ensemble.networks, intensity, layout, ensemble.compute, shape.maps)
        labels, names = choose_labels(maps), ensemble.structures
        several = len(names) > 1
        made = {"labels": labels, "confidence": maps.amax(0)} if several else {"probability": maps[0]}
        return ScanPrediction(
            maps={name: zyx.cpu().numpy() for name, zyx in made.items()},
            disagreements=measure_disagreements(names, maps, labels, members) if len(members) > 1 else {},
        )

    layout = WindowLayout(
        window=ensemble.window_slices,
        step=step_between(shape.dimensions, config.step, ensemble.window_slices),
        z_padding=config.z_padding,
        batch=config.batch_windows,
    )
    predicted = within_memory(predict, layout, ensemble.compute.device)
    return replace(predicted, seconds=round(time.monotonic() - begin, 4))


def predict_volume(
    networks: Sequence[Network], intensity: Tensor, layout: WindowLayout, compute: Compute, maps: int = 1
) -> Tensor:
    """Return the mean probabilities (maps, z, y, x) of `networks` for an intensity volume (z, y, x), on its device.

    Raises:
        TrainingError: as `predict_scan`.
    """

    def predict(layout: WindowLayout, home: torch.device) -> Tensor:
        mean, _ = predict_members(networks, intensity.to(home), layout, compute, maps)
        return mean.to(intensity.device)

    return within_memory(predict, layout, intensity.device)


@torch.inference_mode()
def predict_members(
    networks: Sequence[Network], intensity: Tensor, layout: WindowLayout, compute: Compute, maps: int
) -> tuple[Tensor, Tensor]:
    """Return the mean probabilities (maps, z, y, x), and each network's own labels (networks, z, y, x) in uint8.

    Networks run one after the other, so that only the activations of one are held, with one running sum of each map,
    a byte per voxel and network, and the sums of a few windows. Results are on the device of `intensity` (z, y, x);
    windows go to `compute.device`.
    """
    total = torch.zeros((maps, *intensity.shape), dtype=torch.float32, device=intensity.device)
    labels = torch.empty((len(networks), *intensity.shape), dtype=torch.uint8, device=intensity.device)
    for network, own in zip(networks, labels, strict=True):
        for slices, mean in sliding_mean(intensity, _predictor(network, compute), layout, maps):
            total[:, slices] += mean
            own[slices] = choose_labels(mean)
    return total.div_(len(networks)), labels


def within_memory(
    work: Callable[[WindowLayout, torch.device], Result], layout: WindowLayout, device: torch.device
) -> Result:
    """Return `work(layout, home)`, repeated with less memory each time that memory runs out.

    The first attempt is as requested, with the scan and its sums (`home`) on `device`; then with half the windows at
    once, down to one; then with one window and home on the host. The attempt that succeeded is logged.

    Raises:
        TrainingError: the last attempt runs out of memory too.
    """
    plans = _plans(layout, device)
    for plan in plans:
        try:
            with memory_explained(REMEDY):
                result = work(*plan)
        except TrainingError:
            if plan == plans[-1]:
                raise
            continue  # outside of this block, where the error no longer holds memory
        if plan != plans[0]:
            logger.warning(
                "out of memory with %d windows at once: predicted with %d, the scan on %s",
                *(layout.batch, plan[0].batch, plan[1]),
            )
        break
    return result


def _plans(layout: WindowLayout, device: torch.device) -> list[tuple[WindowLayout, torch.device]]:
    """Return what `within_memory` tries in turn: window layout, and where the scan lies."""
    batches = [layout.batch]
    while batches[-1] > 1:
        batches.append(batches[-1] // 2)
    plans = [(replace(layout, batch=batch), device) for batch in batches]
    host = torch.device("cpu")
    return plans if device == host else [*plans, (plans[-1][0], host)]


def _predictor(network: Network, compute: Compute) -> Callable[[Tensor], Tensor]:
    """Return the map from windows (N, 1, z, y, x) on any device to probabilities (N, maps, z, y, x), float32.

    The probabilities are on `compute.device`.
    """

    def probabilities(windows: Tensor) -> Tensor:
        with compute.autocast():
            logits = network(windows.to(compute.device))
        return to_probabilities(logits)

    return probabilities


def _network(model: Mapping[str, Any], weights: str, compute: Compute) -> VNet:
    network = VNet(VNetConfig(**model["architecture"]))
    try:
        network.load_state_dict(model[weights])
    except RuntimeError as error:
        raise ModelError("the model's weights do not fit its own description; train it again") from error
    return compute.place(network).eval()
