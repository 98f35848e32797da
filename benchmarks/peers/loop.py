"""What people write by hand: torch's cell in a loop, fake-quantized at every step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoquant.layers.recurrent import RecurrentLayer
from autoquant.quantization.fake_quantize import ActivationQuantizer, WeightQuantizer

CELLS: dict[str, Any] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}


class FakeWeight(nn.Module):
    """torch's fake quantization of a weight, a fixed step size for each row."""

    scale: Tensor
    zeros: Tensor

    def __init__(self, quantizer: WeightQuantizer, weight: Tensor) -> None:
        super().__init__()
        assert quantizer.grid is not None
        assert quantizer.grid.offset == 0
        self.register_buffer("scale", quantizer.scale(weight).detach().flatten())
        self.register_buffer("zeros", torch.zeros(len(self.scale), dtype=torch.int32))
        self.low, self.high = quantizer.grid.qmin, quantizer.grid.qmax

    def forward(self, weight: Tensor) -> Tensor:
        return torch.fake_quantize_per_channel_affine(
            weight, self.scale, self.zeros, 0, self.low, self.high
        )


class FakeActivation(nn.Module):
    """torch's fake quantization of an activation, a fixed step size."""

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        assert isinstance(quantizer, ActivationQuantizer)
        self.scale = float(quantizer.scale().detach())
        self.low, self.high = quantizer.grid.qmin, quantizer.grid.qmax

    def forward(self, values: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(values, self.scale, 0, self.low, self.high)


class Loop(nn.Module):
    """One layer: a cell whose weights are quantized whenever they are read, that is every step."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.cell = CELLS[layer.cell.kind](layer.input_size, layer.hidden_size)
        for name in ("weight_ih", "weight_hh"):
            held: Any = layer.parametrizations[name]  # type: ignore[index]
            getattr(self.cell, name).data.copy_(held.original.detach())
            fake = FakeWeight(held[0], held.original)
            parametrize.register_parametrization(self.cell, name, fake)
        self.cell.bias_ih.data.copy_(layer.bias.detach())  # type: ignore[operator]
        self.cell.bias_hh.data.zero_()
        if layer.cell.kind == "gru":
            self.cell.bias_hh.data[-layer.hidden_size :] = layer.bias_hn.detach()  # type: ignore[operator]
        self.input = FakeActivation(layer.input_quantizer)
        self.hidden = FakeActivation(layer.hidden_quantizer)
        self._lstm = layer.cell.kind == "lstm"

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs.new_zeros(inputs.shape[1], self.cell.hidden_size)
        memory = hidden
        outputs = []
        for at_time in inputs.unbind(0):
            if self._lstm:
                hidden, memory = self.cell(self.input(at_time), (hidden, memory))
            else:
                hidden = self.cell(self.input(at_time), hidden)
            hidden = self.hidden(hidden)
            outputs.append(hidden)
        return torch.stack(outputs)


def loops(quantized: Any) -> nn.Module:
    """The same function as autoquant's quantized stack, step sizes fixed."""
    return nn.Sequential(*(Loop(layer) for layer in quantized.layers))
