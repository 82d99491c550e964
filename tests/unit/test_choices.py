"""Agreement of the mask before its largest component is chosen: only what differs is computed again."""

import numpy as np
import pytest
from scipy import ndimage

from lib.imaging.binarise import largest_piece
from lib.measure_settings import OverlapConfig
from lib.stats.choices import measure_half, measure_raw
from lib.stats.overlap import (
    NO_PREDICTION,
    NO_REFERENCE,
    NO_SURFACE,
    find_surfaces,
    measure_overlap,
)

CONFIG = OverlapConfig()


def compared(reference, raw, spacing):
    """Return the measures of the raw mask, as they are computed and from scratch."""
    mask, _ = largest_piece(raw, wanted=True)
    pair = find_surfaces(reference, mask, spacing)
    overlap = measure_overlap(reference, mask, spacing, CONFIG, pair)
    whole = measure_overlap(reference, raw, spacing, CONFIG)
    return measure_raw((reference, mask, raw), overlap, pair, spacing), whole


@pytest.mark.parametrize("seed", range(40))
def test_the_raw_mask_is_measured_as_from_scratch(seed):
    generator = np.random.default_rng(seed)
    shape, spacing = tuple(generator.integers(8, 26, 3)), tuple(generator.uniform(0.5, 3, 3))
    field = ndimage.gaussian_filter(generator.normal(size=shape), generator.uniform(0.8, 2.5))
    other = ndimage.gaussian_filter(generator.normal(size=shape), generator.uniform(0.8, 2.5))
    other += field * generator.uniform(0, 2)
    # pieces at borders, pieces that touch the mask at an edge or a corner, and mere specks
    reference = field > np.quantile(field, generator.uniform(0.5, 0.95))
    raw = (other > np.quantile(other, generator.uniform(0.5, 0.95))) | (generator.random(shape) > 0.995)
    found, whole = compared(reference, raw, spacing)
    expected = [whole[name] for name in ("dsc", "precision", "sensitivity", "hd95_mm")]
    assert [found[name] for name in ("dsc_raw", "precision_raw", "recall_raw")] == expected[:3]
    assert found["hd95_raw_mm"] == pytest.approx(expected[3], abs=1e-9)
    assert not found["undefined"]


def test_a_speck_far_away_is_dropped_from_the_mask_and_counts_in_the_raw_one():
    reference = np.zeros((12, 20, 40), bool)
    reference[3:9, 6:14, 4:12] = True
    raw = reference.copy()
    raw[3:9, 6:14, 30:34] = True
    found, _ = compared(reference, raw, (3.0, 1.0, 1.0))
    assert found["dsc_raw"] == pytest.approx(2 * 384 / (384 + 384 + 192))
    assert (found["precision_raw"], found["recall_raw"]) == pytest.approx((2 / 3, 1))
    # more than 5 % of the surface lies 19 to 22 mm from the reference's last voxels
    assert 19 < found["hd95_raw_mm"] < 22.5


def test_empty_masks_have_reasons():
    bone = np.zeros((6, 8, 8), bool)
    bone[2:4, 2:5, 2:5] = True
    empty = np.zeros_like(bone)
    found, _ = compared(bone, empty, (1.0, 1.0, 1.0))
    assert found["undefined"] == {"precision_raw": NO_PREDICTION, "hd95_raw_mm": NO_PREDICTION}
    assert (found["dsc_raw"], found["recall_raw"]) == (0, 0)
    two = bone.copy()
    two[0, 0, 0] = True
    found, _ = compared(empty, two, (1.0, 1.0, 1.0))
    assert found["undefined"] == {"recall_raw": NO_REFERENCE, "hd95_raw_mm": NO_REFERENCE}
    assert measure_half(empty, empty)["dsc_half"] is None and measure_half(empty, empty)["undefined"]


def test_a_reference_that_fills_the_crop_has_no_surface():
    raw = np.zeros((4, 6, 8), bool)
    raw[1:3, 1:4, 1:4] = raw[3, 5, 7] = True
    found, _ = compared(np.ones_like(raw), raw, (1.0, 1.0, 1.0))
    assert found["undefined"] == {"hd95_raw_mm": NO_SURFACE} and found["precision_raw"] == 1
