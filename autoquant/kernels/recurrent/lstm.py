"""The LSTM over time and back."""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.kernels.matmul import add_product_, narrowed
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import SavedTensors
from autoquant.kernels.recurrent.local_gradients import sigmoid_back, tanh_back
from autoquant.kernels.recurrent.loop import Run


class Lstm:
    """A Loop. Its tape: h [N, H], gates [N, 4*H], c and squashed c [N, H], first c [B, H]."""

    def forward(
        self, run: Run, projected: Tensor, state: State
    ) -> tuple[Tensor, State, SavedTensors]:
        steps, units, kept = run.steps, run.units, run.job.training
        hidden, h = steps.room(projected, units, kept=True)
        memory, c = steps.room(projected, units, kept=kept)
        squashed, s = steps.room(projected, units, kept=kept)
        h_before, c_before = steps.shifted(h, state[0]), steps.shifted(c, state[1])
        a, weight = steps.split(projected), run.recurrent.t()
        i, f, g, o = (steps.split(gate) for gate in projected.chunk(4, dim=1))
        i_and_f = steps.split(projected[:, : 2 * units])
        tanh = _tanh(run)
        squash = torch.tanh if tanh else torch.sigmoid
        for t in range(len(h)):
            a[t].addmm_(h_before[t], weight)
            if tanh:
                i_and_f[t].sigmoid_()
                o[t].sigmoid_()
                g[t].tanh_()
            else:
                f[t].add_(1)
                a[t].sigmoid_()
            torch.mul(f[t], c_before[t], out=c[t]).addcmul_(i[t], g[t])
            torch.mul(o[t], squash(c[t], out=s[t]), out=h[t])
            if run.rounding is not None:
                run.rounding.round_(h[t])
        last = steps.last(h), steps.last(c) if kept else memory
        return hidden, last, (hidden, projected, memory, squashed, state[1]) if kept else ()

    def exact(self, run: Run, tape: SavedTensors) -> Tensor:
        _, gates, _, squashed, _ = tape
        return gates[:, 3 * run.units :] * squashed

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
        rates, through = _rates(run, tape, inside)
        gates = rates.view(-1, 4, run.units)
        f = steps.split(tape[1][:, run.units : 2 * run.units])
        h, a, s, by_c, by_h = map(steps.split, (grad, rates, through, gates[:, :3], gates[:, 3]))
        first, memory = torch.zeros_like(grad_rest[0]), grad_rest[0].clone()
        h_before = steps.shifted(h, first)
        c, c_of_gates = steps.shared(memory), steps.shared(memory.unsqueeze(1))
        for t in reversed(range(len(h))):
            c[t].addcmul_(h[t], s[t])
            by_c[t].mul_(c_of_gates[t])
            by_h[t].mul_(h[t])
            c[t].mul_(f[t])
            if t or run.job.state_gradient:
                add_product_(h_before[t], a[t], weight)
        return rates, rates, (first, memory) if run.job.state_gradient else (None, None)


def _tanh(run: Run) -> bool:
    """Whether tanh squashes candidate and memory; else the sigmoid."""
    return run.job.cell.candidate == "tanh"


def _rates(run: Run, tape: SavedTensors, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    """How fast c moves with i, f and g, and h with o [N, 4*H], and h with c [N, H]."""
    _, gates, memory, squashed, first = tape
    i, f, g, o = gates.chunk(4, dim=1)
    rates = torch.empty_like(gates)
    by_i, by_f, by_g, by_o = rates.chunk(4, dim=1)
    squash_back = tanh_back if _tanh(run) else sigmoid_back
    sigmoid_back(g, i, out=by_i)
    sigmoid_back(run.steps.before(memory, first), f, out=by_f)
    squash_back(i, g, out=by_g)
    sigmoid_back(squashed, o, out=by_o)
    through = squash_back(o, squashed)
    if inside is not None:
        by_o.mul_(inside)
        through.mul_(inside)
    return rates, through
