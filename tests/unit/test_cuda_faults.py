"""Torch's CUDA errors are explained in a sentence with a remedy; tested with hand-made errors, without a GPU."""

import pytest
import torch

from lib.errors import ConfigError, TrainingError
from lib.learning.compute import choose_compute
from lib.learning.cuda import cuda_explained, warn_of_unused_gpu, why_no_gpu
from lib.learning.devices import Gpu, own_device
from lib.learning.memory import memory_explained

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: "
    "https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
BUSY = (
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)
FULL = (
    "CUDA out of memory. Tried to allocate 12.00 GiB. GPU 0 has a total capacity of 23.65 GiB of which 7.95 GiB is "
    "free. Process 1957120 has 7.10 GiB memory in use. Including non-PyTorch memory, this process has 8.58 GiB "
    "memory in use. Of the allocated memory 8.13 GiB is allocated by PyTorch"
)


@pytest.fixture
def torch_says(monkeypatch):
    """Return a function that makes torch find no CUDA device, with a given error as the reason."""

    def says(error):
        def init():
            raise error

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.version, "cuda", "13.0")

    return says


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError("Torch not compiled with CUDA enabled"), "is a build for CPUs. Install one"),
        (
            RuntimeError(TOO_OLD),
            r"too old for PyTorch .* \(it supports CUDA 12\.2, PyTorch is built for 13\.0\)",
        ),
        (
            RuntimeError("Found no NVIDIA driver on your system. Please check"),
            "no NVIDIA driver here. Install it",
        ),
        (RuntimeError("No CUDA GPUs are available"), "no GPU is visible .* CUDA_VISIBLE_DEVICES"),
        (RuntimeError("Unexpected error 999\nmore"), "torch says: Unexpected error 999$"),
    ],
)
def test_cuda_that_is_asked_for_and_missing_is_refused_with_the_cause(torch_says, error, reason):
    torch_says(error)
    with pytest.raises(ConfigError, match=f"train.device: cuda is asked for.*: .*{reason}"):
        choose_compute("cuda")


def test_a_gpu_that_auto_cannot_use_is_told_on_the_terminal(torch_says, tmp_path, caplog):
    torch_says(RuntimeError(TOO_OLD))
    caplog.set_level("INFO")
    warn_of_unused_gpu(tmp_path)
    assert not caplog.records, "a machine without a GPU"
    (tmp_path / "nvidia0").touch()
    warn_of_unused_gpu(tmp_path)
    [record] = caplog.records
    assert (
        record.show and "has a GPU, but the CPU is used: the NVIDIA driver is too old" in record.getMessage()
    )


def test_auto_asks_whether_a_gpu_stays_unused(monkeypatch):
    asked = []
    monkeypatch.setattr("lib.learning.compute.warn_of_unused_gpu", lambda: asked.append(True))
    choose_compute("cpu")
    assert not asked
    choose_compute("auto")
    assert asked


def test_a_device_that_works_needs_no_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert why_no_gpu() == ""


@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_a_gpu_in_exclusive_use_is_told_when_a_job_takes_it(tmp_path, monkeypatch, kind):
    def taken(index):
        raise kind(BUSY)

    monkeypatch.setattr("lib.learning.devices.LOCK_FOLDER", tmp_path)
    monkeypatch.setattr(torch.cuda, "set_device", taken)
    with (
        pytest.raises(TrainingError, match="exclusive use.* Wait for .* or choose another GPU"),
        own_device("auto", lambda: [Gpu(0, "aaaa", "first")]),
    ):
        pass


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "does not support this GPU"),
        ("CUDA driver version is insufficient for CUDA runtime version", "driver is too old for PyTorch"),
        ("CUDA error: system not yet initialized", "Fabric Manager"),
        ("CUDA error: uncorrectable ECC error encountered", "damaged memory"),
    ],
)
def test_errors_of_driver_and_device_come_as_one_sentence(message, reason):
    with pytest.raises(TrainingError, match=reason), cuda_explained():
        raise RuntimeError(message)


def test_other_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match="illegal memory access") as caught, cuda_explained():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    assert type(caught.value) is RuntimeError


def test_memory_that_others_hold_is_told_beside_what_was_asked():
    expected = (
        r"12\.00 GiB more .*; lower batch_size\. Other processes hold .*\(process 1957120 7\.10 GiB\): wait"
    )
    with pytest.raises(TrainingError, match=expected), memory_explained("lower batch_size"):
        raise torch.OutOfMemoryError(FULL)
