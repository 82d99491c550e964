import pytest
import torch

from lib.errors import ConfigError
from lib.learning.losses import parameter_groups
from lib.learning.vnet import START_LOGIT, VNet, VNetConfig, halve, halve_by_amax, initialise_on

SMALL = VNetConfig(
    channels=(2, 3, 4), encoder_convolutions=(1, 1, 1), decoder_convolutions=(1, 1), dropout=0.0
)


def test_preset_paper_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        network = VNet(VNetConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) == 8_601_409


@pytest.mark.parametrize("size_zyx", [(8, 8, 8), (5, 9, 10), (1, 4, 3)])
def test_logits_have_the_size_of_the_input(size_zyx):
    torch.manual_seed(0)
    logits = VNet(SMALL)(torch.rand(2, 1, *size_zyx))
    assert logits.shape == (2, 1, *size_zyx)


def test_a_size_that_cannot_be_halved_is_padded_with_air_at_the_far_end():
    torch.manual_seed(0)
    network = VNet(SMALL).eval()
    intensity = torch.rand(1, 1, 6, 8, 7)
    padded = torch.zeros(1, 1, 8, 8, 8)
    padded[:, :, :6, :, :7] = intensity
    torch.testing.assert_close(network(intensity), network(padded)[:, :, :6, :, :7])


def test_both_ways_to_halve_agree_in_value_and_gradient():
    torch.manual_seed(0)
    a = torch.rand(2, 3, 4, 6, 8, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    upstream = torch.rand(2, 3, 2, 3, 4)
    pooled = halve(a)
    pooled.backward(upstream)
    halve_by_amax(b).backward(upstream)
    assert pooled.shape == (2, 3, 2, 3, 4)
    assert torch.equal(pooled, halve_by_amax(b))
    assert torch.equal(a.grad, b.grad)


def test_he_initialisation_keeps_the_second_moment_of_a_transposed_convolution():
    torch.manual_seed(0)
    rise = VNet(VNetConfig(channels=(64, 64), encoder_convolutions=(1, 1), decoder_convolutions=(1,))).rise[0]
    entering = torch.randn(1, 64, 8, 8, 8).relu()
    leaving = rise(entering)[:, :, 2:-2, 2:-2, 2:-2]
    # a normal variable after a ReLU has E[x^2] = 1/2; He's variance 2/fan_in makes it 1 before the next ReLU
    assert leaving.square().mean().item() == pytest.approx(1.0, abs=0.1)


def test_initialisation_on_data_makes_every_layer_standard_there():
    torch.manual_seed(0)
    network, intensity = VNet(SMALL), 0.3 + 0.1 * torch.randn(2, 1, 8, 8, 8)
    initialise_on(network, intensity)
    outputs = {}
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            layer.register_forward_hook(
                lambda _, __, output, name=name: outputs.update({name: output.clone()})
            )
    network(intensity)
    assert len(outputs) == 3 + 2 + 2 + 1
    for name, output in outputs.items():
        mean, deviation = output.mean((0, 2, 3, 4)), output.std((0, 2, 3, 4))
        target = START_LOGIT if name == "head" else 0.0
        torch.testing.assert_close(mean, torch.full_like(mean, target), atol=1e-4, rtol=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=1e-3, rtol=0)


def test_group_normalisation_takes_strength_and_level_out_of_the_input():
    torch.manual_seed(0)
    config = VNetConfig(
        channels=(8, 16), encoder_convolutions=(1, 1), decoder_convolutions=(1,), normalisation="group"
    )
    network, features = VNet(config).eval(), torch.randn(1, 16, 4, 4, 4)
    block = network.encoder[1]
    entering = torch.rand(1, 8, 4, 4, 4)
    # the convolution is linear without its bias, so that twice the input changes nothing after the normalisation
    torch.testing.assert_close(block(entering), block(2 * entering), atol=1e-3, rtol=0)
    group_means = block[1](features).reshape(8, -1).mean(1)
    torch.testing.assert_close(group_means, torch.zeros(8), atol=1e-5, rtol=0)


def test_parameters_of_the_normalisation_are_not_penalised():
    config = VNetConfig(
        channels=(8, 16), encoder_convolutions=(1, 1), decoder_convolutions=(1,), normalisation="group"
    )
    decaying, free = parameter_groups(VNet(config), 1e-5)
    assert (decaying["weight_decay"], free["weight_decay"]) == (2e-5, 0.0)
    assert len(decaying["params"]) == 5  # three convolutions, one transposed, the head
    assert len(free["params"]) == 5 + 2 * 3  # their biases, and scale and shift after three convolutions


def test_the_preset_predicts_a_small_window():
    torch.manual_seed(0)
    with torch.inference_mode():
        logits = VNet(VNetConfig()).eval()(torch.rand(1, 1, 8, 24, 24))
    assert logits.shape == (1, 1, 8, 24, 24) and torch.isfinite(logits).all()


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    config = VNetConfig(channels=(8, 8), encoder_convolutions=(1, 1), decoder_convolutions=(1,), dropout=0.5)
    network, intensity = VNet(config), torch.rand(1, 1, 4, 4, 4)
    network.train()
    assert not torch.equal(network(intensity), network(intensity))
    network.eval()
    assert torch.equal(network(intensity), network(intensity))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"channels": [8]}, "channels"),
        ({"channels": [8, 0, 8, 8]}, "channels"),
        ({"encoder_convolutions": [1, 2]}, "encoder_convolutions"),
        ({"decoder_convolutions": [2, 2, 2, 2]}, "decoder_convolutions"),
        ({"kernel": 2}, "kernel"),
        ({"dropout": 1.0}, "dropout"),
        ({"normalisation": "batch"}, "normalisation"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused_by_name(changes, key):
    with pytest.raises(ConfigError, match=key):
        VNetConfig(**changes)
