"""The torch loop on CUDA with recorded passes: a loop over time becomes one launch.

A pass over 35 time steps is hundreds of small kernels, and launching them takes longer than running
them. A pass is recorded when its shapes come for the third time; before that it runs as it is. What
torch is told about its products (TF32, say) is recorded with it.

This has never run on a CUDA device and nothing here was timed, so it is off by default:
AUTOQUANT_CUDA_GRAPHS=1 turns it on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from typing import Any

from autoquant.kernels.recurrent.engine import (
    BackwardOperands,
    Engine,
    ForwardResult,
    Gradients,
    Job,
    Operands,
    SavedTensors,
)
from autoquant.kernels.recurrent.recording import CudaGraphs, Flat, Graphs, Recording, Work
from autoquant.kernels.recurrent.registry import engine
from autoquant.kernels.recurrent.torch_loop import TORCH_LOOP, torch_loop_engine

log = logging.getLogger(__name__)

VARIABLE = "AUTOQUANT_CUDA_GRAPHS"  # 1: record passes on CUDA
MIN_STEPS = 4  # time steps; shorter loops have few launches to save
PLAIN_RUNS = 2  # of the same shapes, before they are recorded
MAX_RECORDINGS = 16  # each holds the memory of a pass
MAX_COUNTED = 1024  # shapes whose runs are counted


class CudaGraphLoop:
    """An Engine: the torch loop, replayed from recordings where there are some.

    Args:
        graphs: records passes.
    """

    def __init__(self, graphs: Graphs) -> None:
        self._graphs: Graphs | None = graphs  # None after a failure
        self._runs: OrderedDict[Hashable, int] = OrderedDict()
        self._recordings: OrderedDict[Hashable, Recording] = OrderedDict()
        self._lock = threading.Lock()  # autograd runs backward in a thread of its own

    def forward(self, job: Job, operands: Operands) -> ForwardResult:
        """See ``Engine.forward``."""
        hidden, *rest = self._run(_forward, job, operands.flat())
        parts = len(operands.state)
        return ForwardResult(hidden, tuple(rest[:parts]), tuple(rest[parts:]))

    def backward(self, job: Job, operands: BackwardOperands, saved: SavedTensors) -> Gradients:
        """See ``Engine.backward``."""
        recurrent, candidate_bias, scale, grad_hidden, grad_last = operands
        tensors = grad_hidden, recurrent, candidate_bias, scale, *grad_last, *saved
        projected, product, grad_scale, *state = self._run(_backward, job, tensors)
        return Gradients(projected, product, tuple(state), grad_scale)

    def _run(self, work: Work, job: Job, tensors: Flat) -> Flat:
        """The results of a pass, replayed where it was recorded.

        Args:
            work: ``_forward`` or ``_backward``.
            job: what is computed.
            tensors: arguments of ``work``, the first one not None.
        """
        job = replace(job, weight_params=None)  # the loop needs none, and tensors cannot be keys
        with self._lock:
            recording = self._recording(work, job, tensors)
            if recording is not None:
                return recording(tensors)
        return work(job, *tensors)

    def _recording(self, work: Work, job: Job, tensors: Flat) -> Recording | None:
        """The recording of such a pass, perhaps a new one.

        Args:
            work: as in ``_run``.
            job: as in ``_run``.
            tensors: as in ``_run``.
        """
        device = tensors[0].device
        if any(tensor is not None and tensor.device != device for tensor in tensors):
            return None  # a number on the CPU would be recorded with the pass
        place = None if self._graphs is None else self._graphs.place(device)
        if place is None:
            return None
        shapes = tuple(
            None if tensor is None else (tensor.shape, tensor.dtype) for tensor in tensors
        )
        key = work, job, shapes, device, place
        if key not in self._recordings and self._count(key) > PLAIN_RUNS:
            self._record(key, partial(work, job), tensors)
        if key not in self._recordings:
            return None
        self._recordings.move_to_end(key)
        return self._recordings[key]

    def _count(self, key: Hashable) -> int:
        """How often such a pass has run, this time included."""
        runs = self._runs[key] = self._runs.pop(key, 0) + 1
        _limit(self._runs, MAX_COUNTED)
        return runs

    def _record(self, key: Hashable, work: Work, tensors: Flat) -> None:
        """Record a pass; after a failure nothing is recorded any more.

        Args:
            key: of the recording.
            work: the pass.
            tensors: its arguments.
        """
        assert self._graphs is not None
        _limit(self._recordings, MAX_RECORDINGS - 1)  # before: its memory is needed now
        try:
            self._recordings[key] = Recording(work, tensors, self._graphs)
        except RuntimeError as error:  # CUDA's errors, lack of memory too
            log.warning("no CUDA graph could be recorded, loops run step by step: %s", error)
            self._graphs = None


def _limit(table: OrderedDict[Hashable, Any], largest: int) -> None:
    """Drop the least recently used entries beyond ``largest``."""
    while len(table) > largest:
        table.popitem(last=False)


def _forward(job: Job, *tensors: Any) -> Flat:
    """A forward pass from Operands.flat()."""
    result = TORCH_LOOP.forward(job, Operands.from_flat(tensors))
    return result.hidden, *result.last, *result.saved


def _backward(job: Job, grad_hidden: Any, *tensors: Any) -> Flat:
    """A backward pass.

    Args:
        job: what is computed.
        grad_hidden: as in BackwardOperands.
        tensors: recurrent weight, candidate bias, scale, *gradients of the last state, *saved
            tensors.
    """
    recurrent, candidate_bias, scale, *rest = tensors
    parts = 2 if job.cell.kind == "lstm" else 1
    grad_last, saved = tuple(rest[:parts]), tuple(rest[parts:])
    operands = BackwardOperands(recurrent, candidate_bias, scale, grad_hidden, grad_last)
    grads = TORCH_LOOP.backward(job, operands, saved)
    return grads.projected, grads.recurrent_product, grads.scale, *grads.state


CUDA_GRAPH_LOOP = CudaGraphLoop(CudaGraphs())


@engine("torch", before="torch")
def cuda_graph_engine(job: Job, operands: Operands) -> Engine | None:
    """The engine, for loops on CUDA, where it is turned on.

    Args:
        job: what is computed.
        operands: the tensors.
    """
    if os.environ.get(VARIABLE) != "1" or operands.projected.device.type != "cuda":
        return None
    if len(job.sizes) < MIN_STEPS or torch_loop_engine(job, operands) is None:
        return None
    return CUDA_GRAPH_LOOP
