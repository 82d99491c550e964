"""Copies of batches from host memory to the device while the device works on the previous batch.

A background thread fills one of two host buffers and starts its copy; the buffer is filled again only when that
copy has ended. The copying is a parameter (`CudaSender`), so that the rest can be tested without a device.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Request = TypeVar("Request")
Result = TypeVar("Result")
Batch = tuple[Tensor, ...]


class Copy(Protocol):
    """A copy of a batch that is under way."""

    def wait(self) -> None:
        """Block until the buffers it reads may be overwritten."""

    def receive(self) -> Batch:
        """Return the copied batch, for work queued on the caller's stream from now on."""


class CudaSender:
    """Starts copies to a CUDA device on a separate stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def __call__(self, buffers: Batch) -> "CudaCopy":
        """Start the copy of pinned `buffers`."""
        with torch.cuda.stream(self._stream):
            batch = tuple(buffer.to(self._device, non_blocking=True) for buffer in buffers)
            ended = torch.cuda.Event(blocking=True)  # the waiting thread sleeps
            ended.record(self._stream)
        return CudaCopy(batch, ended)


@dataclass(frozen=True)
class CudaCopy:
    """A copy on the side stream, with the event that follows it."""

    batch: Batch
    ended: torch.cuda.Event

    def wait(self) -> None:
        """Block until the pinned buffers may be overwritten."""
        self.ended.synchronize()

    def receive(self) -> Batch:
        """Let the current stream wait for the copy, and the batch's memory for the current stream."""
        stream = torch.cuda.current_stream(self.batch[0].device)
        stream.wait_event(self.ended)
        for tensor in self.batch:
            tensor.record_stream(stream)
        return self.batch


@dataclass
class _Slot:
    buffers: Batch = ()
    copy: Copy | None = None


class Staging:
    """Two sets of host buffers that are filled and sent in turn."""

    def __init__(self, allocate: Callable[[int], Batch], send: Callable[[Batch], Copy]) -> None:
        """Keep the functions that make buffers for a number of windows (windows first) and send them."""
        self._allocate, self._send = allocate, send
        self._slots = itertools.cycle((_Slot(), _Slot()))

    def load(self, windows: int, fill: Callable[[Batch], None]) -> Copy:
        """Let `fill` write a batch of so many windows into the next buffer, and send it."""
        slot = next(self._slots)
        if slot.copy is not None:
            slot.copy.wait()
        if not slot.buffers or len(slot.buffers[0]) < windows:
            slot.buffers = self._allocate(windows)
        batch = tuple(buffer[:windows] for buffer in slot.buffers)
        fill(batch)
        slot.copy = self._send(batch)
        return slot.copy


def one_ahead(requests: Iterable[Request], work: Callable[[Request], Result]) -> Iterator[Result]:
    """Yield `work(request)` in order; a background thread makes the next result while the caller has one.

    An exception of `work` is raised here, in the order of the requests. The thread ends with this iterator, also
    when it is closed early.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="staging") as thread:
        pending = deque()
        for request in requests:
            pending.append(thread.submit(work, request))
            if len(pending) > 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
