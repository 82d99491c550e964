"""Tests for a CUDA device: reproducible bits, agreement with the CPU, memory at full size.

They take about a minute on one device in one process (`bench/gpu.py` gives them 90 seconds). Where torch finds no
device, those that can run on the CPU do so, so that they are in order when a device is at hand.
"""

import numpy as np
import pytest
import torch

from lib.errors import TrainingError
from lib.intensity_scale import IntensityConfig, fixed_range
from lib.learning.architecture import VNetConfig
from lib.learning.augment import Transform, apply_transforms
from lib.learning.compute import choose_compute
from lib.learning.cuda import why_no_gpu
from lib.learning.determinism import prepare_torch
from lib.learning.devices import own_device, visible_gpus
from lib.learning.losses import segmentation_loss
from lib.learning.memory import memory_explained
from lib.learning.predict import Ensemble, predict_scan
from lib.learning.predict_settings import PredictConfig
from lib.learning.recipe import FoldSettings
from lib.learning.scan_store import ScanStore, StoredScan, TrainingScan
from lib.learning.train import train_fold
from lib.learning.train_settings import LOSSES
from lib.learning.vnet import VNet, halve, halve_by_amax

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
needs_cuda = pytest.mark.skipif(DEVICE.type == "cpu", reason="torch finds no CUDA device")

CT = fixed_range(IntensityConfig())
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
        scan, (50 + 950 * mask + noise).astype(np.int16), mask.astype(np.uint8), (3.0, 1.0, 1.0), CT
    )


SCANS = [ball("p1", 40), ball("p2", 28), ball("p3", 50)]


def settings(network=SMALL, **train):
    train = {
        "epochs": 3,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "validate_every": 3,
        "device": DEVICE.type,
    } | train
    return FoldSettings(
        architecture=network,
        train=train,
        intensity={},
        predict={},
        structures=("bone",),
        name="gpu",
        seed=1,
    )


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


def test_a_killed_training_continues_to_the_same_bits(tmp_path):
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
    for device, kind in (("cpu", "float32"), (DEVICE.type, precision)):
        compute = choose_compute(device, kind)
        copy = VNet(network.config)
        copy.load_state_dict(network.state_dict())
        ensemble = Ensemble(
            networks=(compute.place(copy).eval(),),
            structures=("bone",),
            intensity=IntensityConfig(),
            window_slices=32,
            slice_axis="z",
            preprocessing={},
            compute=compute,
        )
        found.append(predict_scan(ensemble, SCANS[0].image_zyx, CT, PredictConfig(step=4)).probability_zyx)
    np.testing.assert_allclose(found[1], found[0], atol=tolerance)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_deterministic_pool_is_taken_where_gradients_flow(dimensions):
    torch.manual_seed(0)
    on_cpu = torch.rand(2, 4, *[8] * dimensions, requires_grad=True)
    on_cuda = on_cpu.detach().to(DEVICE).requires_grad_()
    upstream = torch.rand(2, 4, *[4] * dimensions)
    halve_by_amax(on_cpu).backward(upstream)
    halve(on_cuda).backward(upstream.to(DEVICE))  # max_pool3d would raise here, in reproducible mode
    assert torch.equal(on_cuda.grad.cpu(), on_cpu.grad)


