"""Our side of the benchmarks: the functions that the rules call, timed. Each runs in a process of its own."""

import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import (
    SPACING_MM_ZYX,
    WINDOW,
    Size,
    device_memory_gb,
    resident_gb,
    synchronize,
    synthetic_scan,
)

from lib.intensity_scale import IntensityConfig, fixed_range
from lib.learning.architecture import VNetConfig
from lib.learning.compute import choose_compute
from lib.learning.determinism import prepare_torch
from lib.learning.intensity import to_intensity
from lib.learning.predict import Ensemble, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import ScanStore, TrainingScan
from lib.learning.train import train_fold
from lib.learning.vnet import VNet, initialise_on

BATCH_WINDOWS = 4  # of prediction, the default of config predict
CT = fixed_range(IntensityConfig())


class EnoughError(Exception):
    """Raised to end a training when all updates are timed or the time is over."""


def update_seconds(
    *,
    size: Mapping[str, Any],
    device: str,
    precision: str,
    threads: int,
    warm_up: int,
    block: int,
    blocks: int,
    epochs: int = 1,
    reproducible: bool = False,
    train: Mapping[str, Any] | None = None,
    limit_s: float = math.inf,
) -> dict[str, Any]:
    """Train with `train_fold` and return the seconds per update of each block of updates after `warm_up`.

    The time includes windows, augmentation, forward, loss, backward, Adam, and the end of an epoch.
    `train` adds to or replaces settings of config `train`. After `limit_s` seconds no further block begins.
    `warm_up_s` is the time from the start of the training to the end of the warm-up.
    """
    prepare_torch(reproducible=reproducible, threads=threads)
    updates, cohort = warm_up + block * blocks, Size(**size)
    ends, number, moments = range(warm_up, updates + 1, block), itertools.count(1), []

    def watch(epoch: int, update: int) -> None:
        if next(number) not in ends:
            return
        synchronize(device)
        moments.append(time.perf_counter())
        if len(moments) == len(ends) or (len(moments) > 1 and moments[-1] - begin > limit_s):
            raise EnoughError

    schedule = {"epochs": epochs, "samples_per_scan": math.ceil(updates / (epochs * cohort.scans))}
    settings = FoldSettings(
        architecture=network_of(cohort.channels),
        train={**schedule, "device": device, "precision": precision, **(train or {})},
        intensity={},
        predict={},
        structures=("bone",),
        name="bench",
        seed=0,
    )
    scans, begin = list(_scans(cohort)), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, suppress(EnoughError):
        train_fold(scans, [], settings, Path(folder, "state.pt"), watch)
    return {
        "seconds": list(np.diff(moments) / block),
        "warm_up_s": moments[0] - begin,
        "device_gb": device_memory_gb(device),
    }


def network_of(channels: Sequence[int]) -> dict[str, Sequence[int]]:
    """Return the shape of the paper's network with other channels; fewer channels mean fewer levels."""
    levels = len(channels)
    return {
        "channels": channels,
        "encoder_convolutions": (1, 2, 3, 3)[:levels],
        "decoder_convolutions": (2,) * (levels - 1),
    }


def write_case(*, size: Mapping[str, Any], weights: str, scan: str) -> dict[str, Any]:
    """Write the weights of a new network and a scan, so that both sides predict the same."""
    cohort = Size(**size)
    image_zyx, _ = synthetic_scan(cohort, 0)
    torch.manual_seed(0)
    network = VNet(VNetConfig(channels=cohort.channels))
    window = to_intensity(torch.from_numpy(image_zyx[:WINDOW, :48, :48].copy()), CT)
    initialise_on(network, window[None, None])  # probabilities that differ from voxel to voxel
    torch.save(network.state_dict(), weights)
    np.save(scan, image_zyx)
    return {"parameters": sum(parameter.numel() for parameter in network.parameters())}


def predict_seconds(
    *,
    size: Mapping[str, Any],
    device: str,
    precision: str,
    threads: int,
    repeats: int,
    weights: str,
    scan: str,
    result: str,
) -> dict[str, Any]:
    """Predict a scan with `predict_scan`; return the seconds of each run, write the probability to `result`."""
    prepare_torch(reproducible=False, threads=threads)
    compute = choose_compute(device, precision)
    network = VNet(VNetConfig(channels=size["channels"])).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    ensemble = Ensemble(
        networks=(compute.place(network),),
        structures=("bone",),
        intensity=IntensityConfig(),
        window_slices=WINDOW,
        slice_axis="z",
        preprocessing={},
        compute=compute,
    )
    config, image_zyx, seconds = PredictConfig(batch_windows=BATCH_WINDOWS), np.load(scan), []
    predict_scan(ensemble, image_zyx[: WINDOW + BATCH_WINDOWS - 1], CT, config)  # warm-up: one full batch
    for _ in range(repeats):
        begin = time.perf_counter()
        probability_zyx = predict_scan(ensemble, image_zyx, CT, config).probability_zyx
        seconds.append(time.perf_counter() - begin)
    np.save(result, probability_zyx)
    return {"seconds": seconds}


def cohort_memory(*, size: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Load a cohort into a `ScanStore`; return what it adds to the resident memory of the process, GB."""
    prepare_torch(reproducible=False, threads=threads)
    cohort, before = Size(**size), resident_gb()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = ScanStore(
            _scans(cohort), torch.device("cpu"), device_gb=24.0, host_gb=24.0, spill_folder=Path(folder)
        )
    return {
        "seconds": [time.perf_counter() - begin],
        "added_gb": resident_gb() - before,
        "added_peak_gb": resident_gb("VmHWM") - before,
        "placement": store.placement,
    }


def _scans(size: Size) -> Iterator[TrainingScan]:
    for index in range(size.scans):
        yield TrainingScan(f"p{index}", *synthetic_scan(size, index), SPACING_MM_ZYX, CT)
