"""Weights of resampling along one axis: a matrix (new samples, old samples) whose rows sum to one.

Samples are slabs: old sample i covers the interval from i to i + 1 (in old steps), and its value is the mean over
that slab. Resampling a volume is one such matrix for each axis.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np


def fourier_weights(count_in: int, count_out: int) -> np.ndarray:
    """Return the weights (count_out, count_in) of Fourier interpolation to sub-slabs, averaged to new slabs.

    The group of `count_in` slabs is taken as one period, interpolated to the least common multiple of both counts
    in sub-slabs (at their true centres, so that they tile the old slabs: the half-voxel phase shift) and averaged
    to `count_out` new slabs. Two 3 mm slices from three 2 mm slices get [.718 .333 -.052] and [-.052 .333 .718].

    Source: Zhao et al. 2020, slices to 3 mm; the phase shift is our interpretation. Columns sum to count_out /
    count_in, so the mean of a group is kept exactly.
    """
    count_sub = math.lcm(count_in, count_out)
    frequencies = np.fft.fftfreq(count_in, 1.0 / count_in)
    spectrum = np.fft.fft(np.eye(count_in), axis=0)
    centres = (np.arange(count_sub) + 0.5) * count_in / count_sub - 0.5
    # the real part shares the Nyquist term of an even group between both signs
    waves = np.exp(2j * np.pi * np.outer(centres, frequencies) / count_in)
    sub_slabs = (waves @ spectrum).real / count_in
    return sub_slabs.reshape(count_out, -1, count_in).mean(axis=1)


def overlap_weights(count_in: int, count_out: int, *, start: float, step: float) -> np.ndarray:
    """Return the weights (count_out, count_in) of exact slab averages.

    New slab k covers start + k * step to start + (k + 1) * step, in old steps from the outer edge of old sample 0;
    the caller ensures that all new slabs lie within the old ones.
    """
    low = start + step * np.arange(count_out)[:, None]
    old = np.arange(count_in)[None, :]
    overlap = np.clip(np.minimum(low + step, old + 1.0) - np.maximum(low, old), 0.0, None)
    return overlap / overlap.sum(axis=1, keepdims=True)


def linear_weights(count_in: int, positions: np.ndarray) -> np.ndarray:
    """Return the weights (positions, count_in) of linear interpolation at `positions` (n,), in old steps.

    Position i is the centre of sample i. Up to half a step beyond an end sample its value is used; rows further out
    are zero.
    """
    inside = (positions >= -0.5) & (positions <= count_in - 0.5)
    held = np.clip(positions, 0.0, count_in - 1.0)
    distance = np.abs(held[:, None] - np.arange(count_in)[None, :])
    return np.clip(1.0 - distance, 0.0, None) * inside[:, None]


def apply_weights(
    values_zyx: np.ndarray,
    weights_z: np.ndarray,
    weights_y: np.ndarray | None,
    weights_x: np.ndarray | None,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Resample an array (z, y, x) along its axes to float32; an in-plane axis with weights None is not resampled.

    It takes hardly any memory beyond the result (see `weighted_slices`). `finish` converts each new slice, possibly
    to another number type.
    """
    result_zyx = None
    slices = weighted_slices(values_zyx.__getitem__, weights_z, weights_y, weights_x)
    for index_z, mixed_yx in enumerate(slices):
        if finish is not None:
            mixed_yx = finish(mixed_yx)
        if result_zyx is None:
            result_zyx = np.empty((len(weights_z), *mixed_yx.shape), mixed_yx.dtype)
        result_zyx[index_z] = mixed_yx
    return result_zyx


def weighted_slices(
    slice_at: Callable[[int], np.ndarray],
    weights_z: np.ndarray,
    weights_y: np.ndarray | None,
    weights_x: np.ndarray | None,
) -> Iterator[np.ndarray]:
    """Yield each new slice (y, x) of `apply_weights` as float32, computed from the few old ones that it needs.

    `slice_at` returns an old slice by its index.
    """
    along_y, along_x = (None if weights is None else _sparse(weights) for weights in (weights_y, weights_x))
    for row in weights_z:
        mixed_yx = np.zeros(slice_at(0).shape, np.float32)
        for index in np.flatnonzero(row):
            mixed_yx += np.float32(row[index]) * slice_at(index)
        if along_y is not None:
            mixed_yx = along_y @ mixed_yx
        if along_x is not None:
            mixed_yx = (along_x @ mixed_yx.T).T
        yield mixed_yx


def block_mean(values_zyx: np.ndarray, steps_zyx: np.ndarray) -> np.ndarray:
    """Return every steps[0]-th slice, averaged in blocks of steps[1] x steps[2] pixels (float32).

    Rows and columns that do not fill a block at the high end are left out.
    """
    z, y, x = (min(int(step), count) for step, count in zip(steps_zyx, values_zyx.shape, strict=True))
    rows, columns = (n // step for n, step in zip(values_zyx.shape[1:], (y, x), strict=True))
    kept = values_zyx[::z, : rows * y, : columns * x]
    total = np.zeros((len(kept), rows, columns), np.float32)
    for row, column in itertools.product(range(y), range(x)):
        total += kept[:, row::y, column::x]
    return total / (y * x)


def _sparse(weights: np.ndarray):
    """Return sparse weights: with two or three non-zero weights in 512 a slice takes a tenth of the time."""
    # imported here: only resampling in the slice needs it, and the import takes a quarter of a conversion
    from scipy.sparse import csr_array

    return csr_array(weights.astype(np.float32))
