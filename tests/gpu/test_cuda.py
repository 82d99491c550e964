"""What only a CUDA device can show: the same bits twice, agreement with the CPU, memory at full size."""

import numpy as np
import pytest
import torch

from lib.learning.determinism import choose_compute, prepare_torch
from lib.learning.intensity import IntensityConfig
from lib.learning.predict import Ensemble, PredictConfig, predict_scan
from lib.learning.train import FoldSettings, TrainingScan, train_fold
from lib.learning.vnet import VNet, VNetConfig, halve, halve_by_amax

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

SMALL = {"channels": (8, 16, 32), "encoder_convolutions": (1, 2, 2), "decoder_convolutions": (2, 2)}


@pytest.fixture(autouse=True)
def reproducible():
    prepare_torch(reproducible=True, threads=2)
    yield
    prepare_torch(reproducible=False, threads=2)


def ball(scan, slices, inplane=48):
    z, y, x = np.meshgrid(np.arange(slices), np.arange(inplane), np.arange(inplane), indexing="ij")
    mask = (z - slices / 2) ** 2 + (y - 20) ** 2 + (x - 26) ** 2 < (slices / 3) ** 2
    noise = np.random.default_rng(slices).normal(0, 30, mask.shape)
    return TrainingScan(
        scan, (50 + 950 * mask + noise).astype(np.int16), mask.astype(np.uint8), (3.0, 1.0, 1.0)
    )


SCANS = [ball("p1", 40), ball("p2", 28), ball("p3", 50)]


def settings(network=SMALL, **train):
    train = {
        "epochs": 3,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "validate_every": 3,
        "device": "cuda",
    } | train
    return FoldSettings(network=network, train=train, intensity={}, predict={}, name="gpu", seed=1)


def same_weights(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_twice_gives_the_same_bits_from_device_and_from_host_memory(tmp_path, precision):
    first, again, streamed = (
        train_fold(
            SCANS, SCANS[:1], settings(precision=precision, device_cache_gb=gb), tmp_path / f"{name}.pt"
        )
        for name, gb in (("first", 24), ("again", 24), ("streamed", 0))
    )
    assert same_weights(first.last, again.last)
    assert same_weights(first.last, streamed.last)


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path):
    class Killed(BaseException):
        pass

    def watch(epoch, update):
        if (epoch, update) == (2, 1):
            raise Killed

    often = settings(checkpoint_minutes=0)
    with pytest.raises(Killed):
        train_fold(SCANS, [], often, tmp_path / "state.pt", watch)
    resumed = train_fold(SCANS, [], often, tmp_path / "state.pt")
    assert resumed.facts["resumed"]
    assert same_weights(resumed.last, train_fold(SCANS, [], often, tmp_path / "whole.pt").last)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bf16", 0.05)])
def test_prediction_agrees_with_the_cpu(precision, tolerance):
    torch.manual_seed(0)
    network = VNet(VNetConfig(**SMALL))
    found = []
    for device, kind in (("cpu", "float32"), ("cuda", precision)):
        compute = choose_compute(device, kind)
        copy = VNet(network.config)
        copy.load_state_dict(network.state_dict())
        ensemble = Ensemble(
            networks=(copy.to(compute.device, memory_format=compute.memory_format).eval(),),
            intensity=IntensityConfig(),
            window_slices=32,
            preprocessing={},
            compute=compute,
        )
        found.append(predict_scan(ensemble, SCANS[0].image_zyx, PredictConfig(step=4)))
    np.testing.assert_allclose(found[1], found[0], atol=tolerance)


def test_the_deterministic_pool_is_taken_where_gradients_flow():
    torch.manual_seed(0)
    on_cpu = torch.rand(2, 4, 8, 8, 8, requires_grad=True)
    on_cuda = on_cpu.detach().cuda().requires_grad_()
    upstream = torch.rand(2, 4, 4, 4, 4)
    halve_by_amax(on_cpu).backward(upstream)
    halve(on_cuda).backward(upstream.cuda())  # max_pool3d would raise here, in reproducible mode
    assert torch.equal(on_cuda.grad.cpu(), on_cpu.grad)


def test_the_papers_network_trains_at_full_size_within_8_gb(tmp_path):
    torch.cuda.reset_peak_memory_stats()
    scan = ball("p1", 60, inplane=192)
    train_fold([scan], [], settings(network={}, epochs=1, batch_size=1), tmp_path / "state.pt")
    assert torch.cuda.max_memory_allocated() < 8e9
