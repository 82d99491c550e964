"""The running average of weights."""

import pytest
import torch
from torch import nn

from lib.learning.average import RunningAverage


def network(value):
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, 0.0)
    return layer


def test_average_against_the_recursion_by_hand():
    layer = network(1.0)
    average, expected = RunningAverage(layer, 0.3), 1.0
    for done in range(20):
        nn.init.constant_(layer.weight, float(done))
        average.follow(done)
        keep = min(0.3, (1 + done) / (10 + done))
        expected = keep * expected + (1 - keep) * done
    assert average.weights()["weight"].item() == pytest.approx(expected)
    assert layer.weight.item() == 19.0


def test_the_network_has_its_own_weights_back_even_after_an_error():
    layer = network(1.0)
    average = RunningAverage(layer, 0.5)
    nn.init.constant_(layer.weight, 3.0)
    with pytest.raises(RuntimeError), average.in_place() as lent:
        assert lent.weight.item() == 1.0
        raise RuntimeError
    assert layer.weight.item() == 3.0


def test_without_decay_it_is_the_network():
    layer = network(1.0)
    average = RunningAverage(layer, 0.0)
    nn.init.constant_(layer.weight, 5.0)
    average.follow(0)
    assert average.weights()["weight"].item() == 5.0
    with average.in_place() as lent:
        assert lent.weight.item() == 5.0


def test_the_average_continues_from_saved_weights():
    layer = network(1.0)
    first = RunningAverage(layer, 0.5)
    nn.init.constant_(layer.weight, 2.0)
    first.follow(100)
    second = RunningAverage(layer, 0.5)
    second.load(first.state())
    for average in (first, second):
        average.follow(101)
    assert torch.equal(first.weights()["weight"], second.weights()["weight"])
    assert second.weights()["weight"].item() == pytest.approx(1.75)


def test_counters_are_copied_not_averaged():
    layer = nn.BatchNorm1d(1)
    average = RunningAverage(layer, 0.9)
    layer.num_batches_tracked += 7
    average.follow(3)
    assert average.weights()["num_batches_tracked"].item() == 7
