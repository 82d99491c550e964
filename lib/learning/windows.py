"""Windows along z: their places in training and in prediction, and how predictions are merged."""

from collections.abc import Callable, Iterator
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


def step_between(dimensions: int, step: int, window: int) -> int:
    """Return the step between windows in prediction: `step`, but no overlap for a 2-D network.

    It sees one slice at a time, so that all windows that hold a slice would predict the same for it.
    """
    return window if dimensions == 2 else step


def copy_slices(volume: Tensor, start: int, window: Tensor, fill: int) -> None:
    """Fill `window` with slices of `volume` (z, y, x) from `start` on, and with `fill` beyond its end.

    The distal end of a scan that is shorter than a window is thus at the window's distal end.
    """
    count = window.shape[0]
    begin, end = (min(max(edge - start, 0), count) for edge in (0, volume.shape[0]))
    window[:begin] = fill
    window[begin:end] = volume[start + begin : start + end]
    window[end:] = fill


def sliding_mean(
    volume: Tensor, predictor: Callable[[Tensor], Tensor], layout: WindowLayout, maps: int = 1
) -> Iterator[tuple[slice, Tensor]]:
    """Predict a volume window by window, average where windows overlap, and yield slices once they are complete.

    Every slice is the mean of the windows that hold it. Beside the volume only the sums of the slices of one batch of
    windows are held, so that memory grows neither with the number of windows nor with maps of the whole volume.

    Args:
        volume: (z, y, x) float.
        predictor: maps windows (N, 1, window, y, x) on the device of `volume` to predictions
            (N, maps, window, y, x), on any device and of any float type.
        layout: `z_padding` replicated slices are put at each end first; a volume that is still shorter than
            a window is filled with 0 above.
        maps: predicted for each voxel.

    Yields:
        Slices of the volume, from its first to its last, and their mean prediction (maps, slices, y, x) in float32,
        on the device of `volume`.
    """
    padded = _pad_ends(volume, layout)
    inside = range(layout.z_padding, layout.z_padding + volume.shape[0])
    starts = window_starts(padded.shape[0], layout.window, layout.step)
    times_seen = torch.from_numpy(_coverage(starts, padded.shape[0], layout.window)).to(volume.device)
    # of the slices from `begin` on
    sums, begin = torch.zeros((maps, 0, *padded.shape[1:]), dtype=torch.float32, device=volume.device), 0
    for first in range(0, len(starts), layout.batch):
        batch = starts[first : first + layout.batch]
        windows = torch.stack([padded[start : start + layout.window] for start in batch])[:, None]
        later = starts[first + layout.batch :]
        end = later[0] if later else padded.shape[0]
        reached = max(end, batch[-1] + layout.window)
        sums = functional.pad(sums, (0, 0, 0, 0, 0, reached - begin - sums.shape[1]))
        for start, prediction in zip(batch, predictor(windows).to(sums), strict=True):
            sums[:, start - begin : start - begin + layout.window] += prediction
        mean = sums[:, : end - begin] / times_seen[begin:end, None, None]
        kept = range(max(begin, inside.start), min(end, inside.stop))
        if kept:
            slices = slice(kept.start - inside.start, kept.stop - inside.start)
            yield slices, mean[:, kept.start - begin : kept.stop - begin]
        sums, begin = sums[:, end - begin :], end


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
