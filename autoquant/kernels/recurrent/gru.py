"""The GRU over time, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.kernels.matmul import add_product_, narrowed
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.engine import ForwardResult, SavedTensors
from autoquant.kernels.recurrent.loop import LoopGradients, Run, Upstream


class GruSaved(NamedTuple):
    """What the forward pass saves.

    Attributes:
        hidden: h, [N, H], quantized.
        gates: r, z and n after their activations, [N, 3*H].
        product: what r multiplies: the candidate's part of the recurrent product with its bias,
            [N, H].
        first_hidden: h before the first time step, [B, H].
    """

    hidden: Tensor
    gates: Tensor
    product: Tensor
    first_hidden: Tensor


class LocalGradients(NamedTuple):
    """Derivatives of h within one time step.

    Attributes:
        product: by the recurrent product, [N, 3*H].
        candidate: by the candidate before its activation, [N, H].
        previous: by the h before, without the recurrent product, [N, H].
    """

    product: Tensor
    candidate: Tensor
    previous: Tensor


class Gru:
    """A Loop. One-letter names are views of the time steps."""

    def forward(self, run: Run, projected: Tensor, state: State) -> ForwardResult:
        """See ``Loop.forward``."""
        batch, units, training = run.batch, run.units, run.job.training
        hidden, h = batch.workspace(projected, units, saved=True)
        products, m = batch.workspace(projected, units, saved=training)
        _, p = batch.workspace(projected, 3 * units, saved=False)
        h_before, weight = batch.shifted(h, state[0]), run.recurrent.t()
        r, z, n = (batch.split(gate) for gate in projected.chunk(3, dim=1))
        r_and_z = batch.split(projected[:, : 2 * units])
        for t in range(len(h)):
            product = torch.mm(h_before[t], weight, out=p[t])
            r_and_z[t].add_(product[:, : 2 * units]).sigmoid_()
            m[t].copy_(product[:, 2 * units :])
            if run.candidate_bias is not None:
                m[t].add_(run.candidate_bias)
            n[t].addcmul_(r[t], m[t]).tanh_()
            torch.sub(h_before[t], n[t], out=h[t]).mul_(z[t]).add_(n[t])
            if run.quantizer is not None:
                run.quantizer.quantize_(h[t])
        saved = GruSaved(hidden, projected, products, state[0])
        return ForwardResult(hidden, (batch.last(h),), saved if training else ())

    def named(self, saved: SavedTensors) -> GruSaved:
        """See ``Loop.named``."""
        return GruSaved(*saved)

    def exact(self, run: Run, saved: GruSaved) -> Tensor:
        """See ``Loop.exact``."""
        _, z, n = saved.gates.chunk(3, dim=1)
        return run.batch.previous(saved.hidden, saved.first_hidden).sub_(n).mul_(z).add_(n)

    def backward(self, run: Run, saved: GruSaved, upstream: Upstream) -> LoopGradients:
        """See ``Loop.backward``."""
        batch, weight, grad = run.batch, narrowed(run.recurrent, run.job.precision), upstream.grad
        local = _local_gradients(run, saved, upstream.inside)
        by_gate = local.product.view(-1, 3, run.units)
        first = torch.zeros_like(saved.first_hidden)
        grad_h, grad_a, h_by_gate, h_by_h = map(
            batch.split, (grad, local.product, by_gate, local.previous)
        )
        grad_h_before = batch.shifted(grad_h, first)
        for t in reversed(range(len(grad_h))):
            h_by_gate[t].mul_(grad_h[t].unsqueeze(1))
            if t or run.job.state_gradient:
                grad_h_before[t].addcmul_(grad_h[t], h_by_h[t])
                add_product_(grad_h_before[t], grad_a[t], weight)
        projected = local.product.clone()
        torch.mul(grad, local.candidate, out=projected[:, 2 * run.units :])
        state = (first if run.job.state_gradient else None,)
        return LoopGradients(projected, local.product, state)


def _local_gradients(run: Run, saved: GruSaved, inside: Tensor | None) -> LocalGradients:
    """Derivatives within each time step.

    Args:
        run: the job and its weights.
        saved: what the forward pass saved.
        inside: as in Upstream.
    """
    r, z, n = saved.gates.chunk(3, dim=1)
    product = 1 - saved.gates
    by_r, by_z, by_n = product.chunk(3, dim=1)
    candidate = torch.addcmul(by_n, by_n, n).mul_(by_z)  # (1 - n) * (1 + n) * (1 - z)
    by_z.mul_(z).mul_(run.batch.previous(saved.hidden, saved.first_hidden).sub_(n))
    previous = z
    if inside is not None:
        previous = z * inside
        by_z.mul_(inside)
        candidate.mul_(inside)
    by_r.mul_(r).mul_(saved.product).mul_(candidate)
    torch.mul(candidate, r, out=by_n)
    return LocalGradients(product, candidate, previous)
