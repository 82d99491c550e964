"""Winograd's convolution against the definition, in value and in every gradient."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.learning import winograd
from lib.learning.winograd import FILTER, INPUT, OUTPUT, TILE, WinogradConvolution

LAST = torch.channels_last_3d


def draw(shape, requires_grad=True):
    return torch.randn(shape).contiguous(memory_format=LAST).requires_grad_(requires_grad)


def test_the_matrices_make_four_outputs_of_a_filter_of_three():
    slices, kernel = np.random.default_rng(0).normal(size=6), np.array([0.3, -1.2, 0.7])
    products = (FILTER.double().numpy() @ kernel) * (INPUT.double().numpy() @ slices)
    expected = np.correlate(slices, kernel, "valid")  # written out: y[i] = sum over k of d[i + k] w[k]
    np.testing.assert_allclose(OUTPUT.double().numpy() @ products, expected, atol=1e-6)


@pytest.mark.parametrize("chunk_bytes", [1, 1e9])  # tile by tile, all tiles of a sample together
@pytest.mark.parametrize("slices", [1, 2, 4, 5, 6, 7, 8, 13])
def test_values_and_gradients_are_those_of_the_definition(monkeypatch, slices, chunk_bytes):
    monkeypatch.setattr(winograd, "CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(slices)
    inputs = draw((2, 3, slices, 5, 6)), draw((4, 3, 3, 3, 3)), torch.randn(4, requires_grad=True)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    features, expected = WinogradConvolution.apply(*inputs), functional.conv3d(*exact, padding=1)
    upstream = torch.randn(expected.shape)  # in the plain layout, in which a later layer may return it
    assert features.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(features.double(), expected, atol=1e-4, rtol=1e-5)
    found = torch.autograd.grad(features, inputs, upstream)
    wanted = torch.autograd.grad(expected, exact, upstream.double())
    for gradient, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient.double(), right, atol=2e-4, rtol=1e-5)


def test_gradients_of_the_parameters_do_not_need_that_of_the_input():
    torch.manual_seed(0)
    x, weight, bias = draw((1, 3, 6, 4, 4), False), draw((2, 3, 3, 3, 3)), torch.zeros(2, requires_grad=True)
    upstream = torch.randn(1, 2, 6, 4, 4)
    found = torch.autograd.grad(WinogradConvolution.apply(x, weight, bias), (weight, bias), upstream)
    wanted = torch.autograd.grad(functional.conv3d(x, weight, bias, padding=1), (weight, bias), upstream)
    for gradient, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, right, atol=1e-4, rtol=1e-5)


def test_rounding_errors_stay_near_those_of_the_definition():
    torch.manual_seed(0)
    x, weight, bias = draw((1, 64, 8, 12, 12), False), draw((32, 64, 3, 3, 3), False) / 42, torch.zeros(32)
    exact = functional.conv3d(x.double(), weight.double(), padding=1)
    errors = [
        (features.double() - exact).square().mean().sqrt()
        for features in (
            WinogradConvolution.apply(x, weight, bias),
            functional.conv3d(x, weight, bias, padding=1),
        )
    ]
    assert errors[0] < 8 * errors[1] < 1e-5 * exact.std()


def test_a_sample_does_not_depend_on_the_others_of_its_batch():
    torch.manual_seed(0)
    x, weight, bias = draw((3, 4, 2 * TILE, 5, 5), False), draw((4, 4, 3, 3, 3), False), torch.randn(4)
    together = WinogradConvolution.apply(x, weight, bias)
    for index in range(3):
        assert torch.equal(WinogradConvolution.apply(x[index : index + 1], weight, bias)[0], together[index])
