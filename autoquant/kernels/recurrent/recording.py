"""A pass over time, recorded on a device and replayed as one launch.

``CudaGraphs`` has never run on a CUDA device. The rest is tested with graphs that are imitated on
the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

WARM_UPS = 3

Flat = tuple[Any, ...]
"""Tensors, and None for absent ones."""
Work = Callable[..., Flat]
"""Computes tensors from tensors."""
Recorded = tuple[Flat, Callable[[], None]]
"""Results, and a call that computes them again, from the same inputs into the same memory."""


class Graphs(Protocol):
    """Records work: CUDA, or a test's imitation of it."""

    def place(self, device: torch.device) -> Hashable:
        """Where work is launched now; a recording is replayed only there.

        Args:
            device: of the tensors.

        Returns:
            None where nothing can be recorded.
        """

    def record(self, work: Callable[[], Flat], device: torch.device) -> Recorded:
        """Record work.

        Args:
            work: what is recorded; it may be called several times.
            device: of its tensors.
        """


class CudaGraphs:
    """torch.cuda.CUDAGraph, as torch's documentation asks it to be used."""

    def place(self, device: torch.device) -> Hashable:
        """The current stream. See ``Graphs.place``."""
        with torch.cuda.device(device):
            if torch.cuda.is_current_stream_capturing():  # a caller records a larger piece
                return None
            return torch.cuda.current_stream().cuda_stream

    def record(self, work: Callable[[], Flat], device: torch.device) -> Recorded:
        """Warm up on a second stream, then record. See ``Graphs.record``."""
        with torch.cuda.device(device):
            current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
            second = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(current):  # restores it even where the end of recording fails
                second.wait_stream(current)
                with torch.cuda.stream(second):  # libraries allocate their workspaces
                    for _ in range(WARM_UPS):
                        work()
                current.wait_stream(second)
                # thread_local: a thread that pins memory for a data loader may go on
                with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                    results = work()
        return results, graph.replay


class Recording:
    """A pass in memory of its own, which each replay reads and overwrites.

    Args:
        work: the pass.
        tensors: arguments like those it will be called with; the first one not None.
        graphs: records it.
    """

    def __init__(self, work: Work, tensors: Flat, graphs: Graphs) -> None:
        with torch.inference_mode(False), torch.no_grad():  # memory that any mode may write to
            self._inputs = tuple(None if one is None else _zeros(one) for one in tensors)
            pass_ = partial(work, *self._inputs)
            self._results, self._replay = graphs.record(pass_, tensors[0].device)

    def __call__(self, tensors: Flat) -> Flat:
        """The results for other tensors, in new memory.

        Args:
            tensors: arguments of the same shapes, types and devices.

        Returns:
            Results that were one tensor are one tensor again.
        """
        for recorded, tensor in zip(self._inputs, tensors, strict=True):
            if recorded is not None:
                recorded.copy_(tensor)
        self._replay()
        copies = {id(result): result.clone() for result in self._results if result is not None}
        return tuple(copies.get(id(result)) for result in self._results)


def _zeros(like: Tensor) -> Tensor:
    return torch.zeros_like(like, memory_format=torch.contiguous_format)
