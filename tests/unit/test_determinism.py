import subprocess
import sys

import pytest
import torch

from lib.learning.determinism import compiled, prepare_torch


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


COMPILER = "torch._inductor.config"
SAYS_WHETHER_IT_IS_LOADED = f"""
import sys
from lib.learning.determinism import prepare_torch

prepare_torch(reproducible=True, threads=1)
print({COMPILER!r} in sys.modules)
"""


def test_a_job_that_compiles_nothing_does_not_wait_for_the_compiler():
    command = [sys.executable, "-c", SAYS_WHETHER_IT_IS_LOADED]
    assert subprocess.run(command, text=True, capture_output=True, check=True).stdout.strip() == "False"


@pytest.mark.parametrize("reproducible", [True, False])
def test_a_compiled_network_is_as_reproducible_as_the_process(torch_settings, reproducible):
    prepare_torch(reproducible=reproducible, threads=1)
    compiled(torch.nn.Conv3d(1, 1, 1))
    assert sys.modules[COMPILER].deterministic is reproducible
    assert torch.are_deterministic_algorithms_enabled() is reproducible
