import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.errors import ConfigError, TrainingError
from lib.learning.architecture import VNetConfig
from lib.learning.determinism import choose_compute, memory_explained, prepare_torch
from lib.learning.vnet import VNet


@pytest.fixture
def torch_settings():
    threads = torch.get_num_threads()
    yield
    prepare_torch(reproducible=False, threads=threads)


def test_reproducible_mode_refuses_kernels_that_differ_from_run_to_run(torch_settings):
    prepare_torch(reproducible=True, threads=1)
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    assert torch.get_num_threads() == 1
    prepare_torch(reproducible=False, threads=2)
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("able", "precision"),
    [
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_f": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_means_bf16_on_a_cpu_that_computes_in_it(monkeypatch, able, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    compute = choose_compute("cpu", "auto")
    assert (compute.device.type, compute.precision, compute.describe()) == ("cpu", precision, "cpu")
    for asked in ("float32", "bf16"):
        assert choose_compute("cpu", asked).precision == asked


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(
    ("layout", "channels_first"), [("auto", False), ("channels_last", False), ("plain", True)]
)
def test_networks_lie_in_the_layout_that_is_asked_for(dimensions, layout, channels_first):
    network = VNet(
        VNetConfig(
            channels=(4, 8), encoder_convolutions=(1, 1), decoder_convolutions=(1,), dimensions=dimensions
        )
    )
    weight = choose_compute("cpu", "float32", layout).place(network).decoder[0][0].weight
    assert weight.is_contiguous() is channels_first
    last = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    assert weight.is_contiguous(memory_format=last) is not channels_first


def test_freed_memory_is_kept_and_used_again():
    # a block that was freed and is asked for again comes without page faults; now and then a small object has
    # taken its first bytes meanwhile, and one block of new pages follows: so many blocks, and a share of them
    def new_pages(preparation: str) -> int:
        program = (
            "import resource, torch\n"
            "from lib.learning.determinism import prepare_torch\n"
            f"{preparation}\n"
            "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "torch.ones(2**24); before = faults()\n"
            "for _ in range(60): torch.ones(2**24)\n"
            "print(faults() - before)\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return int(run.stdout)

    kept = new_pages("prepare_torch(reproducible=False, threads=1)")
    assert kept < new_pages("torch.set_num_threads(1)") / 4


def test_bf16_holds_inside_the_context_only():
    compute, a = choose_compute("cpu", "bf16"), torch.rand(2, 2)
    with compute.autocast():
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(ConfigError, match="no CUDA device"):
        choose_compute("cuda")


@pytest.mark.parametrize(
    ("asked", "key"),
    [(("gpu",), "device"), (("cpu", "half"), "precision"), (("cpu", "auto", "last"), "memory_layout")],
)
def test_unknown_names_are_refused(asked, key):
    with pytest.raises(ConfigError, match=rf"train\.{key}"):
        choose_compute(*asked)


def test_an_impossible_allocation_says_what_was_asked_and_what_helps():
    expected = r"4294967296\.00 GiB more .* lower batch_size"
    with pytest.raises(TrainingError, match=expected), memory_explained("lower batch_size"):
        torch.empty(2**62, dtype=torch.uint8)


def test_the_message_of_a_cuda_device_is_understood():
    message = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 4 GiB"
    with pytest.raises(TrainingError, match=r"2\.50 GiB more"), memory_explained("lower batch_size"):
        raise torch.OutOfMemoryError(message)


@pytest.mark.parametrize(
    "message",
    [
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: out of memory",
        "FIND was unable to find an engine to execute this computation",
    ],
)
def test_libraries_that_find_no_memory_are_understood(message):
    with pytest.raises(TrainingError, match="an unknown amount more"), memory_explained("lower batch_size"):
        raise RuntimeError(message)


def test_other_errors_pass_unchanged():
    with (
        pytest.raises(RuntimeError, match="cannot be multiplied") as caught,
        memory_explained("lower batch_size"),
    ):
        torch.rand(2, 3) @ torch.rand(2, 3)
    assert type(caught.value) is RuntimeError
