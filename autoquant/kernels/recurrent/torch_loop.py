"""The engine in torch's own operations: any device, any float type, no compiler."""

from __future__ import annotations

from typing import Any

import torch

from autoquant.kernels.recurrent.cell import CellKind
from autoquant.kernels.recurrent.engine import (
    BackwardOperands,
    Engine,
    ForwardResult,
    Gradients,
    Job,
    Operands,
    SavedTensors,
)
from autoquant.kernels.recurrent.gru import Gru
from autoquant.kernels.recurrent.hidden_quantization import HiddenQuantizer
from autoquant.kernels.recurrent.loop import Loop, Run, Upstream
from autoquant.kernels.recurrent.lstm import Lstm
from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.kernels.recurrent.registry import engine
from autoquant.kernels.recurrent.rnn import Rnn

LOOPS: dict[CellKind, Loop[Any]] = {
    "lstm": Lstm(),
    "gru": Gru(),
    "rnn_tanh": Rnn(),
    "rnn_relu": Rnn(),
}


class TorchLoop:
    """An Engine: what all cells share; the loops themselves are in a file for each cell."""

    def forward(self, job: Job, operands: Operands) -> ForwardResult:
        """See ``Engine.forward``."""
        run = _run(job, operands)
        return LOOPS[job.cell.kind].forward(run, operands.projected, operands.state)

    def backward(self, job: Job, operands: BackwardOperands, saved: SavedTensors) -> Gradients:
        """See ``Engine.backward``."""
        run, loop = _run(job, operands), LOOPS[job.cell.kind]
        named, quantizer, batch = loop.named(saved), run.quantizer, run.batch
        hidden = named.hidden
        grad_h, *grad_rest = operands.grad_last
        grad = operands.grad_hidden.clone(memory_format=torch.contiguous_format)
        batch.add_last(batch.split(grad), grad_h)
        exact = loop.exact(run, named) if quantizer else hidden
        inside = quantizer.inside(exact, hidden) if quantizer else None
        grads = loop.backward(run, named, Upstream(exact, inside, grad, tuple(grad_rest)))
        grad_scale = None
        if quantizer and job.scale_gradient:
            grad_scale = quantizer.scale_gradient(grad, exact, hidden, inside, batch)
        return Gradients(*grads, grad_scale)


def _run(job: Job, operands: Operands | BackwardOperands) -> Run:
    """The job with the tensors that both passes read."""
    quantizer = HiddenQuantizer.of(job.hidden, operands.scale)
    batch = PackedBatch(job.sizes)
    return Run(job, batch, quantizer, operands.recurrent, operands.candidate_bias)


TORCH_LOOP = TorchLoop()


@engine("torch")
def torch_loop_engine(job: Job, operands: Operands) -> Engine | None:
    """The engine, where all tensors are of one float type on one device.

    Args:
        job: what is computed.
        operands: the tensors.
    """
    tensors = operands.projected, operands.recurrent, *operands.state
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors}
    return TORCH_LOOP if len(kinds) == 1 else None
