"""The plain loop over time: simple, slow, and what every other kernel is tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.kernels.recurrent.cell import Recurrence, State, step


def recur(recurrence: Recurrence) -> tuple[Tensor, State]:
    """Run one direction over time.

    Args:
        recurrence: what is run.

    Returns:
        hidden states [N, H], and the state [B, H] of each sequence after its own last time step.
        With a projection hidden states are P wide.
    """
    weights, state, quantize = recurrence.weights, recurrence.state, recurrence.quantize
    projected = F.linear(recurrence.inputs, weights.input, weights.bias)  # [N, G*H]
    hidden = state[0] if quantize is None else quantize(state[0])
    state = (hidden, *state[1:])
    outputs = []
    for projected_step in torch.split(projected, list(recurrence.sizes)):
        before = tuple(part[: projected_step.shape[0]] for part in state)
        hidden, *rest = step(recurrence.cell, projected_step, weights, before, quantize)
        hidden = hidden if quantize is None else quantize(hidden)
        state = tuple(map(_with_first_rows, state, (hidden, *rest)))
        outputs.append(hidden)
    return torch.cat(outputs), state


def _with_first_rows(rows: Tensor, first: Tensor) -> Tensor:
    """``rows`` with the first ones replaced by ``first``."""
    return first if first.shape[0] == rows.shape[0] else torch.cat([first, rows[first.shape[0] :]])
