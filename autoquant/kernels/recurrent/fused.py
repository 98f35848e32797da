"""torch's own fused recurrences: for a hidden state that is not quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoquant.kernels.recurrent.cell import Cell, Quantize, State, Weights

_FUSED: dict[str, Any] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "rnn_tanh": torch._VF.rnn_tanh,
    "rnn_relu": torch._VF.rnn_relu,
}


def suits(cell: Cell, quantize: Quantize | None, projection: Tensor | None = None) -> bool:
    """Whether ``recur`` computes what is asked for.

    torch knows a projection by h and c of different widths: not one that keeps the width.
    """
    square = projection is not None and projection.shape[0] == projection.shape[1]
    return quantize is None and cell.candidate == "tanh" and not square


def recur(
    cell: Cell,
    inputs: Tensor,
    sizes: Sequence[int],
    weights: Weights,
    state: State,
    quantize: Quantize | None,
) -> tuple[Tensor, State]:
    """As kernels.reference.recur, without quantization of the hidden state."""
    assert suits(cell, quantize, weights.projection)
    initial = tuple(part.unsqueeze(0) for part in state)
    start = initial if cell.kind == "lstm" else initial[0]
    # has_biases, layers, dropout, train, bidirectional
    rest = (weights.bias is not None, 1, 0.0, False, False)
    if sizes[0] == sizes[-1] and weights.projection is None:  # oneDNN's kernels, if it has them
        padded = inputs.reshape(len(sizes), sizes[0], inputs.shape[1])
        # the last argument is batch_first
        outputs, *last = _FUSED[cell.kind](padded, start, _parameters(weights), *rest, False)
        outputs = outputs.flatten(0, 1)
    else:
        packed = inputs, torch.tensor(sizes)  # lengths stay on the CPU
        outputs, *last = _FUSED[cell.kind](*packed, start, _parameters(weights), *rest)
    return outputs, tuple(part.squeeze(0) for part in last)


def _parameters(weights: Weights) -> list[Tensor]:
    """Weights in torch's order: input, recurrent, its two biases, projection."""
    parameters = [weights.input, weights.recurrent]
    if weights.bias is not None:
        parameters += [weights.bias, _second_bias(weights)]
    return parameters if weights.projection is None else [*parameters, weights.projection]


def _second_bias(weights: Weights) -> Tensor:
    """torch adds a second bias to the recurrent product: zero but for the GRU's candidate."""
    assert weights.bias is not None
    if weights.candidate_bias is None:
        return torch.zeros_like(weights.bias)
    gates = weights.bias.new_zeros(2 * weights.candidate_bias.numel())
    return torch.cat([gates, weights.candidate_bias])
