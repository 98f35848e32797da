"""How the layers of a language model are initialized."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from autoquant.layers.recurrent import RecurrentLayer

Initializer = Callable[[nn.Module], None]
"""Draws the weights of a layer in place, from torch's random source."""

UNIFORM_BOUND = 0.1


def uniform(layer: nn.Module) -> None:
    """Draw weights of embedding and linear layers uniformly within 0.1 of zero; set biases to 0.

    Args:
        layer: other kinds keep the weights that torch gave them.
    """
    if isinstance(layer, nn.Embedding | nn.Linear):
        nn.init.uniform_(layer.weight, -UNIFORM_BOUND, UNIFORM_BOUND)
    if isinstance(layer, nn.Linear):
        nn.init.zeros_(layer.bias)


def fan_in(layer: nn.Module) -> None:
    """Draw weights of variance 1 / n, where n is the number of values that a unit reads (Bit-RNN).

    A recurrent unit reads input and hidden state. Biases are 0; those of an LSTM's forget gate and
    of a GRU's gates are 1, so that the state is kept at first. The embedding is drawn from [0, 1),
    the range that Bit-RNN assumes of activations.

    Args:
        layer: an embedding, a linear layer, or a stack of recurrent layers of one direction.
    """
    if isinstance(layer, nn.Embedding):
        nn.init.uniform_(layer.weight)
    elif isinstance(layer, nn.Linear):
        _draw_by_fan_in(layer.weight, layer.in_features)
        nn.init.zeros_(layer.bias)
    for module in layer.modules():
        if isinstance(module, RecurrentLayer):
            _initialize_recurrent(module)


@torch.no_grad()
def _initialize_recurrent(layer: RecurrentLayer) -> None:
    """Initialize a layer of one direction."""
    for parameter in layer.parameters():
        if parameter.ndim > 1:
            _draw_by_fan_in(parameter, layer.input_size + layer.units)
        else:
            parameter.zero_()
    i_f_or_r_z = layer.get_parameter("bias")[: 2 * layer.hidden_size]
    if layer.cell.kind == "gru":
        i_f_or_r_z.fill_(1)
    elif layer.cell.candidate == "tanh":  # the other cell adds 1 by itself
        i_f_or_r_z[layer.hidden_size :].fill_(1)


def _draw_by_fan_in(weight: Tensor, features: int) -> None:
    """Draw uniformly with variance 1 / features."""
    bound = math.sqrt(3 / features)
    nn.init.uniform_(weight, -bound, bound)


INITIALIZERS: dict[str, Initializer] = {"uniform": uniform, "fan_in": fan_in}
"""By the name of LanguageModel's setting."""
