"""torch's own fused recurrences: for a hidden state that is not quantized."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autoquant.kernels.recurrent.cell import Recurrence, State, Weights

_FUSED: dict[str, Any] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "rnn_tanh": torch._VF.rnn_tanh,
    "rnn_relu": torch._VF.rnn_relu,
}


def suits(recurrence: Recurrence) -> bool:
    """Whether ``recur`` can compute it.

    torch recognizes a projection by the different widths of h and c, so one that keeps the width
    is not possible.

    Args:
        recurrence: what is to be run.
    """
    projection = recurrence.weights.projection
    square = projection is not None and projection.shape[0] == projection.shape[1]
    return recurrence.quantize is None and recurrence.cell.candidate == "tanh" and not square


def recur(recurrence: Recurrence) -> tuple[Tensor, State]:
    """As ``reference.recur``, without quantization of the hidden state.

    Args:
        recurrence: what is run; ``suits`` must hold.
    """
    assert suits(recurrence)
    kind, weights, sizes = recurrence.cell.kind, recurrence.weights, recurrence.sizes
    initial = tuple(part.unsqueeze(0) for part in recurrence.state)
    start = initial if kind == "lstm" else initial[0]
    # has_biases, layers, dropout, train, bidirectional
    options = (weights.bias is not None, 1, 0.0, False, False)
    inputs, parameters = recurrence.inputs, _parameters(weights)
    if sizes[0] == sizes[-1] and weights.projection is None:  # oneDNN's kernels, if it has them
        padded = inputs.reshape(len(sizes), sizes[0], inputs.shape[1])
        # the last argument is batch_first
        outputs, *last = _FUSED[kind](padded, start, parameters, *options, False)
        outputs = outputs.flatten(0, 1)
    else:
        lengths = torch.tensor(sizes)  # stay on the CPU
        outputs, *last = _FUSED[kind](inputs, lengths, start, parameters, *options)
    return outputs, tuple(part.squeeze(0) for part in last)


def _parameters(weights: Weights) -> list[Tensor]:
    """Weights in torch's order: input, recurrent, its two biases, projection."""
    parameters = [weights.input, weights.recurrent]
    if weights.bias is not None:
        parameters += [weights.bias, _second_bias(weights)]
    return parameters if weights.projection is None else [*parameters, weights.projection]


def _second_bias(weights: Weights) -> Tensor:
    """The bias that torch adds to the recurrent product: zero except for the GRU's candidate."""
    assert weights.bias is not None
    if weights.candidate_bias is None:
        return torch.zeros_like(weights.bias)
    gates = weights.bias.new_zeros(2 * weights.candidate_bias.numel())
    return torch.cat([gates, weights.candidate_bias])
