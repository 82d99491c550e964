"""The network: sizes, parameters, gradients, layouts and invariances of every variant."""

from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lib.errors import ConfigError
from lib.learning.architecture import VNetConfig, read_network, unet_config
from lib.learning.losses import parameter_groups
from lib.learning.vnet import START_LOGIT, VNet, halve, halve_by_amax, initialise_on

SMALL = VNetConfig(
    channels=(2, 3, 4), encoder_convolutions=(1, 2, 1), decoder_convolutions=(1, 2), dropout=0.0
)
VARIANTS = {
    "plain": SMALL,
    "one map": replace(SMALL, channels=(1, 1, 1)),
    "wide kernels": replace(SMALL, kernel=5, transposed_kernel=4, bottleneck_dilation=3),
    "residual": replace(SMALL, residual=True, skip="add", activation="elu"),
    "residual concat": replace(SMALL, residual=True, normalisation="batch"),
    "batch": replace(SMALL, normalisation="batch", activation="leaky_relu"),
    "instance": replace(SMALL, normalisation="instance", skip="add"),
    "group": replace(SMALL, normalisation="group", classes=3),
    "unet": unet_config(initial_maps=2, levels=3, bottleneck_dilation=2),
    "2-D": replace(SMALL, dimensions=2, classes=2),
    "2-D residual": replace(SMALL, dimensions=2, residual=True, normalisation="instance"),
    "2-D unet": unet_config(initial_maps=2, levels=3, dimensions=2, normalisation="batch"),
}
every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
CONVOLUTIONS = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
TWO_LEVELS = VNetConfig(channels=(8, 16), encoder_convolutions=(1, 1), decoder_convolutions=(1,), dropout=0.0)


def parameters_of(config):
    with torch.device("meta"):
        network = VNet(config)
    return sum(parameter.numel() for parameter in network.parameters())


def counted_parameters(config):
    """Number of weights and biases of convolutions, and two numbers for each normalised map, level by level."""

    def convolution(entering, width, edge):
        return entering * width * edge**config.dimensions + width

    def level(entering, width, count):
        normalised = 0 if config.normalisation == "none" else 2 * width * count
        projected = convolution(entering, width, 1) if config.residual and entering != width else 0
        later = (count - 1) * convolution(width, width, config.kernel)
        return convolution(entering, width, config.kernel) + later + normalised + projected

    widths, upwards = config.channels, config.channels[::-1]
    joined = 2 if config.skip == "concat" else 1
    down = sum(map(level, (1, *widths), widths, config.encoder_convolutions))
    rise = sum(convolution(a, b, config.transposed_kernel) for a, b in pairwise(upwards))
    up = sum(level(joined * b, b, n) for b, n in zip(upwards[1:], config.decoder_convolutions, strict=True))
    return down + rise + up + convolution(widths[0], config.maps, 1)


def outputs_of(network, kind, intensity):
    """Return the output of each layer of a kind, by name."""
    outputs = {}
    for name, layer in network.named_modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(
                lambda _, __, output, name=name: outputs.update({name: output.clone()})
            )
    network(intensity)
    return outputs


def test_preset_paper_has_the_papers_number_of_parameters():
    assert parameters_of(VNetConfig()) == 8_601_409


def test_the_unet_of_ronneberger_has_its_known_number_of_parameters():
    assert parameters_of(unet_config(initial_maps=64, levels=5, dimensions=2)) == 31_030_593


@pytest.mark.parametrize("dimensions", [2, 3])
@every_variant
def test_parameters_are_those_of_the_layers(config, dimensions):
    config = replace(config, dimensions=dimensions)
    assert parameters_of(config) == counted_parameters(config)


@pytest.mark.parametrize("size_zyx", [(8, 8, 8), (4, 12, 16), (5, 9, 10), (1, 4, 3)])
@every_variant
def test_logits_have_the_size_of_the_input(config, size_zyx):
    torch.manual_seed(0)
    logits = VNet(config)(torch.rand(2, 1, *size_zyx))
    assert logits.shape == (2, config.maps, *size_zyx)


