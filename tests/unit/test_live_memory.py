"""The memory of an update, computed from shapes (bench/live_memory.py)."""

from dataclasses import replace

import pytest
import torch

from bench.live_memory import Case, LiveMemory, update_gb
from lib.learning.architecture import unet_config


def test_the_peak_counts_what_is_alive_at_once_and_shared_memory_once():
    with LiveMemory() as memory:
        first = torch.zeros(1000)
        view = first.view(10, 100)
        second = torch.zeros(500, dtype=torch.bfloat16)
        del first
        assert memory.bytes == 4000 + 1000  # the view keeps it
        del view
        assert memory.bytes == 1000
        third = second + 1
    assert (memory.bytes, memory.peak) == (2000, 5000) and third.shape == (500,)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_memory_grows_with_the_window_and_weights_are_held_three_times(dimensions):
    shape = unet_config(initial_maps=8, levels=3, dimensions=dimensions)
    case = Case(shape=shape, size_zyx=(8, 32, 32), precision="float32", cuda=True)
    one, two, four = (1e9 * update_gb(replace(case, size_zyx=(8, 32, n))) for n in (32, 64, 128))
    assert four - two == pytest.approx(2 * (two - one), rel=0.02)
    weights = sum(weight.numel() for weight in case.new_network().parameters())
    # weights and two moments; at the peak, when the backward pass begins, hardly any gradient is there
    assert 2 * one - two == pytest.approx(3 * 4 * weights, rel=0.05)
    # two maps of 8 saved on each side of the first level, its skip and its join, at the least
    assert (two - one) / (8 * 32 * 32) > 4 * (8 + 8 + 16 + 8 + 8)
    halved = 1e9 * (update_gb(replace(case, size_zyx=(8, 32, 128), precision="bf16")))
    assert 0.4 < (halved - 3 * 4 * weights) / (four - 3 * 4 * weights) < 0.7
