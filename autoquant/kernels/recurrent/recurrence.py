"""A recurrence as one step of autograd, whatever engine computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from autoquant.backend import current
from autoquant.kernels.integer_linear import linear
from autoquant.kernels.matmul import narrowed, product
from autoquant.kernels.recurrent.cell import Cell, Quantize, State, Weights
from autoquant.kernels.recurrent.engine import Engine, Job
from autoquant.kernels.recurrent.packed_batch import PackedBatch
from autoquant.quantization.codes import QuantParams, Rule, quant_params_of
from autoquant.quantization.fake_quantize import ActivationQuantizer

EngineFor = Callable[[Job, Tensor, Tensor, State], Engine | None]


class _Recurrence(torch.autograd.Function):
    """(projected, recurrent, candidate bias, scale, *state) -> (hidden, *last state)."""

    @staticmethod
    def forward(
        ctx: Any,
        job: Job,
        engine: Engine,
        projected: Tensor,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        scale: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        hidden, last, tape = engine.forward(job, projected, recurrent, candidate_bias, state, scale)
        ctx.job, ctx.engine = job, engine
        ctx.save_for_backward(recurrent, candidate_bias, scale, state[0], hidden, *tape)
        return hidden, *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, *grad_last: Tensor) -> tuple[Any, ...]:
        recurrent, candidate_bias, scale, first, hidden, *tape = ctx.saved_tensors
        job, (_, _, _, to_recurrent, to_bias, *_) = ctx.job, ctx.needs_input_grad
        projected, by_product, state, grad_scale = ctx.engine.backward(
            job, tuple(tape), recurrent, candidate_bias, scale, grad_hidden, grad_last
        )
        grad_recurrent = grad_bias = None
        if to_recurrent:
            before = narrowed(PackedBatch(job.sizes).before(hidden, first), job.precision)
            grad_recurrent = product(by_product.t(), before)
        if to_bias:
            grad_bias = by_product[:, -recurrent.shape[1] :].sum(0)
        return None, None, projected, grad_recurrent, grad_bias, grad_scale, *state


def obstacle(cell: Cell, inputs: Tensor, weights: Weights, quantize: Quantize | None) -> str | None:
    """What keeps every engine from the job, in words, or None."""
    if cell.resets_first:
        return "a GRU that resets first"
    if weights.projection is not None:
        return "an LSTM with a projection"
    if torch.is_autocast_enabled(inputs.device.type):
        return "a layer under autocast"
    if quantize is None:
        return None
    if not isinstance(quantize, ActivationQuantizer):
        return f"a hidden state quantized by {type(quantize).__name__}"
    return f"a hidden state of {quantize.bits} bits" if quantize.rule() is None else None


def recur(
    cell: Cell,
    inputs: Tensor,
    sizes: Sequence[int],
    weights: Weights,
    state: State,
    quantize: Quantize | None,
    engines: Iterable[EngineFor],
) -> tuple[Tensor, State] | None:
    """As kernels.reference.recur, by the first engine that can; None where none can."""
    rule = quantize.rule() if isinstance(quantize, ActivationQuantizer) else None
    first = state[0] if quantize is None else quantize(state[0])
    projected = linear(inputs, weights.input, weights.bias)
    tensors = projected, weights.recurrent, weights.candidate_bias, rule.scale if rule else None
    state = (first, *state[1:])
    precision = current().precision_on(projected.device)
    job = _job(cell, sizes, rule, quant_params_of(weights.recurrent), precision, (*tensors, *state))
    found = (engine_for(job, projected, weights.recurrent, state) for engine_for in engines)
    engine = next(filter(None, found), None)
    if engine is None:
        return None
    if not job.training:
        hidden, last, _ = engine.forward(job, *tensors[:3], state, tensors[3])
        return hidden, last
    hidden, *ends = _Recurrence.apply(job, engine, *tensors, *state)  # type: ignore[no-untyped-call]
    return hidden, tuple(ends)


def _job(
    cell: Cell,
    sizes: Sequence[int],
    rule: Rule | None,
    coding: QuantParams | None,
    precision: str,
    tensors: tuple[Tensor | None, ...],
) -> Job:
    """``tensors`` are projected, recurrent, candidate bias, scale and the state."""
    recorded = torch.is_grad_enabled()
    wanted = [recorded and each is not None and each.requires_grad for each in tensors]
    return Job(
        cell,
        tuple(sizes),
        grid=rule.grid if rule else None,
        clip=rule.clip if rule else True,
        masked=rule.clip and rule.masked if rule else True,
        coding=coding,
        precision=precision,
        training=any(wanted),
        scale_gradient=wanted[3],
        state_gradient=any(wanted[4:]),
    )