@pytest.mark.parametrize(("dimensions", "padded_zyx"), [(3, (8, 8, 8)), (2, (6, 8, 8))])
def test_a_size_that_cannot_be_halved_is_padded_with_air_at_the_far_end(dimensions, padded_zyx):
    torch.manual_seed(0)
    network = VNet(replace(SMALL, dimensions=dimensions)).eval()
    intensity = torch.rand(1, 1, 6, 8, 7)
    padded = torch.zeros(1, 1, *padded_zyx)
    padded[:, :, :6, :, :7] = intensity
    torch.testing.assert_close(network(intensity), network(padded)[:, :, :6, :, :7])


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("edge", [2, 3, 4, 5])
def test_transposed_convolutions_double_the_size(edge, dimensions):
    network = VNet(replace(TWO_LEVELS, transposed_kernel=edge, dimensions=dimensions))
    size = (2, 3, 5)[:dimensions]
    assert network.rise[0](torch.rand(1, 16, *size)).shape[2:] == tuple(2 * n for n in size)


@every_variant
def test_every_weight_gets_a_gradient(config):
    torch.manual_seed(0)
    network, intensity = VNet(config), torch.rand(2, 1, 8, 8, 8)
    initialise_on(network, intensity)
    network(intensity).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # only the bias before a normalisation has no gradient
        assert parameter.ndim == 1 or parameter.grad.abs().max() > 1e-7, name


