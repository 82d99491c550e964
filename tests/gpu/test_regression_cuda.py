"""A regression on a CUDA device: reproducible bits, agreement with the CPU. On a CPU the same tests run there."""

import numpy as np
import pytest
import torch

from lib.learning.compute import choose_compute
from lib.learning.densenet import CropDenseNet
from lib.learning.determinism import prepare_torch
from lib.learning.train_regression import train_regression
from lib.regression_settings import DenseNetConfig
from tests.unit.regression_crops import crops, settings
from tests.unit.test_train import same_weights

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def reproducible():
    prepare_torch(reproducible=True, threads=2)
    yield
    prepare_torch(reproducible=False, threads=2)


@pytest.mark.parametrize("dimensions", [3, 2])
def test_two_trainings_give_the_same_bits(tmp_path, dimensions):
    how = settings(architecture={"dimensions": dimensions}, device="auto", epochs=5)
    first, again = (
        train_regression(crops(0, 16), crops(100, 8), how, tmp_path / name) for name in ("a.pt", "b.pt")
    )
    assert same_weights(first.last, again.last) and same_weights(first.best, again.best)
    assert first.facts["reproducible"] and first.facts["precision"] == "float32"


def test_the_full_network_has_reproducible_gradients_and_the_output_of_the_cpu():
    torch.manual_seed(0)
    network = CropDenseNet(DenseNetConfig(), 2)
    torch.nn.init.normal_(network.class_layers.out.weight, std=0.1)
    given = torch.rand(2, 2, 48, 48, 48)
    with torch.no_grad():
        expected = network.eval()(given)
    compute = choose_compute("auto", "float32", "plain")
    network, given = compute.place(network), given.to(compute.device)
    with torch.no_grad():
        found = network(given).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    seen = set()
    for _ in range(3):
        network.train().zero_grad()
        network(given).square().sum().backward()
        seen.add(b"".join(weight.grad.cpu().numpy().tobytes() for weight in network.parameters()))
    assert len(seen) == 1 and np.isfinite(expected.numpy()).all()
