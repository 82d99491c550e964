"""Layers that replace torch's: equal values and gradients, the right layout, and when each implementation is used."""

import pytest
import torch
from torch.nn import functional

from lib.learning import layers
from lib.learning.layers import FEW_MAPS, Convolution, InstanceNorm, TransposedConvolution

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def draw(*shape):
    return torch.randn(shape).contiguous(memory_format=LAST[len(shape)]).requires_grad_()


def convolution(entering, maps, **options):
    options = {"kernel_size": 3, "padding": 1} | options
    return Convolution(entering, maps, **options).to(memory_format=torch.channels_last_3d)


def gradients_of(output, tensors):
    torch.manual_seed(1)
    return torch.autograd.grad(output, tensors, torch.randn(output.shape, dtype=output.dtype))


def way(features):
    """Return the name of the operation that computed feature maps."""
    return features.grad_fn.name()


def assert_all_close(found, wanted, tolerance):
    for one, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, right, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("slices", [2, 6])
@pytest.mark.parametrize("dilation", [1, 2])
def test_one_window_gets_the_sums_of_a_plain_convolution_from_onednn(slices, dilation):
    torch.manual_seed(0)
    layer, x = convolution(5, 7, dilation=dilation, padding=dilation), draw(1, 5, slices, 6, 4)
    features = layer(x)
    assert "LoneConvolution" in way(features) and features.is_contiguous(memory_format=LAST[5])
    plain = functional.conv3d(x, layer.weight, layer.bias, padding=dilation, dilation=dilation)
    inputs = (x, layer.weight, layer.bias)
    assert_all_close([features], [plain], 1e-5)
    assert_all_close(gradients_of(features, inputs), gradients_of(plain, inputs), 1e-4)


@pytest.mark.parametrize("slices", [2, 6, 8])
@pytest.mark.parametrize("edge", [2, 3])
def test_one_window_rises_as_by_a_plain_transposed_convolution(edge, slices):
    torch.manual_seed(0)
    options = {"stride": 2, "padding": (edge - 1) // 2, "output_padding": edge % 2}
    layer = TransposedConvolution(5, 7, edge, **options).to(memory_format=torch.channels_last_3d)
    x = draw(1, 5, slices, 6, 4)
    features, plain = layer(x), functional.conv_transpose3d(x, layer.weight, layer.bias, **options)
    assert features.is_contiguous(memory_format=LAST[5]) and way(features) != way(plain)
    inputs = (x, layer.weight, layer.bias)
    assert_all_close([features], [plain], 1e-5)
    assert_all_close(gradients_of(features, inputs), gradients_of(plain, inputs), 1e-4)


def test_the_entry_can_be_changed_in_place_without_a_copy():
    features = convolution(1, 4)(torch.rand(1, 1, 4, 5, 5))
    assert not features._is_view()  # autograd would copy it, in the plain layout, and every gradient after it
    torch.relu_(features)


def test_large_layers_take_winograds_way_and_small_ones_torchs(monkeypatch):
    layer, x = convolution(FEW_MAPS, FEW_MAPS), draw(2, FEW_MAPS, 4, 6, 6)
    torchs = layer(x)
    assert "Winograd" not in way(torchs)
    monkeypatch.setattr(layers, "LEAST_WINOGRAD", x[0].numel() * FEW_MAPS * 27)
    features = layer(x)
    assert "Winograd" in way(features)
    assert_all_close([features], [torchs], 1e-4)
    monkeypatch.setattr(layers, "LEAST_WINOGRAD", x[0].numel() * FEW_MAPS * 27 + 1)
    assert "Winograd" not in way(layer(x))


@pytest.mark.parametrize(
    "options",
    [{"kernel_size": 5, "padding": 2}, {"kernel_size": 1, "padding": 0}, {"dilation": 2, "padding": 2}],
)
def test_other_kernels_and_precisions_keep_torchs_way(monkeypatch, options):
    monkeypatch.setattr(layers, "LEAST_WINOGRAD", 0)
    x = draw(2, FEW_MAPS, 4, 6, 6)
    assert "Winograd" not in way(convolution(FEW_MAPS, FEW_MAPS, **options)(x))
    assert "Winograd" not in way(convolution(FEW_MAPS - 1, FEW_MAPS)(x[:, 1:]))
    assert "Winograd" not in way(Convolution(FEW_MAPS, FEW_MAPS, 3, padding=1)(x))  # the plain layout
    with torch.autocast("cpu", torch.bfloat16):
        assert "Winograd" not in way(convolution(FEW_MAPS, FEW_MAPS)(x))


@pytest.mark.parametrize("shape", [(2, 3, 4, 6, 5), (1, 8, 4, 4, 4), (3, 15, 7, 5), (2, 1, 3, 3, 3)])
def test_a_few_maps_are_normalised_as_torch_does(shape):
    torch.manual_seed(0)
    norm, x = InstanceNorm(shape[1]), draw(*shape)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    normalised = norm(5 + 3 * x)
    assert way(normalised) == "_FewMapsNormBackward" and normalised.is_contiguous(memory_format=LAST[x.ndim])
    inputs = (x, norm.weight, norm.bias)
    expected = functional.group_norm(5 + 3 * x, shape[1], norm.weight, norm.bias, norm.eps)
    assert_all_close([normalised], [expected], 1e-5)
    assert_all_close(gradients_of(normalised, inputs), gradients_of(expected, inputs), 1e-4)


def test_a_single_voxel_becomes_the_shift():
    norm = InstanceNorm(4)
    torch.nn.init.normal_(norm.bias)
    assert torch.equal(norm(draw(2, 4, 1, 1, 1))[0, :, 0, 0, 0], norm.bias)


def test_a_few_maps_in_bf16_lose_no_more_than_bf16_does():
    torch.manual_seed(0)
    norm, x = InstanceNorm(4), draw(2, 4, 6, 8, 8)
    exact, rounded = norm(x), norm(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.03, rtol=0.01)
    of_exact, of_rounded = (gradients_of(output, [x])[0] for output in (exact, rounded))
    torch.testing.assert_close(of_rounded, of_exact, atol=0.05, rtol=0.02)


def test_many_maps_keep_torchs_way():
    normalised = InstanceNorm(FEW_MAPS)(draw(2, FEW_MAPS, 2, 4, 4))
    assert way(normalised) != "_FewMapsNormBackward"


def fill_free_memory(value):
    """Leave a value in memory that the next tensors may get."""
    for length in (64, 256, 1024, 4096, 16384, 65536):
        torch.full((length,), value)


@pytest.mark.parametrize("size", [(2, 6, 6), (2, 2, 2), (3, 6, 6), (6, 1, 6), (8, 6, 6)])
@pytest.mark.parametrize("edge", [3, 5])
@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_gradients_in_bf16_do_not_depend_on_what_was_in_memory(kind, edge, size):
    torch.manual_seed(0)
    options = {"kernel_size": edge, "padding": edge // 2}
    if kind is TransposedConvolution:
        options |= {"stride": 2, "output_padding": 1}
    layer = kind(4, 8, **options).to(memory_format=torch.channels_last_3d)
    x, found = draw(1, 4, *size), []
    for value in (float("nan"), 1e30):
        fill_free_memory(value)
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x)
        assert output.dtype == torch.bfloat16
        fill_free_memory(value)
        found.append(gradients_of(output, (x, layer.weight, layer.bias)))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    wanted = gradients_of(layer(x).to(torch.bfloat16), (x, layer.weight, layer.bias))
    for one, right in zip(found[0], wanted, strict=True):
        torch.testing.assert_close(one, right, atol=0.05 * float(right.abs().max()), rtol=0.05)
