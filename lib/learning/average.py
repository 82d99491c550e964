"""The running average of a network's weights (Polyak and Juditsky 1992, with exponential forgetting)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.learning.checkpoint import weights_on_host


class RunningAverage:
    """An exponential average over the updates; with `decay` 0 it is the network itself and costs nothing.

    At first the decay is lower, (1 + n) / (10 + n) after n updates, so that the initial weights soon lose influence.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network, self._decay = network, decay
        self._current = list(network.state_dict().values())
        self._average = [tensor.clone() for tensor in self._current] if decay else []

    @torch.no_grad()
    def follow(self, done: int) -> None:
        """Update the average with the network's weights after `done` updates."""
        if not self._decay:
            return
        keep = min(self._decay, (1 + done) / (10 + done))
        for average, current in zip(self._average, self._current, strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - keep)
            else:
                average.copy_(current)

    @contextmanager
    def in_place(self) -> Iterator[nn.Module]:
        """Yield the network with the averaged weights; its own weights are restored afterwards."""
        if not self._decay:
            yield self._network
            return
        own = [tensor.clone() for tensor in self._current]
        self._put(self._average)
        try:
            yield self._network
        finally:
            self._put(own)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the averaged weights in host memory."""
        with self.in_place() as network:
            return weights_on_host(network)

    def state(self) -> list[Tensor]:
        """Return a copy of the average in host memory; empty if no average is kept."""
        return [average.cpu().clone(memory_format=torch.contiguous_format) for average in self._average]

    def load(self, state: Sequence[Tensor]) -> None:
        """Continue from what `state` returned."""
        for average, saved in zip(self._average, state, strict=True):
            average.copy_(saved)

    @torch.no_grad()
    def _put(self, tensors: list[Tensor]) -> None:
        for current, tensor in zip(self._current, tensors, strict=True):
            current.copy_(tensor)
