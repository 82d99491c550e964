"""Disagreement between members, in closed form."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from lib.learning.uncertainty import (
    NO_BONE,
    NO_COMMON_BONE,
    ONE_MODEL,
    TRAINED_ON_PERSON,
    Disagreement,
    describe_disagreement,
    disagreement_of_one,
    measure_disagreement,
)

NAMES = ("member_dice", "mean_entropy_bits", "member_range_percent")


def stripes(*bounds, slices=20):
    """Masks (members, z, 1, 1) of the slices from first to stop."""
    masks = torch.zeros((len(bounds), slices, 1, 1), dtype=torch.bool)
    for mask, (first, stop) in zip(masks, bounds, strict=True):
        mask[first:stop] = True
    return masks


def measure(masks, probability=None):
    probability = masks.float().mean(dim=0) if probability is None else probability
    return measure_disagreement(probability, probability >= 0.5, masks)


def test_members_that_agree_have_dice_one_and_no_entropy():
    found = measure(stripes((3, 9), (3, 9), (3, 9)))
    assert (found.member_dice, found.mean_entropy_bits, found.undefined) == (1.0, 0.0, {})


def test_dice_is_the_mean_over_pairs():
    # sizes 10, 10, 5; shared 5, 5, 0: Dice 0.5, 2/3, 0
    found = measure(stripes((0, 10), (5, 15), (0, 5)))
    assert found.member_dice == pytest.approx((0.5 + 2 / 3 + 0) / 3, rel=1e-12)


def test_a_pair_of_which_one_is_empty_has_dice_zero_and_an_empty_pair_is_left_out():
    assert measure(stripes((0, 10), (0, 0))).member_dice == 0
    # the pairs of the two members with bone (1) and of each with the two empty ones (0); not the two empty ones
    assert measure(stripes((0, 10), (0, 10), (0, 0), (0, 0))).member_dice == pytest.approx(1 / 5)


def test_entropy_is_that_of_the_mean_over_what_any_member_calls_bone():
    masks = stripes((0, 4), (0, 2))
    probability = torch.full((20, 1, 1), 0.4)  # uncertain everywhere else, which must not count
    probability[:4] = torch.tensor([1.0, 0.5, 0.25, 0.25]).reshape(4, 1, 1)
    quarter_bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    expected = (0 + 1 + 2 * quarter_bits) / 4
    assert measure(masks, probability).mean_entropy_bits == pytest.approx(expected, rel=1e-12)


def test_random_masks_agree_with_loops_and_the_order_of_members_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand((5, 6, 7, 8), generator=generator) < torch.linspace(0.1, 0.5, 5)[:, None, None, None]
    pairs = [
        2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        for a, b in combinations(masks.numpy(), 2)
    ]
    found = measure(masks)
    assert found.member_dice == pytest.approx(np.mean(pairs), rel=1e-12)
    assert measure(masks.flip(0)).member_dice == pytest.approx(found.member_dice, rel=1e-12)
    assert 0 < found.mean_entropy_bits <= 1


def test_where_no_member_finds_bone_nothing_is_defined():
    found = measure(stripes((0, 0), (0, 0)), torch.full((20, 1, 1), 0.3))
    assert (found.member_dice, found.mean_entropy_bits) == (None, None)
    assert found.undefined == dict.fromkeys(NAMES, NO_BONE)


@pytest.mark.parametrize(
    ("members", "reason"),
    [("fold-3", TRAINED_ON_PERSON), ("single", ONE_MODEL), ("ensemble", ONE_MODEL)],
)
def test_one_model_says_why_it_has_none(members, reason):
    found = disagreement_of_one(members)
    assert (found.member_dice, found.mean_entropy_bits) == (None, None)
    assert found.undefined == dict.fromkeys(NAMES, reason)


def test_volumes_of_members_are_told_beside_that_of_their_mean():
    # 10, 8 and 5 slices; two of three call the first 8 bone
    found = measure(stripes((0, 10), (0, 8), (0, 5)))
    assert found.member_volume_ratios == pytest.approx((10 / 8, 1, 5 / 8), rel=1e-12)
    assert found.member_range_percent == pytest.approx(100 * 5 / 8, rel=1e-12)


def test_members_without_common_bone_have_no_ratio_and_a_reason():
    found = measure(stripes((0, 4), (5, 9), (10, 14)))
    assert found.member_volume_ratios == () and found.member_range_percent is None
    assert found.undefined == {"member_range_percent": NO_COMMON_BONE}
    assert found.member_dice == 0


def test_ratios_are_told_by_fold():
    apart = Disagreement(member_dice=0.9, mean_entropy_bits=0.1, member_volume_ratios=(0.75, 1.25))
    told = describe_disagreement(apart, ["fold-0", "fold-1"])
    assert told["member_volume_ratios"] == {"fold-0": 0.75, "fold-1": 1.25} and told["member_dice"] == 0.9
    assert describe_disagreement(disagreement_of_one("single"), ["fold-1"])["member_volume_ratios"] == {}
