"""The engine in torch's own operations: any device, any float type, no compiler."""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.kernels.recurrent.cell import CellKind, State
from autoquant.kernels.recurrent.engine import Engine, Gradients, Job, SavedTensors
from autoquant.kernels.recurrent.gru import Gru
from autoquant.kernels.recurrent.hidden_quantization import Rounding
from autoquant.kernels.recurrent.loop import Loop, Run
from autoquant.kernels.recurrent.lstm import Lstm
from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.kernels.recurrent.rnn import Rnn

LOOPS: dict[CellKind, Loop] = {"lstm": Lstm(), "gru": Gru(), "rnn_tanh": Rnn(), "rnn_relu": Rnn()}


class TorchLoop:
    """An Engine: what all cells share; the loops themselves are in a file for each cell."""

    def forward(
        self,
        job: Job,
        projected: Tensor,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        state: State,
        scale: Tensor | None,
    ) -> tuple[Tensor, State, SavedTensors]:
        """See Engine. The tape begins with the hidden states."""
        run = _run(job, recurrent, candidate_bias, scale)
        return LOOPS[job.cell.kind].forward(run, projected, state)

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
        run, loop = _run(job, recurrent, candidate_bias, scale), LOOPS[job.cell.kind]
        hidden, rounding = tape[0], run.rounding
        grad = grad_hidden.clone(memory_format=torch.contiguous_format)
        run.steps.add_last(run.steps.split(grad), grad_last[0])
        exact = loop.exact(run, tape) if rounding else hidden
        inside = rounding.inside(exact, hidden) if rounding else None
        projected, product, first = loop.backward(run, tape, exact, inside, grad, grad_last[1:])
        grad_scale = None
        if rounding and job.scale_gradient:
            grad_scale = rounding.scale_gradient(grad, exact, hidden, inside, run.steps)
        return Gradients(projected, product, first, grad_scale)


def _run(job: Job, recurrent: Tensor, candidate_bias: Tensor | None, scale: Tensor | None) -> Run:
    return Run(job, PackedBatch(job.sizes), Rounding.of(job, scale), recurrent, candidate_bias)


TORCH_LOOP = TorchLoop()


def engine_for(job: Job, projected: Tensor, recurrent: Tensor, state: State) -> Engine | None:
    """The engine, if it can do the job: all numbers of one float type on one device."""
    kinds = {(each.dtype, each.device) for each in (projected, recurrent, *state)}
    return TORCH_LOOP if len(kinds) == 1 else None
