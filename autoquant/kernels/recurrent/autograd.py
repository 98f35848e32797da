"""A recurrence as one operation of autograd, whatever engine computes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autoquant.backend import current
from autoquant.kernels.integer_linear import linear
from autoquant.kernels.matmul import narrowed, product
from autoquant.kernels.recurrent.cell import Recurrence, State
from autoquant.kernels.recurrent.engine import BackwardOperands, Engine, Job, Operands
from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.kernels.recurrent.registry import EngineFactory
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import QuantSpec, quant_params_of
from autoquant.quantization.native import untraced


class _RecurrenceFunction(torch.autograd.Function):
    """Operands.flat() -> (hidden states, *last state)."""

    @staticmethod
    def forward(ctx: Any, job: Job, engine: Engine, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        """Run the engine.

        Args:
            ctx: what autograd keeps for backward.
            job: what is computed.
            engine: computes it.
            tensors: Operands.flat().
        """
        operands = Operands.from_flat(tensors)
        hidden, last, saved = engine.forward(job, operands)
        ctx.job, ctx.engine = job, engine
        constants = operands.recurrent, operands.candidate_bias, operands.scale
        ctx.save_for_backward(*constants, operands.state[0], hidden, *saved)
        return hidden, *last

    @staticmethod
    @once_differentiable
    @untraced
    def backward(ctx: Any, grad_hidden: Tensor, *grad_last: Tensor) -> tuple[Any, ...]:
        """Run the engine back in time.

        Args:
            ctx: what ``forward`` kept.
            grad_hidden: of the hidden states, [N, H].
            grad_last: of the last state, each part [B, H].
        """
        recurrent, candidate_bias, scale, first, hidden, *saved = ctx.saved_tensors
        job, (_, _, _, need_recurrent, need_bias, *_) = ctx.job, ctx.needs_input_grad
        operands = BackwardOperands(recurrent, candidate_bias, scale, grad_hidden, grad_last)
        grads = ctx.engine.backward(job, operands, tuple(saved))
        grad_recurrent = grad_bias = None
        if need_recurrent:
            previous = narrowed(PackedBatch(job.sizes).previous(hidden, first), job.precision)
            grad_recurrent = product(grads.recurrent_product.t(), previous)
        if need_bias:
            grad_bias = grads.recurrent_product[:, -recurrent.shape[1] :].sum(0)
        return None, None, grads.projected, grad_recurrent, grad_bias, grads.scale, *grads.state


def obstacle(recurrence: Recurrence) -> str | None:
    """Why no engine can compute a recurrence, in words; None where one may.

    Args:
        recurrence: what is to be run.
    """
    quantize = recurrence.quantize
    if recurrence.cell.resets_first:
        return "a GRU that resets first"
    if recurrence.weights.projection is not None:
        return "an LSTM with a projection"
    if torch.is_autocast_enabled(recurrence.inputs.device.type):
        return "a layer under autocast"
    if quantize is None:
        return None
    if not isinstance(quantize, ActivationQuantizer):
        return f"a hidden state quantized by {type(quantize).__name__}"
    return f"a hidden state of {quantize.bits} bits" if quantize.spec() is None else None


def recur(
    recurrence: Recurrence, factories: Iterable[EngineFactory]
) -> tuple[Tensor, State] | None:
    """As ``reference.recur``, by the first engine that can compute it.

    Args:
        recurrence: what is run; ``obstacle`` must be None.
        factories: of engines, in the order in which they are tried.

    Returns:
        None where no engine can.
    """
    spec, operands = _prepare(recurrence)
    job = _job(recurrence, spec, operands)
    candidates = (factory(job, operands) for factory in factories)
    engine = next(filter(None, candidates), None)
    if engine is None:
        return None
    if not job.training:
        hidden, last, _ = engine.forward(job, operands)
        return hidden, last
    hidden, *ends = _RecurrenceFunction.apply(job, engine, *operands.flat())  # type: ignore[no-untyped-call]
    return hidden, tuple(ends)


def _prepare(recurrence: Recurrence) -> tuple[QuantSpec | None, Operands]:
    """How the hidden state is quantized, and the tensors that an engine gets."""
    weights, state, quantize = recurrence.weights, recurrence.state, recurrence.quantize
    spec = scale = None
    if isinstance(quantize, ActivationQuantizer):
        spec = quantize.spec()
        scale = None if spec is None else quantize.scale()
    first = state[0] if quantize is None else quantize(state[0])
    projected = linear(recurrence.inputs, weights.input, weights.bias)
    state = (first, *state[1:])
    return spec, Operands(projected, weights.recurrent, weights.candidate_bias, state, scale)


def _job(recurrence: Recurrence, spec: QuantSpec | None, operands: Operands) -> Job:
    """The job of a recurrence.

    Args:
        recurrence: what is run.
        spec: how the hidden state is quantized, or None.
        operands: its tensors; they say which gradients are needed.
    """
    recording = torch.is_grad_enabled()
    tensors = operands.flat()
    needed = [recording and tensor is not None and tensor.requires_grad for tensor in tensors]
    return Job(
        recurrence.cell,
        tuple(recurrence.sizes),
        hidden=spec,
        weight_params=quant_params_of(operands.recurrent),
        precision=current().precision_on(operands.projected.device),
        training=any(needed),
        scale_gradient=needed[3],
        state_gradient=any(needed[4:]),
    )
