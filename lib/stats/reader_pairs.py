"""Overlap of two readers and the model on one scan, each with each."""

import numpy as np

from lib.measure_settings import OverlapConfig
from lib.stats.overlap import Spacing, measure_overlap

PAIRS = ("reader 1 - reader 2", "reader 1 - model", "reader 2 - model")


def compare_readers(
    masks_zyx: tuple[np.ndarray, np.ndarray, np.ndarray], spacing_mm_zyx: Spacing, config: OverlapConfig
) -> dict[str, dict]:
    """Return the result of `measure_overlap` for each of PAIRS; the first of a pair is the reference.

    `masks_zyx` are those of reader 1, reader 2 and the model, each (z, y, x) on one grid.
    """
    first, second, predicted = masks_zyx
    compared = zip(PAIRS, ((first, second), (first, predicted), (second, predicted)), strict=True)
    return {pair: measure_overlap(*masks, spacing_mm_zyx, config) for pair, masks in compared}
