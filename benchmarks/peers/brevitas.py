"""Brevitas: QuantLSTM, fake-quantized for training. It has no GRU."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from benchmarks.peers import need

BITS = 4
STATISTICS = 12
"""Forward passes that gather statistics; then Brevitas learns scales, which is faster."""

# Everything that Brevitas quantizes besides weights, inputs and hidden state, switched off.
EQUIVALENT = dict.fromkeys(
    ("bias_quant", "gate_acc_quant", "sigmoid_quant", "tanh_quant", "cell_state_quant")
)


def lstm(module: nn.LSTM, inputs: Tensor, *, equivalent: bool = False) -> nn.Module:
    """A QuantLSTM with a module's weights, after the steps in which it gathers statistics.

    Args:
        module: the float layer.
        inputs: [T, B, I], for the statistics.
        equivalent: quantize weights, inputs and hidden state only, as autoquant does; else what
            Brevitas quantizes by default: gates, their activations, cell state and bias too.

    Raises:
        Absent: Brevitas is not installed.
    """
    need("brevitas")
    from brevitas.nn import QuantLSTM

    switched_off = EQUIVALENT if equivalent else {}
    quantized: nn.Module = QuantLSTM(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        weight_bit_width=BITS,
        io_bit_width=BITS,
        **switched_off,
    )
    quantized.load_state_dict(module.state_dict(), strict=False)  # all but the scales
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(STATISTICS):
            quantized.train()(inputs)
    return quantized
