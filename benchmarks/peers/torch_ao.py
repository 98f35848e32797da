"""torch.ao.quantization: the quantizable LSTM for training, dynamic int8 for inference."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from benchmarks.case import Absent

BITS = 4


def quantizable_lstm(module: nn.LSTM, inputs: Tensor, *, observing: bool = True) -> nn.Module:
    """The quantizable LSTM in quantization-aware training, with a module's weights.

    Args:
        module: the float layer.
        inputs: [T, B, I], for the first ranges.
        observing: as at the beginning of training; later the observed ranges may be frozen, which
            is faster.
    """
    from torch.ao import quantization
    from torch.ao.nn.quantizable import LSTM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized: nn.Module = LSTM.from_float(module.train(), qconfig=_config())
    quantized.train()
    with torch.no_grad():
        for _ in range(3):
            quantized(inputs)
    if not observing:
        quantized.apply(quantization.disable_observer)
    return quantized


def _config() -> object:
    from torch.ao import quantization as ao

    levels = 1 << BITS
    activation = ao.FusedMovingAvgObsFakeQuantize.with_args(
        observer=ao.MovingAverageMinMaxObserver,
        quant_min=0,
        quant_max=levels - 1,
        dtype=torch.quint8,
    )
    weight = ao.FusedMovingAvgObsFakeQuantize.with_args(
        observer=ao.MovingAveragePerChannelMinMaxObserver,
        quant_min=-levels // 2,
        quant_max=levels // 2 - 1,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
    )
    return ao.QConfig(activation=activation, weight=weight)


def dynamic_int8(module: nn.Module) -> nn.Module:
    """Weights in int8, activations quantized in each forward pass."""
    from torch.ao.quantization import quantize_dynamic

    if torch.backends.quantized.engine == "none":
        raise Absent("this build of torch has no quantized engine")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = {nn.Linear, nn.LSTM, nn.GRU}
        holder = quantize_dynamic(nn.Sequential(module), kinds, dtype=torch.qint8)
    quantized: nn.Module = holder[0]
    return quantized
