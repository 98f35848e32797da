"""MACs, bit operations, activation memory and bytes of layers against counts by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

from autoquant.costs.activation_memory import activation_memory
from autoquant.costs.bit_ops import bit_ops
from autoquant.costs.macs import macs
from autoquant.costs.peak_memory import peak_memory
from autoquant.graph.network import Network
from autoquant.graph.prepare import prepare
from autoquant.plan import LayerChoice, Plan
from autoquant.settings import Scheme
from tests import toys
from tests.toys import described, layer_bytes, plan_of


def of(model: nn.Module, **choice: Any) -> tuple[Network, Plan]:
    network = described(prepare(model))
    return network, plan_of(network, LayerChoice(**choice))


def test_linear_by_hand() -> None:
    network, plan = of(nn.Linear(3, 4), weight_bits=2, activation_bits=8)
    assert macs.of(network, plan, Scheme()) == 12
    assert bit_ops.of(network, plan, Scheme()) == 12 * 2 * 8
    assert activation_memory.of(network, plan, Scheme()) == 3 * 8 / 8


def test_three_levels_by_hand() -> None:
    """13 x 7 = 91 codes take 19 bytes; operations are a whole number."""
    network, plan = of(nn.Linear(7, 13), weight_bits=1.6, activation_bits=8)
    assert bit_ops.of(network, plan, Scheme()) == round(91 * 1.6 * 8)
    assert isinstance(bit_ops.of(network, plan, Scheme()), int)
    # codes; scales and biases, 2 bytes each; the input's quantizer
    assert layer_bytes(network, plan, Scheme()) == {"": 19 + 13 * 2 + 13 * 2 + 8}


def test_step_sizes_of_8_bits_by_hand() -> None:
    """A byte for each row and one more; a bias has one step size, in bfloat16."""
    network, plan = of(nn.Linear(7, 13), weight_bits=4, activation_bits=8)
    scheme = Scheme(scale_bits=8, bias_bits=8)
    assert layer_bytes(network, plan, scheme) == {"": 46 + (1 + 13) + (13 + 2) + 8}
    single, plan = of(nn.Linear(7, 1, bias=False), weight_bits=4, activation_bits=8)
    assert layer_bytes(single, plan, scheme) == {"": 4 + 2 + 8}


@pytest.mark.parametrize("directions", [1, 2])
def test_lstm_by_hand(directions: int) -> None:
    """Input 3, hidden 5, four gates."""
    network, plan = of(
        nn.LSTM(3, 5, bidirectional=directions == 2),
        weight_bits=2,
        recurrent_bits=3,
        activation_bits=8,
        hidden_bits=6,
    )
    ih, hh = 4 * 5 * 3, 4 * 5 * 5
    assert macs.of(network, plan, Scheme()) == directions * (ih + hh)
    assert bit_ops.of(network, plan, Scheme()) == directions * (ih * 2 * 8 + hh * 3 * 6)
    # both directions read the one input; each reads its own hidden state
    assert activation_memory.of(network, plan, Scheme()) == (3 * 8 + directions * 5 * 6) / 8


@pytest.mark.parametrize("directions", [1, 2])
def test_projected_lstm_by_hand(directions: int) -> None:
    """Input 3, 5 cells, projected to 2: the projection reads cells, which are not quantized."""
    network, plan = of(
        nn.LSTM(3, 5, proj_size=2, bidirectional=directions == 2),
        weight_bits=2,
        recurrent_bits=3,
        activation_bits=8,
        hidden_bits=6,
    )
    ih, hh, hr = 4 * 5 * 3, 4 * 5 * 2, 2 * 5
    assert macs.of(network, plan, Scheme()) == directions * (ih + hh + hr)
    by_hand = ih * 2 * 8 + hh * 3 * 6 + hr * 3 * 32
    assert bit_ops.of(network, plan, Scheme()) == directions * by_hand
    assert activation_memory.of(network, plan, Scheme()) == (3 * 8 + directions * 2 * 6) / 8
    # each row of a weight has a scale of 2 bytes; biases are 2 bytes each
    packed = sum(math.ceil(count * bits / 8) for count, bits in ((ih, 2), (hh, 3), (hr, 3)))
    rows = packed + 2 * (20 + 20 + 2) + 2 * 20
    quantizers = 2 * 8
    by_layer = layer_bytes(network, plan, Scheme())
    assert by_layer == {"l0": directions * rows + quantizers}


def test_stack_by_hand() -> None:
    """Embedding 15 x 6 -> LSTM 6 -> 8 -> decoder 8 -> 15; the lookup multiplies nothing."""
    network, plan = of(toys.language_model(layers=1), weight_bits=4, activation_bits=8)
    lstm, decoder = 4 * 8 * (6 + 8), 8 * 15
    assert macs.of(network, plan, Scheme()) == lstm + decoder
    assert bit_ops.of(network, plan, Scheme()) == (lstm + decoder) * 4 * 8
    assert activation_memory.of(network, plan, Scheme()) == 6 + 8 + 8


def test_growth_counts_in_operations() -> None:
    network = described(prepare(toys.language_model(layers=1)))
    plan = plan_of(network, LayerChoice(4, 8), rnn__l0=1.5)  # 8 -> 12 units
    assert macs.of(network, plan, Scheme()) == 4 * 12 * (6 + 12) + 12 * 15
    assert activation_memory.of(network, plan, Scheme()) == 6 + 12 + 12


def test_peak_memory_by_hand() -> None:
    """Embedding 15 x 6 -> LSTM 6 -> 8 -> decoder 8 -> 15: outputs in float32, of one layer."""
    network = described(prepare(toys.language_model(layers=1)))
    plan = plan_of(network, LayerChoice(4, 8, hidden_bits=4))
    embedding, lstm, decoder = 4 * 6, 6 + 8 * 4 / 8 + 4 * 8, 8 + 4 * 15
    assert peak_memory.of(network, plan, Scheme()) == max(embedding, lstm, decoder) == decoder
    wide = plan_of(network, LayerChoice(4, 8), rnn__l0=2.0)
    assert peak_memory.of(network, wide, Scheme()) == max(6 + 16 + 4 * 16, 16 + 4 * 15)
