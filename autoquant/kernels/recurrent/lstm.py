"""The LSTM over time, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.kernels.matmul import add_product_, narrowed
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import ForwardResult, SavedTensors
from autoquant.kernels.recurrent.local_gradients import sigmoid_back, tanh_back
from autoquant.kernels.recurrent.loop import LoopGradients, Run, Upstream


class LstmSaved(NamedTuple):
    """What the forward pass saves.

    Attributes:
        hidden: h, [N, H], quantized.
        gates: i, f, g and o after their activations, [N, 4*H].
        memory: c, [N, H].
        squashed: tanh or sigmoid of c, [N, H].
        first_memory: c before the first time step, [B, H].
    """

    hidden: Tensor
    gates: Tensor
    memory: Tensor
    squashed: Tensor
    first_memory: Tensor


class LocalGradients(NamedTuple):
    """Derivatives within one time step.

    Attributes:
        gates: of c by i, f and g before their activations, and of h by o; [N, 4*H].
        memory: of h by c, [N, H].
    """

    gates: Tensor
    memory: Tensor


class Lstm:
    """A Loop. One-letter names are views of the time steps; ``a`` are the gates' arguments."""

    def forward(self, run: Run, projected: Tensor, state: State) -> ForwardResult:
        """See ``Loop.forward``."""
        batch, units, training = run.batch, run.units, run.job.training
        hidden, h = batch.workspace(projected, units, saved=True)
        memory, c = batch.workspace(projected, units, saved=training)
        squashed, s = batch.workspace(projected, units, saved=training)
        h_before, c_before = batch.shifted(h, state[0]), batch.shifted(c, state[1])
        a, weight = batch.split(projected), run.recurrent.t()
        i, f, g, o = (batch.split(gate) for gate in projected.chunk(4, dim=1))
        i_and_f = batch.split(projected[:, : 2 * units])
        tanh = _has_tanh(run)
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
            if run.quantizer is not None:
                run.quantizer.quantize_(h[t])
        last = batch.last(h), batch.last(c) if training else memory
        saved = LstmSaved(hidden, projected, memory, squashed, state[1])
        return ForwardResult(hidden, last, saved if training else ())

    def named(self, saved: SavedTensors) -> LstmSaved:
        """See ``Loop.named``."""
        return LstmSaved(*saved)

    def exact(self, run: Run, saved: LstmSaved) -> Tensor:
        """See ``Loop.exact``."""
        return saved.gates[:, 3 * run.units :] * saved.squashed

    def backward(self, run: Run, saved: LstmSaved, upstream: Upstream) -> LoopGradients:
        """See ``Loop.backward``."""
        batch, weight = run.batch, narrowed(run.recurrent, run.job.precision)
        grad_gates, hidden_by_memory = _local_gradients(run, saved, upstream.inside)
        by_gate = grad_gates.view(-1, 4, run.units)
        f = batch.split(saved.gates[:, run.units : 2 * run.units])
        grad_h, grad_a, s = map(batch.split, (upstream.grad, grad_gates, hidden_by_memory))
        c_by_ifg, h_by_o = map(batch.split, (by_gate[:, :3], by_gate[:, 3]))
        (grad_last,) = upstream.grad_rest
        first, memory = torch.zeros_like(grad_last), grad_last.clone()
        grad_h_before = batch.shifted(grad_h, first)
        grad_c, grad_c_of_gates = batch.shared(memory), batch.shared(memory.unsqueeze(1))
        for t in reversed(range(len(grad_h))):
            grad_c[t].addcmul_(grad_h[t], s[t])
            c_by_ifg[t].mul_(grad_c_of_gates[t])
            h_by_o[t].mul_(grad_h[t])
            grad_c[t].mul_(f[t])
            if t or run.job.state_gradient:
                add_product_(grad_h_before[t], grad_a[t], weight)
        state = (first, memory) if run.job.state_gradient else (None, None)
        return LoopGradients(grad_gates, grad_gates, state)


def _has_tanh(run: Run) -> bool:
    """Whether candidate and c are squashed by tanh; else by the sigmoid."""
    return run.job.cell.candidate == "tanh"


def _local_gradients(run: Run, saved: LstmSaved, inside: Tensor | None) -> LocalGradients:
    """Derivatives within each time step.

    Args:
        run: the job and its weights.
        saved: what the forward pass saved.
        inside: as in Upstream.
    """
    i, f, g, o = saved.gates.chunk(4, dim=1)
    gates = torch.empty_like(saved.gates)
    by_i, by_f, by_g, by_o = gates.chunk(4, dim=1)
    squash_back = tanh_back if _has_tanh(run) else sigmoid_back
    sigmoid_back(g, i, out=by_i)
    sigmoid_back(run.batch.previous(saved.memory, saved.first_memory), f, out=by_f)
    squash_back(i, g, out=by_g)
    sigmoid_back(saved.squashed, o, out=by_o)
    memory = squash_back(o, saved.squashed)
    if inside is not None:
        by_o.mul_(inside)
        memory.mul_(inside)
    return LocalGradients(gates, memory)
