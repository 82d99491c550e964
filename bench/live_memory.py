"""The memory of an update, computed from shapes: the code that trains runs on tensors without values.

The sizes of all tensors that are alive are added up: weights, gradients, Adam's moments, feature maps, and what the
backward pass needs at its largest. Not counted are workspaces of libraries, gaps of the allocator and the scans.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import lib.learning.layers as layers
import lib.learning.vnet as vnet
from lib.learning.architecture import VNetConfig
from lib.learning.compute import choose_compute
from lib.learning.losses import parameter_groups, segmentation_loss


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors that are alive, now and at the peak; those made before it began are given to `count`."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it makes."""
        made = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return made

    def count(self, tensor: Tensor) -> None:
        """Count the memory of a tensor, unless it is shared with one that is counted."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._known:
            return
        self._known.add(address)
        size = storage.nbytes()
        weakref.finalize(storage, self._forget, address, size)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.bytes -= size


@dataclass(frozen=True, kw_only=True)
class Case:
    """One update: a network, the window (z, y, x) in voxels, `train.precision`, and whether with CUDA's kernels."""

    shape: VNetConfig
    size_zyx: tuple[int, int, int]
    precision: str
    cuda: bool

    def new_network(self) -> vnet.VNet:
        """Return the network as a training begins with it."""
        network = vnet.VNet(self.shape)
        return choose_compute("cpu", self.precision).place(network).train()

    def update(self, network: vnet.VNet) -> None:
        """Make two updates, as `lib.learning.train` does; the first makes Adam's moments."""
        compute = choose_compute("cpu", self.precision)
        optimizer = torch.optim.Adam(parameter_groups(network, 1e-5), lr=1e-4, fused=True)
        given = torch.rand(1, 1, *self.size_zyx)
        target = (given > 0.9).float()
        with _kernels_of(self):
            for _ in range(2):
                optimizer.zero_grad(set_to_none=True)
                with compute.autocast():
                    output = network(given)
                segmentation_loss(output, target, kind="cross_entropy", bone_weight=5.0).backward()
                del output
                optimizer.step()


def update_gb(case: Case) -> float:
    """Return the largest memory of an update, GB (1e9 bytes), computed from shapes."""
    network, shapes, memory = case.new_network(), FakeTensorMode(), LiveMemory()
    for module in network.modules():
        for name, weights in module.named_parameters(recurse=False):
            setattr(module, name, torch.nn.Parameter(shapes.from_tensor(weights.detach())))
            memory.count(getattr(module, name))
    with shapes, memory:
        case.update(network)
    return memory.peak / 1e9


@contextmanager
def _kernels_of(case: Case) -> Iterator[None]:
    """Use torch's convolutions instead of those for a CPU (`lib.learning.layers`), and with CUDA its pooling."""
    before = vnet.halve, layers._is_float32_of_cpu
    layers._is_float32_of_cpu = lambda x: False
    if case.cuda:
        vnet.halve = vnet.halve_by_amax
    try:
        yield
    finally:
        vnet.halve, layers._is_float32_of_cpu = before
