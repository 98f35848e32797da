"""The plain loop over time: obvious, and what every other kernel is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.kernels.recurrent.cell import Cell, Quantize, State, Weights, step


def recur(
    cell: Cell,
    inputs: Tensor,
    sizes: Sequence[int],
    weights: Weights,
    state: State,
    quantize: Quantize | None,
) -> tuple[Tensor, State]:
    """Run one direction over time.

    Args:
        inputs: [N, I], the steps one after the other, already quantized where the plan says so.
        sizes: for each of the T steps how many sequences are still active, as batch_sizes of a
            PackedSequence: non-increasing, from B on, with the sum N. [B] * T for a padded batch.
        state: initial (h,) or (h, c), each [B, H]; h is quantized like every later one.
        quantize: what is done to each hidden state, or None; also to what a GRU that resets first
            computes on the way (see kernels.cell.step).

    Returns:
        hidden states [N, H], and the state [B, H] of each sequence after its own last step. With
        a projection hidden states are P wide.
    """
    projected = F.linear(inputs, weights.input, weights.bias)  # [N, G*H]
    hidden = state[0] if quantize is None else quantize(state[0])
    state = (hidden, *state[1:])
    outputs = []
    for at_time in torch.split(projected, list(sizes)):
        before = tuple(part[: len(at_time)] for part in state)
        hidden, *rest = step(cell, at_time, weights, before, quantize)
        hidden = hidden if quantize is None else quantize(hidden)
        state = tuple(map(_replaced, state, (hidden, *rest)))
        outputs.append(hidden)
    return torch.cat(outputs), state


def _replaced(rows: Tensor, first: Tensor) -> Tensor:
    """``rows`` with the first ones replaced."""
    return first if len(first) == len(rows) else torch.cat([first, rows[len(first) :]])
