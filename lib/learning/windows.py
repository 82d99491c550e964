"""Windows along z: their places in training and in prediction, and how predictions are merged."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class WindowLayout:
    """How windows are placed over a scan: all in slices, except `batch`, the windows predicted at once."""

    window: int
    step: int
    z_padding: int
    batch: int


def draw_start(slices: int, window: int, generator: np.random.Generator) -> int:
    """Draw the first slice of a window in a scan; 0 for a scan that is no longer than the window."""
    return int(generator.integers(max(slices - window, 0) + 1))


def window_starts(slices: int, window: int, step: int) -> list[int]:
    """Return the first slices of windows that cover a scan: every `step`, and one that ends with the scan."""
    last = max(slices - window, 0)
    starts = list(range(0, last + 1, step))
    return starts if starts[-1] == last else [*starts, last]


def copy_slices(volume: Tensor, start: int, window: Tensor, fill: int) -> None:
    """Fill `window` with slices of `volume` (z, y, x) from `start` on, and with `fill` beyond its end.

    The distal end of a scan that is shorter than a window is thus at the window's distal end.
    """
    count = window.shape[0]
    begin, end = (min(max(edge - start, 0), count) for edge in (0, volume.shape[0]))
    window[:begin] = fill
    window[begin:end] = volume[start + begin : start + end]
    window[end:] = fill


def sliding_mean(volume: Tensor, predictor: Callable[[Tensor], Tensor], layout: WindowLayout) -> Tensor:
    """Predict a volume window by window and average where windows overlap.

    Every slice is the mean of the windows that hold it. Only one running sum and one batch of windows are held with
    the volume, so that memory does not grow with the number of windows.

    Args:
        volume: (z, y, x) float.
        predictor: maps windows (N, 1, window, y, x) on the device of `volume` to predictions of the same shape, on
            any device and of any float type.
        layout: `z_padding` replicated slices are put at each end first; a volume that is still shorter than
            a window is filled with 0 above.

    Returns:
        The mean prediction (z, y, x) in float32, on the device of `volume`.
    """
    slices = volume.shape[0]
    padded = _pad_ends(volume, layout)
    starts = window_starts(padded.shape[0], layout.window, layout.step)
    total = torch.zeros(padded.shape, dtype=torch.float32, device=volume.device)
    for first in range(0, len(starts), layout.batch):
        batch = starts[first : first + layout.batch]
        windows = torch.stack([padded[start : start + layout.window] for start in batch])[:, None]
        for start, prediction in zip(batch, predictor(windows).to(total), strict=True):
            total[start : start + layout.window] += prediction[0]
    times_seen = torch.from_numpy(_coverage(starts, padded.shape[0], layout.window)).to(volume.device)
    mean = total.div_(times_seen[:, None, None])
    return mean[layout.z_padding : layout.z_padding + slices]


def _pad_ends(volume: Tensor, layout: WindowLayout) -> Tensor:
    if layout.z_padding:
        indices = torch.arange(-layout.z_padding, volume.shape[0] + layout.z_padding, device=volume.device)
        volume = volume[indices.clamp_(0, volume.shape[0] - 1)]
    missing = layout.window - volume.shape[0]
    return functional.pad(volume, (0, 0, 0, 0, 0, missing)) if missing > 0 else volume


def _coverage(starts: list[int], slices: int, window: int) -> np.ndarray:
    """Return how many windows hold each slice, float32 (z,)."""
    coverage = np.zeros(slices, dtype=np.float32)
    for start in starts:
        coverage[start : start + window] += 1
    return coverage
