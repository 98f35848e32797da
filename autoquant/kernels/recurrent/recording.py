"""A pass over time, recorded on a device and replayed as one launch.

No CUDA device was at hand when this was written: ``CudaGraphs`` was never run. What surrounds it is
tested with graphs that are imitated on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

WARM_UPS = 3

Flat = tuple[Any, ...]  # tensors and None
Work = Callable[..., Flat]
Recorded = tuple[Flat, Callable[[], None]]


class Graphs(Protocol):
    """What records: CUDA, or a test's imitation of it."""

    def place(self, device: torch.device) -> Hashable:
        """Where work goes now: a recording is replayed there only. None where none can be made."""

    def record(self, work: Callable[[], Flat], device: torch.device) -> Recorded:
        """Record work: its results, and a call that computes them again in the same memory."""


class CudaGraphs:
    """torch.cuda.CUDAGraph, as torch's documentation asks it to be used."""

    def place(self, device: torch.device) -> Hashable:
        """The stream."""
        with torch.cuda.device(device):
            recording = torch.cuda.is_current_stream_capturing()  # someone else, a larger piece
            return None if recording else torch.cuda.current_stream().cuda_stream

    def record(self, work: Callable[[], Flat], device: torch.device) -> Recorded:
        """Warm up on a stream beside, then record."""
        with torch.cuda.device(device):
            here, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(here):  # comes back to it even where ending a record fails
                side.wait_stream(here)
                with torch.cuda.stream(side):  # libraries get their workspaces
                    for _ in range(WARM_UPS):
                        work()
                here.wait_stream(side)
                # thread_local: a thread that pins memory for a data loader may go on
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    results = work()
        return results, graph.replay


class Recording:
    """A pass on memory of its own, which each replay reads and writes again."""

    def __init__(self, work: Work, given: Flat, graphs: Graphs) -> None:
        with torch.inference_mode(False), torch.no_grad():  # memory that any mode may write to
            self._inputs = tuple(None if each is None else _room(each) for each in given)
            own = partial(work, *self._inputs)
            self._results, self._replay = graphs.record(own, given[0].device)

    def __call__(self, given: Flat) -> Flat:
        """The results for other numbers, in new memory; what is one tensor stays one."""
        for own, each in zip(self._inputs, given, strict=True):
            if own is not None:
                own.copy_(each)
        self._replay()
        copies = {id(each): each.clone() for each in self._results if each is not None}
        return tuple(copies.get(id(each)) for each in self._results)


def _room(like: Tensor) -> Tensor:
    return torch.zeros_like(like, memory_format=torch.contiguous_format)
