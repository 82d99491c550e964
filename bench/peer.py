"""The peer's way: the same network in a MONAI pipeline, as MONAI's own tutorials put one together.

MONAI is not in the lock file: `pip install --no-deps monai` into the environment of the project.
"""

from collections.abc import Iterator

import numpy as np
import torch
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceLoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    RandAdjustContrastd,
    RandFlipd,
    RandGaussianNoised,
    RandRotated,
    RandScaleIntensityd,
    RandSpatialCropd,
    ScaleIntensityRanged,
)
from torch import nn

from lib.learning.scans import TrainingScan

KEYS = ("image", "mask")


def loader(scans: list[TrainingScan], window: int, batch_size: int, workers: int) -> DataLoader:
    """Return MONAI's batches of random windows with the same kinds of augmentation as ours."""
    inplane = scans[0].image_zyx.shape[1:]
    angle = np.radians(15)
    changes = Compose(
        [
            EnsureChannelFirstd(KEYS, channel_dim="no_channel"),
            EnsureTyped(KEYS, dtype=torch.float32),
            ScaleIntensityRanged("image", -1000, 2000, 0, 1, clip=True),
            RandSpatialCropd(KEYS, (window, *inplane), random_size=False),
            RandRotated(
                KEYS, angle, angle, angle, prob=0.5, mode=("bilinear", "nearest"), padding_mode="zeros"
            ),
            RandFlipd(KEYS, 0.5, 1),
            RandScaleIntensityd("image", 0.1, 0.5),
            RandAdjustContrastd("image", 0.5, (0.7, 1.5)),
            RandGaussianNoised("image", 0.5, 0, 0.02),
        ]
    )
    items = [{"image": scan.image_zyx, "mask": scan.mask_zyx} for scan in scans]
    dataset = CacheDataset(items, changes, progress=False)
    return DataLoader(
        dataset, batch_size=batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )


def updates(network: nn.Module, batches: DataLoader, device: torch.device, bf16: bool) -> Iterator[None]:
    """Make one update after another, for ever."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, weight_decay=2e-5)
    loss_of = DiceLoss(sigmoid=True)
    network.train()
    while True:
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = network(batch["image"].to(device))
            loss = loss_of(logits.float(), batch["mask"].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield


def predict(network: nn.Module, intensity: torch.Tensor, window: int, batch: int, bf16: bool) -> np.ndarray:
    """Return the probability (z, y, x) of an intensity volume (1, 1, z, y, x), windows moved by one slice."""

    def probability(windows: torch.Tensor) -> torch.Tensor:
        return network(windows).float().sigmoid()

    size = (window, *intensity.shape[3:])
    overlap = ((window - 1) / window, 0.0, 0.0)
    with torch.inference_mode(), torch.autocast(intensity.device.type, torch.bfloat16, enabled=bf16):
        return (
            sliding_window_inference(intensity, size, batch, probability, overlap=overlap)[0, 0].cpu().numpy()
        )
