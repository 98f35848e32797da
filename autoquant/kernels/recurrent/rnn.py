"""The plain recurrent network over time and back."""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.kernels.matmul import add_product_, narrowed
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import SavedTensors
from autoquant.kernels.recurrent.loop import Run


class Rnn:
    """A Loop. Its tape: h [N, H], h before it was rounded [N, H], first h [B, H]."""

    def forward(
        self, run: Run, projected: Tensor, state: State
    ) -> tuple[Tensor, State, SavedTensors]:
        steps, rounding, weight = run.steps, run.rounding, run.recurrent.t()
        hidden, h = steps.room(projected, run.units, kept=True)
        given = steps.split(projected)
        exact, e = (hidden, h) if rounding is None else (projected, given)
        h_before = steps.shifted(h, state[0])
        activate_ = torch.tanh_ if run.job.cell.kind == "rnn_tanh" else torch.relu_
        for t in range(len(h)):
            activate_(torch.addmm(given[t], h_before[t], weight, out=e[t]))
            if rounding is not None:
                rounding.round_(h[t].copy_(e[t]))
        return hidden, (steps.last(h),), (hidden, exact, state[0]) if run.job.training else ()

    def exact(self, run: Run, tape: SavedTensors) -> Tensor:
        return tape[1]

    def backward(
        self,
        run: Run,
        tape: SavedTensors,
        exact: Tensor,
        inside: Tensor | None,
        grad: Tensor,
        grad_rest: State,
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        steps, weight = run.steps, narrowed(run.recurrent, run.job.precision)
        tanh = run.job.cell.kind == "rnn_tanh"
        rates = 1 - exact.square() if tanh else (exact <= 0).logical_not_().to(exact.dtype)
        if inside is not None:
            rates.mul_(inside)
        h, a, first = steps.split(grad), steps.split(rates), torch.zeros_like(tape[2])
        h_before = steps.shifted(h, first)
        for t in reversed(range(len(h))):
            a[t].mul_(h[t])
            if t or run.job.state_gradient:
                add_product_(h_before[t], a[t], weight)
        return rates, rates, (first if run.job.state_gradient else None,)
