"""The GRU over time and back."""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.kernels.matmul import add_product_, narrowed
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import SavedTensors
from autoquant.kernels.recurrent.loop import Run


class Gru:
    """A Loop. Its tape: h [N, H], gates [N, 3*H], what r multiplies [N, H], first h [B, H]."""

    def forward(
        self, run: Run, projected: Tensor, state: State
    ) -> tuple[Tensor, State, SavedTensors]:
        steps, units, kept = run.steps, run.units, run.job.training
        hidden, h = steps.room(projected, units, kept=True)
        reset, m = steps.room(projected, units, kept=kept)
        _, p = steps.room(projected, 3 * units, kept=False)
        h_before, weight = steps.shifted(h, state[0]), run.recurrent.t()
        r, z, n = (steps.split(gate) for gate in projected.chunk(3, dim=1))
        r_and_z = steps.split(projected[:, : 2 * units])
        for t in range(len(h)):
            product = torch.mm(h_before[t], weight, out=p[t])
            r_and_z[t].add_(product[:, : 2 * units]).sigmoid_()
            m[t].copy_(product[:, 2 * units :])
            if run.candidate_bias is not None:
                m[t].add_(run.candidate_bias)
            n[t].addcmul_(r[t], m[t]).tanh_()
            torch.sub(h_before[t], n[t], out=h[t]).mul_(z[t]).add_(n[t])
            if run.rounding is not None:
                run.rounding.round_(h[t])
        return hidden, (steps.last(h),), (hidden, projected, reset, state[0]) if kept else ()

    def exact(self, run: Run, tape: SavedTensors) -> Tensor:
        hidden, gates, _, first = tape
        _, z, n = gates.chunk(3, dim=1)
        return run.steps.before(hidden, first).sub_(n).mul_(z).add_(n)

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
        rates, by_candidate, by_before = _rates(run, tape, inside)
        gates, first = rates.view(-1, 3, run.units), torch.zeros_like(tape[3])
        h, a, by_h, through = map(steps.split, (grad, rates, gates, by_before))
        h_before = steps.shifted(h, first)
        for t in reversed(range(len(h))):
            by_h[t].mul_(h[t].unsqueeze(1))
            if t or run.job.state_gradient:
                h_before[t].addcmul_(h[t], through[t])
                add_product_(h_before[t], a[t], weight)
        projected = rates.clone()
        torch.mul(grad, by_candidate, out=projected[:, 2 * run.units :])
        return projected, rates, (first if run.job.state_gradient else None,)


def _rates(run: Run, tape: SavedTensors, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """How fast h moves with the recurrent product [N, 3*H], the candidate and the h before."""
    hidden, gates, reset, first = tape
    r, z, n = gates.chunk(3, dim=1)
    rates = 1 - gates
    by_r, by_z, by_n = rates.chunk(3, dim=1)
    by_candidate = torch.addcmul(by_n, by_n, n).mul_(by_z)  # (1 - n) * (1 + n) * (1 - z)
    by_z.mul_(z).mul_(run.steps.before(hidden, first).sub_(n))
    by_before = z
    if inside is not None:
        by_before = z * inside
        by_z.mul_(inside)
        by_candidate.mul_(inside)
    by_r.mul_(r).mul_(reset).mul_(by_candidate)
    torch.mul(by_candidate, r, out=by_n)
    return rates, by_candidate, by_before
