"""How the layers of a language model start."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from autoquant.layers.recurrent import RecurrentLayer

Initializer = Callable[[nn.Module], None]

SMALL = 0.1


def uniform(layer: nn.Module) -> None:
    """Weights of embedding and linear layers within 0.1 of zero, no bias; others stay as made."""
    if isinstance(layer, nn.Embedding | nn.Linear):
        nn.init.uniform_(layer.weight, -SMALL, SMALL)
    if isinstance(layer, nn.Linear):
        nn.init.zeros_(layer.bias)


def fan_in(layer: nn.Module) -> None:
    """Weights of variance 1 / n, where n is what a unit reads (Bit-RNN).

    A recurrent unit reads input and hidden state. Biases are 0; those of an LSTM's forget gate and
    of a GRU's gates are 1, so that the state is kept at first. The embedding starts in [0, 1), all
    that its activations can be.
    """
    if isinstance(layer, nn.Embedding):
        nn.init.uniform_(layer.weight)
    elif isinstance(layer, nn.Linear):
        _within(layer.weight, layer.in_features)
        nn.init.zeros_(layer.bias)
    for each in layer.modules():
        if isinstance(each, RecurrentLayer):
            _recurrent(each)


@torch.no_grad()
def _recurrent(layer: RecurrentLayer) -> None:
    """A layer of one direction."""
    for parameter in layer.parameters():
        if parameter.ndim > 1:
            _within(parameter, layer.input_size + layer.units)
        else:
            parameter.zero_()
    i_f_or_r_z = layer.get_parameter("bias")[: 2 * layer.hidden_size]
    if layer.cell.kind == "gru":
        i_f_or_r_z.fill_(1)
    elif layer.cell.candidate == "tanh":  # the other cell adds 1 by itself
        i_f_or_r_z[layer.hidden_size :].fill_(1)


def _within(weight: Tensor, features: int) -> None:
    bound = math.sqrt(3 / features)
    nn.init.uniform_(weight, -bound, bound)


INITIALIZERS: dict[str, Initializer] = {"uniform": uniform, "fan_in": fan_in}
