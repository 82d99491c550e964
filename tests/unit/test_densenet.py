"""The DenseNet is MONAI's, with pools that are reproducible."""

import pytest
import torch
from monai.networks.nets import DenseNet121
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.learning.densenet import CropDenseNet, PairMean, SpatialMean, WindowMaximum, gmac_per_crop_voxel
from lib.regression_settings import DenseNetConfig

SMALL = DenseNetConfig(growth=4, initial_maps=8, blocks=(2, 1), bottleneck=2)


def network(config=SMALL, channels=1):
    torch.manual_seed(0)
    made = CropDenseNet(config, channels)
    nn.init.normal_(made.class_layers.out.weight)  # it starts at 0
    return made


@pytest.mark.parametrize(
    ("dimensions", "channels", "parameters"), [(3, 1, 11_243_649), (3, 2, 11_265_601), (2, 1, 6_948_609)]
)
def test_the_default_is_densenet_121_of_monai(dimensions, channels, parameters):
    ours = network(DenseNetConfig(dimensions=dimensions), channels).double()
    theirs = DenseNet121(spatial_dims=dimensions, in_channels=channels, out_channels=1).double()
    assert sum(weight.numel() for weight in ours.parameters()) == parameters
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    crops = torch.randn(2, channels, *((33, 32, 35) if dimensions == 3 else (1, 33, 40)), dtype=torch.float64)
    given = crops if dimensions == 3 else crops[:, :, 0]
    with torch.no_grad():
        expected = theirs.eval()(given)[:, 0]
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours.eval()(crops), expected, rtol=1e-10, atol=1e-10)


def test_gradients_are_those_of_monai():
    ours, theirs = network().double(), CropDenseNet(SMALL, 1).double()
    theirs.features.pool0, theirs.class_layers.pool = nn.MaxPool3d(3, 2, 1), nn.AdaptiveAvgPool3d(1)
    theirs.features.transition1.pool = nn.AvgPool3d(2, 2)
    theirs.load_state_dict(ours.state_dict())
    crops = torch.randn(3, 1, 17, 18, 19, dtype=torch.float64)
    for each in (ours, theirs):
        each(crops).square().sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [(5, 6, 7), (2, 3, 4), (8, 8, 8), (5, 4)])
def test_pools_have_the_values_of_torch(size):
    features = torch.randn(2, 3, *size)
    of_torch = nn.MaxPool3d(3, 2, 1) if len(size) == 3 else nn.MaxPool2d(3, 2, 1)
    assert torch.equal(WindowMaximum()(features), of_torch(features))
    of_torch = nn.AvgPool3d(2, 2) if len(size) == 3 else nn.AvgPool2d(2, 2)
    torch.testing.assert_close(PairMean()(features), of_torch(features))
    assert SpatialMean()(features).shape == (2, 3) + (1,) * len(size)
    torch.testing.assert_close(SpatialMean()(features).flatten(), features.flatten(2).mean(2).flatten())


def test_a_2d_network_averages_over_slices():
    flat = network(DenseNetConfig(growth=4, initial_maps=8, blocks=(2, 1), bottleneck=2, dimensions=2)).eval()
    crop = torch.randn(1, 1, 3, 16, 16)
    one_by_one = [flat(crop[:, :, z : z + 1]) for z in range(3)]
    torch.testing.assert_close(flat(crop), sum(one_by_one) / 3)


def test_a_new_network_estimates_the_mean_of_all_whatever_it_sees():
    new = CropDenseNet(SMALL, 2)
    assert torch.equal(new(torch.randn(3, 2, 16, 16, 16)), torch.zeros(3))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_operations_are_those_that_torch_counts(dimensions):
    made = network(DenseNetConfig(growth=4, initial_maps=8, blocks=(2, 1), dimensions=dimensions), 2)
    size, state = (16, 18, 20), {name: value.clone() for name, value in made.state_dict().items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        made.eval()(torch.zeros(1, 2, *size))
    made.train()
    counted = gmac_per_crop_voxel(made, size) * 2e9 * 16 * 18 * 20
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-9)
    assert made.training and all(torch.equal(value, state[name]) for name, value in made.state_dict().items())
