import pytest
import torch

from lib.errors import ConfigError, TrainingError
from lib.learning.determinism import choose_compute, memory_explained, prepare_torch


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


def test_auto_means_float32_on_a_cpu():
    compute = choose_compute("cpu", "auto")
    assert (compute.device.type, compute.bf16, compute.describe()) == ("cpu", False, "cpu")
    assert choose_compute("cpu", "bf16").bf16


def test_bf16_holds_inside_the_context_only():
    compute, a = choose_compute("cpu", "bf16"), torch.rand(2, 2)
    with compute.autocast():
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(ConfigError, match="no CUDA device"):
        choose_compute("cuda")


@pytest.mark.parametrize(("device", "precision"), [("gpu", "auto"), ("cpu", "half")])
def test_unknown_names_are_refused(device, precision):
    with pytest.raises(ConfigError, match=r"train\.(device|precision)"):
        choose_compute(device, precision)


def test_an_impossible_allocation_says_what_was_asked_and_what_helps():
    expected = r"4294967296\.00 GiB more .* lower batch_size"
    with pytest.raises(TrainingError, match=expected), memory_explained("lower batch_size"):
        torch.empty(2**62, dtype=torch.uint8)


def test_the_message_of_a_cuda_device_is_understood():
    message = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 4 GiB"
    with pytest.raises(TrainingError, match=r"2\.50 GiB more"), memory_explained("lower batch_size"):
        raise torch.OutOfMemoryError(message)


def test_other_errors_pass_unchanged():
    with (
        pytest.raises(RuntimeError, match="cannot be multiplied") as caught,
        memory_explained("lower batch_size"),
    ):
        torch.rand(2, 3) @ torch.rand(2, 3)
    assert type(caught.value) is RuntimeError
