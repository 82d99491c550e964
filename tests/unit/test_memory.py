import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.errors import TrainingError
from lib.learning.memory import memory_explained


def test_freed_memory_is_kept_and_used_again():
    # a freed block that is requested again causes no page faults; occasionally a small object has taken its first
    # bytes in between, and one block of new pages follows
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
