import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.errors import ConfigError
from lib.learning.architecture import VNetConfig
from lib.learning.losses import (
    SMOOTH_VOXELS,
    cross_entropy_loss,
    parameter_groups,
    segmentation_loss,
    soft_dice_loss,
)
from lib.learning.train_settings import LOSSES
from lib.learning.vnet import VNet

SMALL = VNetConfig(channels=(2, 3), encoder_convolutions=(1, 1), decoder_convolutions=(1,), dropout=0.0)


def logit(probability):
    return math.log(probability / (1 - probability))


def test_soft_dice_of_a_constant_prediction():
    # 8 voxels at probability 1/4, 4 of them in the mask: shared 1, sum of both 2 + 4
    logits = torch.full((1, 1, 2, 2, 2), logit(0.25))
    mask = torch.zeros(1, 1, 2, 2, 2)
    mask[:, :, 0] = 1
    expected = 1 - (2 * 1 + SMOOTH_VOXELS) / (6 + SMOOTH_VOXELS)
    assert soft_dice_loss(logits, mask).item() == pytest.approx(expected, abs=1e-6)


def test_loss_is_the_mean_over_the_windows_of_a_batch():
    torch.manual_seed(0)
    logits, mask = torch.randn(3, 1, 4, 4, 4), (torch.rand(3, 1, 4, 4, 4) > 0.7).float()
    single = [soft_dice_loss(logits[i : i + 1], mask[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(soft_dice_loss(logits, mask), torch.stack(single).mean())


def test_a_perfect_prediction_costs_nothing():
    mask = (torch.arange(64).reshape(1, 1, 4, 4, 4) % 3 == 0).float()
    assert soft_dice_loss((mask - 0.5) * 200, mask).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("certainty", [200.0, -200.0, 0.0])
@pytest.mark.parametrize("maps", [1, 3])
def test_an_empty_window_gives_a_finite_loss_and_gradient(maps, certainty, kind):
    logits = torch.zeros(1, maps, 4, 4, 4)
    logits[:, -1] = certainty  # of the last kind of bone
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.zeros(1, 1, 4, 4, 4), kind=kind, bone_weight=5.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_background_predicted_as_background_has_no_loss():
    empty = torch.zeros(1, 1, 4, 4, 4)
    for kind in LOSSES:
        loss = segmentation_loss(torch.full_like(empty, -200.0), empty, kind=kind)
        assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_soft_dice_of_several_kinds_is_the_mean_over_them():
    # four voxels labelled 0, 1, 1, 2 with probabilities (1/2, 1/4, 1/4) everywhere
    logits = torch.log(torch.tensor([0.5, 0.25, 0.25])).view(1, 3, 1, 1, 1).expand(1, 3, 1, 2, 2)
    mask = torch.tensor([0, 1, 1, 2]).view(1, 1, 1, 2, 2)
    first = (2 * 0.5 + SMOOTH_VOXELS) / (1 + 2 + SMOOTH_VOXELS)
    second = (2 * 0.25 + SMOOTH_VOXELS) / (1 + 1 + SMOOTH_VOXELS)
    expected = 1 - (first + second) / 2
    assert soft_dice_loss(logits, mask).item() == pytest.approx(expected, abs=1e-6)


def test_a_kind_that_the_window_lacks_is_pushed_down_by_dice():
    logits = torch.zeros(1, 3, 2, 2, 2, requires_grad=True)
    mask = torch.ones(1, 1, 2, 2, 2)
    soft_dice_loss(logits, mask).backward()
    assert (logits.grad[:, 2] > 0).all() and (logits.grad[:, 1] < 0).all()


def test_cross_entropy_of_a_constant_prediction():
    # 8 voxels at probability 1/4, 2 of them bone, which count three times
    mask = torch.zeros(1, 1, 2, 2, 2)
    mask[0, 0, 0, 0] = 1
    expected = (2 * 3 * -math.log(0.25) + 6 * -math.log(0.75)) / (2 * 3 + 6)
    loss = cross_entropy_loss(torch.full((1, 1, 2, 2, 2), logit(0.25)), mask, 3.0)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bone_weight", [0.5, 1.0, 8.0])
def test_cross_entropy_is_torchs_and_numpys(bone_weight):
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 1, 4, 5, 6))
    weights = torch.tensor([1.0, bone_weight, bone_weight])
    expected = functional.cross_entropy(logits, labels[:, 0], weight=weights)
    torch.testing.assert_close(cross_entropy_loss(logits, labels, bone_weight), expected)

    binary, mask = logits[:, :1], labels > 0
    probability = 1 / (1 + np.exp(-binary.double().numpy()))
    right = np.where(mask, probability, 1 - probability)
    voxel_weights = np.where(mask, bone_weight, 1.0)
    expected = np.average(-np.log(right), weights=voxel_weights)
    assert cross_entropy_loss(binary, mask, bone_weight).item() == pytest.approx(expected, rel=1e-5)


def test_two_maps_with_background_zero_are_one_map():
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 4, 4, 4), (torch.rand(2, 1, 4, 4, 4) > 0.7).to(torch.uint8)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    for kind in LOSSES:
        one_map = segmentation_loss(logits, mask, kind=kind, bone_weight=2.0)
        torch.testing.assert_close(segmentation_loss(two, mask, kind=kind, bone_weight=2.0), one_map)