@pytest.mark.parametrize("size", [(4, 6, 8), (6, 8)])
def test_both_ways_to_halve_agree_in_value_and_gradient(size):
    torch.manual_seed(0)
    a = torch.rand(2, 3, *size, requires_grad=True)
    b = a.detach().clone().requires_grad_()
    upstream = torch.rand(2, 3, *(edge // 2 for edge in size))
    pooled = halve(a)
    pooled.backward(upstream)
    halve_by_amax(b).backward(upstream)
    assert pooled.shape == upstream.shape
    assert torch.equal(pooled, halve_by_amax(b))
    assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_he_initialisation_keeps_the_second_moment_of_a_transposed_convolution(dimensions):
    torch.manual_seed(0)
    rise = VNet(replace(TWO_LEVELS, channels=(64, 64), dimensions=dimensions)).rise[0]
    entering = torch.randn(1, 64, *[8 if dimensions == 3 else 32] * dimensions).relu()
    leaving = rise(entering)[:, :, 2:-2, 2:-2]
    # a normal variable after a ReLU has E[x^2] = 1/2; He's variance 2/fan_in makes it 1 before the next ReLU
    assert leaving.square().mean().item() == pytest.approx(1.0, abs=0.1)


@every_variant
def test_initialisation_on_data_makes_every_layer_standard_there(config):
    torch.manual_seed(0)
    network, intensity = VNet(config), 0.3 + 0.1 * torch.randn(2, 1, 8, 8, 8)
    initialise_on(network, intensity)
    assert network.training
    outputs = outputs_of(network.eval(), CONVOLUTIONS, intensity)
    named = [name for name, _ in network.named_parameters()]
    assert len(outputs) == sum(config.encoder_convolutions + config.decoder_convolutions) + 3 + sum(
        name.endswith("shortcut.weight") for name in named
    )
    for name, output in outputs.items():
        over = [axis for axis in range(output.ndim) if axis != 1]
        target = torch.zeros(output.shape[1])
        if name == "head":
            target[-config.classes :] = START_LOGIT
        torch.testing.assert_close(output.mean(over), target, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.std(over), torch.ones_like(target), atol=1e-3, rtol=0)


def test_a_residual_level_without_weights_is_its_shortcut():
    torch.manual_seed(0)
    network = VNet(replace(TWO_LEVELS, residual=True, skip="add"))
    same, wider = network.decoder[0], network.encoder[1]
    for level in (same, wider):
        for parameter in level.body.parameters():
            nn.init.zeros_(parameter)
    features = torch.randn(1, 8, 4, 4, 4)
    assert torch.equal(same(features), features.relu())
    projection = wider.shortcut
    by_matrix = torch.einsum("oi,nizyx->nozyx", projection.weight[:, :, 0, 0, 0], features)
    expected = (by_matrix + projection.bias.view(-1, 1, 1, 1)).relu()
    torch.testing.assert_close(wider(features), expected)


@pytest.mark.parametrize(("dilation", "count"), [(1, 1), (2, 1), (3, 1), (2, 2)])
def test_the_bottleneck_sees_as_far_as_its_dilation(dilation, count):
    config = replace(
        TWO_LEVELS, channels=(1, 1), encoder_convolutions=(1, count), bottleneck_dilation=dilation
    )
    bottleneck = VNet(config).encoder[1]
    for name, parameter in bottleneck.named_parameters():
        nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
    impulse = torch.zeros(1, 1, 15, 15, 15)
    impulse[..., 7, 7, 7] = 1
    response = bottleneck(impulse)[0, 0].detach().numpy()
    row = np.zeros(15)
    row[7] = 1
    taps = np.zeros(2 * dilation + 1)
    taps[::dilation] = 1
    for _ in range(count):
        row = np.convolve(row, taps, mode="same")
    expected = row[:, None, None] * row[:, None] * row
    np.testing.assert_array_equal(response, expected)


@pytest.mark.parametrize("name", ["2-D", "2-D residual"])
def test_a_network_of_two_dimensions_sees_each_slice_alone(name):
    torch.manual_seed(0)
    network, intensity = VNet(VARIANTS[name]).eval(), torch.rand(2, 1, 5, 8, 8)
    logits = network(intensity)
    for z in range(5):
        torch.testing.assert_close(network(intensity[:, :, z : z + 1]), logits[:, :, z : z + 1])


def test_a_network_of_three_dimensions_sees_its_neighbours():
    torch.manual_seed(0)
    network, intensity = VNet(SMALL).eval(), torch.rand(1, 1, 5, 8, 8)
    initialise_on(network, intensity)
    changed = intensity.clone()
    changed[:, :, 2] += 1
    assert (network(changed) - network(intensity))[:, :, 1].abs().max() > 1e-3


def test_group_normalisation_takes_strength_and_level_out_of_the_input():
    torch.manual_seed(0)
    network, features = (
        VNet(replace(TWO_LEVELS, normalisation="group")).eval(),
        torch.randn(1, 16, 4, 4, 4),
    )
    level = network.encoder[1]
    entering = torch.rand(1, 8, 4, 4, 4)
    # the convolution is linear without its bias, so that twice the input changes nothing after the normalisation
    torch.testing.assert_close(level(entering), level(2 * entering), atol=1e-3, rtol=0)
    group_means = level[1](features).reshape(8, -1).mean(1)
    torch.testing.assert_close(group_means, torch.zeros(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_instance_normalisation_is_torchs_and_takes_out_each_maps_own_scale(dimensions):
    torch.manual_seed(0)
    norm = VNet(replace(TWO_LEVELS, normalisation="instance", dimensions=dimensions)).encoder[1][1]
    features = torch.randn(2, 16, *[6] * dimensions)
    torch.testing.assert_close(norm(features), functional.instance_norm(features))
    scale, level = (torch.rand(2, 16, *[1] * dimensions) + 1 for _ in range(2))
    torch.testing.assert_close(norm(scale * features + level), norm(features), atol=1e-4, rtol=0)


def test_batch_normalisation_is_standard_over_the_batch_in_training():
    torch.manual_seed(0)
    norm = VNet(replace(TWO_LEVELS, normalisation="batch")).encoder[1][1].train()
    normalised = norm(3 + 2 * torch.randn(2, 16, 4, 4, 4))
    torch.testing.assert_close(normalised.mean((0, 2, 3, 4)), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std((0, 2, 3, 4), correction=0), torch.ones(16), atol=1e-4, rtol=0)


def test_parameters_of_the_normalisation_are_not_penalised():
    for normalisation in ("batch", "instance", "group"):
        decaying, free = parameter_groups(VNet(replace(TWO_LEVELS, normalisation=normalisation)), 1e-5)
        assert (decaying["weight_decay"], free["weight_decay"]) == (2e-5, 0.0)
        assert len(decaying["params"]) == 5  # three convolutions, one transposed, the head
        assert len(free["params"]) == 5 + 2 * 3  # their biases, and scale and shift after three convolutions


@pytest.mark.parametrize("slices", [2, 6, 7])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (5, 1), (3, 2)])
def test_a_window_alone_enters_as_in_a_plain_convolution(kernel, dilation, slices):
    torch.manual_seed(0)
    config = replace(
        TWO_LEVELS, channels=(1, 4), kernel=kernel, bottleneck_dilation=dilation
    )  # a level of one map in: the bottleneck enters too, dilated
    convolution = VNet(config).encoder[1][0].to(memory_format=torch.channels_last_3d)
    nn.init.normal_(convolution.bias)
    weight = convolution.weight.detach().clone().requires_grad_()
    intensity = torch.rand(1, 1, slices, 5, 6, requires_grad=True)
    same = intensity.detach().clone().requires_grad_()
    features = convolution(intensity)
    padding = dilation * (kernel // 2)
    expected = functional.conv3d(same, weight, convolution.bias, padding=padding, dilation=dilation)
    upstream = torch.randn_like(expected)
    features.backward(upstream)
    expected.backward(upstream)
    assert features.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(convolution.weight.grad, weight.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(intensity.grad, same.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("dimensions", "last"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
@pytest.mark.parametrize("normalisation", ["none", "batch", "instance", "group"])
@pytest.mark.parametrize("residual", [False, True])
def test_layout_and_precision_hold_from_end_to_end(residual, normalisation, dimensions, last, bf16):
    torch.manual_seed(0)
    config = replace(TWO_LEVELS, normalisation=normalisation, residual=residual, dimensions=dimensions)
    network = VNet(config).to(memory_format=last)
    layers = (
        nn.GroupNorm | nn.BatchNorm2d | nn.BatchNorm3d | nn.ReLU | nn.ConvTranspose2d | nn.ConvTranspose3d
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs = outputs_of(network, layers, torch.rand(2, 1, 4, 8, 8))
        outputs["pooled"] = halve(next(iter(outputs.values())))
    assert len(outputs) == (5 if normalisation == "none" else 8)
    for name, output in outputs.items():
        assert output.is_contiguous(memory_format=last), name
        assert output.dtype == (torch.bfloat16 if bf16 else torch.float32), name


def test_a_plain_network_stays_plain():
    outputs = outputs_of(VNet(TWO_LEVELS), CONVOLUTIONS, torch.rand(1, 1, 4, 8, 8))
    assert all(output.is_contiguous() for output in outputs.values())


def test_the_preset_predicts_a_small_window():
    torch.manual_seed(0)
    with torch.inference_mode():
        logits = VNet(VNetConfig()).eval()(torch.rand(1, 1, 8, 24, 24))
    assert logits.shape == (1, 1, 8, 24, 24) and torch.isfinite(logits).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_dropout_acts_in_training_only(dimensions):
    torch.manual_seed(0)
    network = VNet(replace(TWO_LEVELS, dropout=0.5, dimensions=dimensions))
    intensity = torch.rand(1, 1, 4, 4, 4)
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
        ({"transposed_kernel": 1}, "transposed_kernel"),
        ({"skip": "multiply"}, "skip"),
        ({"residual": 1}, "residual"),
        ({"normalisation": "layer"}, "normalisation"),
        ({"activation": "gelu"}, "activation"),
        ({"bottleneck_dilation": 0}, "bottleneck_dilation"),
        ({"dropout": 1.0}, "dropout"),
        ({"classes": 0}, "classes"),
        ({"dimensions": 4}, "dimensions"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused_by_name(changes, key):
    with pytest.raises(ConfigError, match=key):
        VNetConfig(**changes)


@every_variant
def test_a_network_is_read_from_all_its_fields(config):
    entry = asdict(config)
    structures = entry.pop("classes")
    assert read_network(entry, structures) == config


def test_a_network_is_read_from_the_short_form():
    network = read_network(
        {"unet": {"initial_maps": 16, "levels": 3, "dimensions": 2, "bottleneck_dilation": 2}}, 3
    )
    assert network == VNetConfig(
        channels=(16, 32, 64),
        encoder_convolutions=(2, 2, 2),
        decoder_convolutions=(2, 2),
        transposed_kernel=2,
        bottleneck_dilation=2,
        dropout=0.0,
        classes=3,
        dimensions=2,
    )


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"depth": 4}, "networks: unknown key depth; known keys: channels"),
        ({"classes": 1}, "networks: unknown key classes; known keys: channels"),
        ({"unet": {"initial_maps": 8, "levels": 3, "kernel": 3}}, "networks: unet: unknown key kernel"),
        ({"unet": {"levels": 3}}, "networks: unet: initial_maps is missing"),
        ({"unet": {"initial_maps": 8, "levels": 1}}, "networks: unet.levels: 1 is not allowed"),
        ({"unet": {"initial_maps": 0, "levels": 3}}, "networks: unet.initial_maps: 0 is not allowed"),
        ({"unet": 3}, "networks: unet: 3 is not allowed"),
        ({"unet": {"initial_maps": 8, "levels": 3}, "dropout": 0.1, "skip": "add"}, "with dropout, skip;"),
    ],
)
def test_an_entry_in_neither_form_is_refused_by_its_keys(entry, words):
    with pytest.raises(ConfigError) as caught:
        read_network(entry, 1)
    assert words in str(caught.value)
