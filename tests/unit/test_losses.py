import math

import pytest
import torch

from lib.learning.losses import SMOOTH_VOXELS, parameter_groups, soft_dice_loss, squared_weights
from lib.learning.vnet import VNet, VNetConfig

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


def test_an_empty_window_gives_a_finite_loss_and_gradient():
    logits = torch.full((1, 1, 4, 4, 4), -200.0, requires_grad=True)
    loss = soft_dice_loss(logits, torch.zeros(1, 1, 4, 4, 4))
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()


def test_squared_weights_leaves_biases_out():
    layer = torch.nn.Conv3d(1, 1, 1)
    torch.nn.init.constant_(layer.weight, 3.0)
    torch.nn.init.constant_(layer.bias, 5.0)
    assert squared_weights(layer).item() == 9.0


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
            (alpha * squared_weights(network)).backward()
        optimizer.step()
    for a, b in zip(by_decay.parameters(), by_loss.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, VNet(SMALL).state_dict()[k]) for k, a in by_decay.state_dict().items())
