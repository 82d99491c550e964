"""The peer's side of the benchmarks: the same network in a MONAI pipeline, assembled as in MONAI's tutorials.

Where MONAI offers a choice, the faster option is used: no metadata on tensors, one window at a time on the CPU,
more loader processes, pinned memory and cuDNN's own search for kernels on CUDA.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from common import WINDOW, Size, device_memory_gb, resident_gb, synchronize, synthetic_scan
from monai.data import CacheDataset, DataLoader, set_track_meta
from monai.inferers import sliding_window_inference
from monai.losses import DiceLoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Lambda,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandRotated,
    RandScaleIntensityd,
    RandSpatialCropd,
    ScaleIntensityRanged,
)
from torch import Tensor, nn

KEYS = ("image", "mask")
HU_RANGE = (-1000.0, 2000.0)
MAX_ANGLE = np.radians(15)


class PlainVNet(nn.Module):
    """The paper's network in plain PyTorch; its parameters are in the same order as ours."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        entering, counts = (1, *channels[:-1]), (1, 2, 3, 3)
        self.encoder = nn.ModuleList(map(_block, entering, channels, counts))
        deeper, upper = channels[:0:-1], channels[-2::-1]
        self.rise = nn.ModuleList(
            nn.ConvTranspose3d(a, b, 3, 2, 1, 1) for a, b in zip(deeper, upper, strict=True)
        )
        self.decoder = nn.ModuleList(_block(2 * width, width, 2) for width in upper)
        self.dropout = nn.Dropout3d(0.2)
        self.head = nn.Conv3d(channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 1, z, y, x) for intensities of the same shape, sizes divisible by 8."""
        skips = []
        for block in self.encoder[:-1]:
            skips.append(block(x))
            x = torch.max_pool3d(skips[-1], 2)
        x = self.encoder[-1](x)
        for rise, block in zip(self.rise, self.decoder, strict=True):
            x = block(torch.cat([rise(x), skips.pop()], 1))
        return self.head(self.dropout(x))


def update_seconds(
    *,
    size: Mapping[str, Any],
    device: str,
    precision: str,
    threads: int,
    warm_up: int,
    block: int,
    blocks: int,
    workers: int,
    limit_s: float = math.inf,
) -> dict[str, Any]:
    """Return the seconds per update of each block of updates after `warm_up`; `workers` are loader processes.

    After `limit_s` seconds no further block begins.
    """
    _prepare(threads)
    cohort, moments = Size(**size), []
    network = PlainVNet(cohort.channels).to(device)
    batches = DataLoader(
        _dataset(cohort),
        batch_size=1,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
        pin_memory=device == "cuda",
    )
    ends, begin = range(warm_up, warm_up + block * blocks + 1, block), time.perf_counter()
    for number, _ in zip(range(1, ends[-1] + 1), _updates(network, batches, device, precision), strict=False):
        if number in ends:
            synchronize(device)
            moments.append(time.perf_counter())
            if len(moments) > 1 and moments[-1] - begin > limit_s:
                break
    return {"seconds": list(np.diff(moments) / block), "device_gb": device_memory_gb(device)}


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
    batch_windows: int,
) -> dict[str, Any]:
    """Predict a scan by sliding windows; return the seconds of each run, write the probability to `result`."""
    _prepare(threads)
    network = PlainVNet(size["channels"])
    ours = torch.load(weights, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), ours, strict=True)))
    network.to(device).eval()
    image_zyx, seconds = np.load(scan), []
    _predict(network, image_zyx[: WINDOW + batch_windows - 1], device, precision, batch_windows)  # warm-up
    for _ in range(repeats):
        begin = time.perf_counter()
        probability_zyx = _predict(network, image_zyx, device, precision, batch_windows)
        seconds.append(time.perf_counter() - begin)
    np.save(result, probability_zyx)
    return {"seconds": seconds}


def cohort_memory(*, size: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Cache a cohort in a `CacheDataset` (always host memory); return what that adds to the process, GB."""
    _prepare(threads)
    before, begin = resident_gb(), time.perf_counter()
    dataset = _dataset(Size(**size))
    return {
        "seconds": [time.perf_counter() - begin],
        "scans": len(dataset),
        "added_gb": resident_gb() - before,
        "added_peak_gb": resident_gb("VmHWM") - before,
    }


def _prepare(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    set_track_meta(False)


def _block(entering: int, width: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(nn.Conv3d(width if index else entering, width, 3, padding=1))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _dataset(size: Size) -> CacheDataset:
    """Return a cached dataset of random windows with the same kinds of augmentation as ours."""
    to_window = (WINDOW, size.inplane, size.inplane)
    return CacheDataset(
        list(range(size.scans)),
        Compose(
            [
                Lambda(partial(_load, size)),
                EnsureChannelFirstd(KEYS, channel_dim="no_channel"),
                EnsureTyped(KEYS, dtype=torch.float32),
                ScaleIntensityRanged("image", *HU_RANGE, 0, 1, clip=True),
                RandSpatialCropd(KEYS, to_window, random_size=False),
                RandRotated(
                    KEYS,
                    *[MAX_ANGLE] * 3,
                    prob=0.5,
                    mode=("bilinear", "nearest"),
                    padding_mode="zeros",
                ),
                RandFlipd(KEYS, 0.5, 1),
                RandScaleIntensityd("image", 0.1, 0.5),
                RandAdjustContrastd("image", 0.5, (0.7, 1.5)),
                RandGaussianNoised("image", 0.5, 0, 0.02),
            ]
        ),
        progress=False,
    )


def _load(size: Size, index: int) -> dict[str, np.ndarray]:
    return dict(zip(KEYS, synthetic_scan(size, index), strict=True))


def _updates(network: nn.Module, batches: DataLoader, device: str, precision: str) -> Iterator[None]:
    """Make updates without end."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, weight_decay=2e-5)
    loss_of = DiceLoss(sigmoid=True)
    network.train()
    while True:
        for batch in batches:
            image, mask = (batch[key].to(device, non_blocking=True) for key in KEYS)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                logits = network(image)
            loss = loss_of(logits.float(), mask)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def _predict(
    network: nn.Module, image_zyx: np.ndarray, device: str, precision: str, batch_windows: int
) -> np.ndarray:
    """Return the probability (z, y, x), windows moved by one slice and averaged."""
    low, high = HU_RANGE
    image = torch.from_numpy(image_zyx).to(device).float()[None, None]
    intensity = (image.clamp(low, high) - low) / (high - low)
    window = (WINDOW, *image_zyx.shape[1:])
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        probability = sliding_window_inference(
            intensity,
            window,
            batch_windows,
            lambda windows: network(windows).float().sigmoid(),
            overlap=(WINDOW - 1) / WINDOW,
            mode="constant",
        )
    return probability[0, 0].cpu().numpy()
