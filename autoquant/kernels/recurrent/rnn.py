"""The plain recurrent network over time, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.kernels.matmul import add_product_, narrowed
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import ForwardResult, SavedTensors
from autoquant.kernels.recurrent.loop import LoopGradients, Run, Upstream


class RnnSaved(NamedTuple):
    """What the forward pass saves.

    Attributes:
        hidden: h, [N, H], quantized.
        exact: h before it was quantized, [N, H]; the same tensor where it is not.
        first_hidden: h before the first time step, [B, H].
    """

    hidden: Tensor
    exact: Tensor
    first_hidden: Tensor


class Rnn:
    """A Loop. One-letter names are views of the time steps."""

    def forward(self, run: Run, projected: Tensor, state: State) -> ForwardResult:
        """See ``Loop.forward``."""
        batch, quantizer, weight = run.batch, run.quantizer, run.recurrent.t()
        hidden, h = batch.workspace(projected, run.units, saved=True)
        p = batch.split(projected)
        exact, e = (hidden, h) if quantizer is None else (projected, p)
        h_before = batch.shifted(h, state[0])
        activate_ = torch.tanh_ if run.job.cell.kind == "rnn_tanh" else torch.relu_
        for t in range(len(h)):
            activate_(torch.addmm(p[t], h_before[t], weight, out=e[t]))
            if quantizer is not None:
                quantizer.quantize_(h[t].copy_(e[t]))
        saved = RnnSaved(hidden, exact, state[0])
        return ForwardResult(hidden, (batch.last(h),), saved if run.job.training else ())

    def named(self, saved: SavedTensors) -> RnnSaved:
        """See ``Loop.named``."""
        return RnnSaved(*saved)

    def exact(self, run: Run, saved: RnnSaved) -> Tensor:
        """See ``Loop.exact``."""
        return saved.exact

    def backward(self, run: Run, saved: RnnSaved, upstream: Upstream) -> LoopGradients:
        """See ``Loop.backward``."""
        batch, weight = run.batch, narrowed(run.recurrent, run.job.precision)
        local = _local_gradients(run, upstream)
        first = torch.zeros_like(saved.first_hidden)
        grad_h, grad_a = batch.split(upstream.grad), batch.split(local)
        grad_h_before = batch.shifted(grad_h, first)
        for t in reversed(range(len(grad_h))):
            grad_a[t].mul_(grad_h[t])
            if t or run.job.state_gradient:
                add_product_(grad_h_before[t], grad_a[t], weight)
        return LoopGradients(local, local, (first if run.job.state_gradient else None,))


def _local_gradients(run: Run, upstream: Upstream) -> Tensor:
    """Derivatives of h by the activation's argument within each time step, [N, H]."""
    exact = upstream.exact
    if run.job.cell.kind == "rnn_tanh":
        local = 1 - exact.square()
    else:
        local = (exact <= 0).logical_not_().to(exact.dtype)
    return local if upstream.inside is None else local.mul_(upstream.inside)
