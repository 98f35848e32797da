"""The LSTM over time and back."""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.kernels.cell import State
from autoquant.kernels.engine import Tape
from autoquant.kernels.loop import Run
from autoquant.kernels.products import add_product_, narrowed


class Lstm:
    """A Loop. Its tape: h [N, H], gates [N, 4*H], c and squashed c [N, H], first c [B, H]."""

    def forward(self, run: Run, projected: Tensor, state: State) -> tuple[Tensor, State, Tape]:
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

    def exact(self, run: Run, tape: Tape) -> Tensor:
        _, gates, _, squashed, _ = tape
        return gates[:, 3 * run.units :] * squashed

    def backward(
        self,
        run: Run,
        tape: Tape,
        exact: Tensor,
        inside: Tensor | None,
        grad: Tensor,
        grad_rest: State,
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
        steps, weight = run.steps, narrowed(run.recurrent, run.job.precision)
        rates, through = _rates(run, tape, exact, inside)
        gates = rates.view(-1, 4, run.units)
        f = steps.split(tape[1][:, run.units : 2 * run.units])
        h, a, s, by_c, by_h = map(steps.split, (grad, rates, through, gates[:, :3], gates[:, 3]))
        first, memory = torch.zeros_like(grad_rest[0]), grad_rest[0].clone()
        h_before = steps.shifted(h, first)
        for t in reversed(range(len(h))):
            c = memory[: len(h[t])].addcmul_(h[t], s[t])
            by_c[t].mul_(c.unsqueeze(1))
            by_h[t].mul_(h[t])
            c.mul_(f[t])
            if t or run.job.state_gradient:
                add_product_(h_before[t], a[t], weight)
        return rates, rates, (first, memory) if run.job.state_gradient else (None, None)


def _tanh(run: Run) -> bool:
    """Whether tanh squashes candidate and memory; else the sigmoid."""
    return run.job.cell.candidate == "tanh"


def _rates(run: Run, tape: Tape, exact: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
    """How fast c moves with i, f and g, and h with o [N, 4*H], and h with c [N, H]."""
    _, gates, memory, squashed, first = tape
    i, f, g, o = gates.chunk(4, dim=1)
    rates = 1 - gates
    by_i, by_f, by_g, by_o = rates.chunk(4, dim=1)
    by_i.mul_(i).mul_(g)
    by_f.mul_(f).mul_(run.steps.before(memory, first))
    by_o.mul_(exact)
    if _tanh(run):
        by_g.addcmul_(by_g, g).mul_(i)  # (1 - g) * (1 + g) * i
        through = torch.addcmul(o, exact, squashed, value=-1)
    else:
        by_g.mul_(g).mul_(i)
        through = torch.addcmul(exact, exact, squashed, value=-1)
    if inside is not None:
        by_o.mul_(inside)
        through.mul_(inside)
    return rates, through