def test_the_loss_that_is_asked_for_is_taken():
    torch.manual_seed(0)
    logits, mask = torch.randn(1, 1, 4, 4, 4), (torch.rand(1, 1, 4, 4, 4) > 0.7).float()
    dice, cross_entropy = soft_dice_loss(logits, mask), cross_entropy_loss(logits, mask, 4.0)
    found = [segmentation_loss(logits, mask, kind=kind, bone_weight=4.0) for kind in LOSSES]
    assert found == [dice, cross_entropy, dice + cross_entropy]
    with pytest.raises(ConfigError, match="'focal' is not allowed; expected dice or cross_entropy or"):
        segmentation_loss(logits, mask, kind="focal")


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("maps", [1, 3])
def test_logits_of_half_precision_are_counted_in_float32(maps, kind):
    torch.manual_seed(0)
    logits, mask = torch.randn(1, maps, 16, 32, 32).bfloat16(), torch.randint(0, 2, (1, 1, 16, 32, 32))
    loss = segmentation_loss(logits, mask, kind=kind)
    assert loss.dtype == torch.float32
    assert loss == segmentation_loss(logits.float(), mask, kind=kind)


def test_only_weights_of_convolutions_decay():
    network = VNet(replace(SMALL, normalisation="batch"))
    decaying, others = parameter_groups(network, 0.5)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert (decaying["weight_decay"], others["weight_decay"]) == (1.0, 0.0)
    assert all(names[id(weight)].endswith("weight") and weight.ndim == 5 for weight in decaying["params"])
    assert all(parameter.ndim == 1 for parameter in others["params"])
    assert len(decaying["params"]) + len(others["params"]) == len(names)


def test_weight_decay_of_adam_is_exactly_the_explicit_penalty():
    alpha = 2.0**-6  # a power of two, so that 2 * alpha * W is exact in both ways of computing it
    torch.manual_seed(0)
    by_decay, by_loss = VNet(SMALL), VNet(SMALL)
    by_loss.load_state_dict(by_decay.state_dict())
    decaying = torch.optim.Adam(parameter_groups(by_decay, alpha), lr=1e-2)
    plain = torch.optim.Adam(by_loss.parameters(), lr=1e-2)
    intensity, mask = torch.rand(1, 1, 8, 8, 8), (torch.rand(1, 1, 8, 8, 8) > 0.5).float()
    for network, optimizer in ((by_decay, decaying), (by_loss, plain)):
        penalised = network is by_loss
        optimizer.zero_grad()
        soft_dice_loss(network(intensity), mask).backward()
        if penalised:
            (
                alpha * sum(weight.square().sum() for weight in network.parameters() if weight.ndim > 1)
            ).backward()
        optimizer.step()
    for a, b in zip(by_decay.parameters(), by_loss.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, VNet(SMALL).state_dict()[k]) for k, a in by_decay.state_dict().items())