VARIANTS = {
    "instance": {"normalisation": "instance"},
    "group": {"normalisation": "group"},
    "batch": {"normalisation": "batch"},
    "residual": {"residual": True, "activation": "elu"},
    "added": {"skip": "add", "bottleneck_dilation": 2},
    "2-D": {"dimensions": 2, "transposed_kernel": 2},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_to_the_same_bits_twice(tmp_path, variant):
    run = settings(network=SMALL | VARIANTS[variant], loss="dice_cross_entropy", weight_average=0.9)
    first, again = (train_fold(SCANS, [], run, tmp_path / f"{name}.pt") for name in "ab")
    assert same_weights(first.last, again.last)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("classes", [1, 2])
def test_every_loss_has_deterministic_kernels(kind, classes):
    maps = 1 if classes == 1 else classes + 1
    logits = torch.randn(2, maps, 4, 8, 8, device=DEVICE, requires_grad=True)
    labels = torch.randint(classes + 1, (2, 1, 4, 8, 8), device=DEVICE, dtype=torch.uint8)
    segmentation_loss(logits, labels, kind=kind, bone_weight=2.0).backward()  # must not raise
    assert logits.grad.isfinite().all()


def test_windows_are_the_same_from_device_host_and_file(tmp_path):
    rooms = ((1, 0), (0, 1), (0, 0))
    stores = [
        ScanStore(SCANS, DEVICE, device_gb=device, host_gb=host, spill_folder=tmp_path)
        for device, host in rooms
    ]
    assert [store.placement for store in stores] == ["device", "host", "file"]
    requests = [([i % 3, (i + 1) % 3], [i - 5, 2 * i]) for i in range(20)]
    for first, *others in zip(*(store.stream(requests, 16) for store in stores), strict=True):
        assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@needs_cuda
def test_augmentation_never_waits_for_the_device():
    turned = Transform(rotation_degrees_xyz=(5.0, 6.0, 7.0), brightness=0.1, gamma=1.2, noise_sd=0.02)
    image = torch.zeros(2, 1, 12, 16, 16, dtype=torch.int16, device="cuda")
    mask = torch.zeros_like(image, dtype=torch.uint8)
    scan = StoredScan("p", (12, 16, 16), (3.0, 1.0, 1.0), CT)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for structures in (1, 2):
            apply_transforms(image, mask, [turned, Transform()], [scan] * 2, 8, structures)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@pytest.mark.parametrize("cache_gb", [24, 0])
def test_updates_never_wait_for_the_device(tmp_path, cache_gb):
    def watch(epoch, update):
        torch.cuda.set_sync_debug_mode(
            {1: "error", 5: "default"}.get(update, torch.cuda.get_sync_debug_mode())
        )

    run = settings(epochs=1, batch_size=1, samples_per_scan=2, device_cache_gb=cache_gb)
    try:
        train_fold(SCANS, [], run, tmp_path / "state.pt", watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_a_compiled_network_trains(tmp_path):
    network = SMALL | {"dropout": 0.0}  # compiled code draws other random numbers
    plain, compiled = (
        train_fold(
            # batches of one size, because each shape is compiled separately
            SCANS,
            [],
            settings(network, epochs=1, batch_size=1, compile=compile),
            tmp_path / f"{compile}.pt",
        )
        for compile in (False, True)
    )
    assert compiled.history[0].loss == pytest.approx(plain.history[0].loss, abs=0.02)


@needs_cuda
def test_the_papers_network_trains_at_full_size_within_8_gb(tmp_path):
    torch.cuda.reset_peak_memory_stats()
    scans = [
        ball(f"p{i}", 60, inplane=192) for i in range(4)
    ]  # the number of windows that set the scales of a new network
    train_fold(scans, [], settings(network={}, epochs=1, batch_size=1), tmp_path / "state.pt")
    assert torch.cuda.max_memory_allocated() < 8e9


@needs_cuda
def test_a_job_computes_on_the_gpu_that_it_has_locked():
    with own_device("auto"):
        compute = choose_compute("auto")
        assert compute.device.index == torch.cuda.current_device()
        assert {gpu.uuid for gpu in visible_gpus()} and all(gpu.uuid for gpu in visible_gpus())


@needs_cuda
def test_a_device_that_works_gives_no_reason_and_its_memory_ends_in_words():
    assert why_no_gpu() == ""
    expected = r"out of memory: 1048576\.00 GiB more was asked for; lower batch_size"
    with pytest.raises(TrainingError, match=expected), memory_explained("lower batch_size"):
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
