"""The plain loop over time: obvious, and what every other kernel is tested against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.kernels.cell import Cell, Quantize, State, Weights, step


def recur(
    cell: Cell, inputs: Tensor, weights: Weights, state: State, quantize: Quantize | None
) -> tuple[Tensor, State]:
    """Run one direction over time.

    Args:
        inputs: [T, B, I], already quantized where the plan says so.
        state: initial (h,) or (h, c), each [B, H]; h is quantized like every later one.
        quantize: what is done to each hidden state, or None.

    Returns:
        hidden states [T, B, H] and the last state.
    """
    projected = F.linear(inputs, weights.input, weights.bias)  # [T, B, G*H]
    hidden = state[0] if quantize is None else quantize(state[0])
    state = (hidden, *state[1:])
    outputs = []
    for at_time in projected.unbind(0):
        hidden, *rest = step(cell, at_time, weights, state)
        hidden = hidden if quantize is None else quantize(hidden)
        state = (hidden, *rest)
        outputs.append(hidden)
    return torch.stack(outputs), state
