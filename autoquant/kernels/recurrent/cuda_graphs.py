"""The looped engine on CUDA, its passes recorded: a loop over time becomes one launch.

Over 35 steps a pass is hundreds of small kernels, and launching them takes longer than they do.
A pass is recorded when its shapes come for the third time; others run as they are. What torch may
be told about its products (TF32, say) is recorded with it.

No CUDA device was at hand when this was written: nothing here was timed, and recording itself was
never run (see recording).
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

from torch import Tensor

from autoquant.kernels.recurrent import torch_loop
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import Engine, Gradients, Job, SavedTensors
from autoquant.kernels.recurrent.recording import CudaGraphs, Flat, Graphs, Recording, Work

log = logging.getLogger(__name__)

VARIABLE = "AUTOQUANT_CUDA_GRAPHS"  # 0: never record
FEWEST_STEPS = 4  # of fewer there is little to save
PLAIN_RUNS = 2  # of the same shapes, before they are recorded
MOST_RECORDINGS = 16  # each holds the memory of a pass
MOST_COUNTED = 1024  # shapes whose runs are counted


class CudaGraphLoop:
    """An Engine: the looped one, from recordings where there are some."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs: Graphs | None = graphs  # None after a failure
        self._runs: OrderedDict[Hashable, int] = OrderedDict()
        self._recordings: OrderedDict[Hashable, Recording] = OrderedDict()
        self._lock = threading.Lock()  # autograd runs backward in a thread of its own

    def forward(
        self,
        job: Job,
        projected: Tensor,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        state: State,
        scale: Tensor | None,
    ) -> tuple[Tensor, State, SavedTensors]:
        """See Engine."""
        given = projected, recurrent, candidate_bias, scale, *state
        hidden, *rest = self._run(_forward, job, given)
        return hidden, tuple(rest[: len(state)]), tuple(rest[len(state) :])

    def backward(
        self,
        job: Job,
        tape: SavedTensors,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        scale: Tensor | None,
        grad_hidden: Tensor,
        grad_last: State,
    ) -> Gradients:
        """See Engine."""
        given = grad_hidden, recurrent, candidate_bias, scale, *grad_last, *tape
        projected, product, grad_scale, *state = self._run(_backward, job, given)
        return Gradients(projected, product, tuple(state), grad_scale)

    def _run(self, work: Work, job: Job, given: Flat) -> Flat:
        job = replace(job, coding=None)  # the loop needs none, and its tensor cannot be compared
        with self._lock:
            recording = self._recording(work, job, given)
            if recording is not None:
                return recording(given)
        return work(job, *given)

    def _recording(self, work: Work, job: Job, given: Flat) -> Recording | None:
        """What was recorded of such a pass, perhaps just now."""
        device = given[0].device
        if any(each is not None and each.device != device for each in given):
            return None  # a number that stays on the CPU would be recorded with the pass
        place = None if self._graphs is None else self._graphs.place(device)
        if place is None:
            return None
        shapes = tuple(None if each is None else (each.shape, each.dtype) for each in given)
        key = work, job, shapes, device, place
        if key not in self._recordings and self._again(key):
            self._record(key, partial(work, job), given)
        if key not in self._recordings:
            return None
        self._recordings.move_to_end(key)
        return self._recordings[key]

    def _again(self, key: Hashable) -> bool:
        """Whether such a pass has run often enough to be recorded; counts it."""
        runs = self._runs[key] = self._runs.pop(key, 0) + 1
        _shorten(self._runs, MOST_COUNTED)
        return runs > PLAIN_RUNS

    def _record(self, key: Hashable, work: Work, given: Flat) -> None:
        assert self._graphs is not None
        _shorten(self._recordings, MOST_RECORDINGS - 1)  # before: its memory is wanted now
        try:
            self._recordings[key] = Recording(work, given, self._graphs)
        except RuntimeError as error:  # CUDA's errors, lack of memory too
            log.warning("no CUDA graph could be recorded, loops run step by step: %s", error)
            self._graphs = None


def _shorten(table: OrderedDict[Hashable, Any], most: int) -> None:
    """Forget what was used least recently."""
    while len(table) > most:
        table.popitem(last=False)


def _forward(job: Job, projected: Tensor, recurrent: Tensor, *rest: Any) -> Flat:
    candidate_bias, scale, *state = rest
    hidden, last, tape = torch_loop.TORCH_LOOP.forward(
        job, projected, recurrent, candidate_bias, tuple(state), scale
    )
    return hidden, *last, *tape


def _backward(job: Job, grad_hidden: Tensor, recurrent: Tensor, *rest: Any) -> Flat:
    candidate_bias, scale, *flat = rest
    parts = 2 if job.cell.kind == "lstm" else 1
    grad_last, tape = tuple(flat[:parts]), tuple(flat[parts:])
    found = torch_loop.TORCH_LOOP.backward(
        job, tape, recurrent, candidate_bias, scale, grad_hidden, grad_last
    )
    return found.projected, found.recurrent_product, found.scale, *found.state


CUDA_GRAPH_LOOP = CudaGraphLoop(CudaGraphs())


def engine_for(job: Job, projected: Tensor, recurrent: Tensor, state: State) -> Engine | None:
    """The engine, for loops on CUDA that are worth it and that the looped one can do."""
    wanted = projected.device.type == "cuda" and os.environ.get(VARIABLE) != "0"
    if not wanted or len(job.sizes) < FEWEST_STEPS:
        return None
    return CUDA_GRAPH_LOOP if torch_loop.engine_for(job, projected, recurrent, state) else None
