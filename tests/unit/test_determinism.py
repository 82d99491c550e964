import pytest
import torch

from lib.learning.determinism import prepare_torch


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
