"""What people write by hand: torch's cell in a loop, fake-quantized at every time step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from autoquant.layers.recurrent import RecurrentLayer
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.fake_quantize import WeightQuantizer

CELLS: dict[str, Any] = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}


class FakeWeight(nn.Module):
    """torch's fake quantization of a weight with a fixed scale for each row.

    Args:
        quantizer: autoquant's, for range and scale.
        weight: [N, K], that the scale is computed for.
    """

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
    """torch's fake quantization of an activation with a fixed scale.

    Args:
        quantizer: autoquant's, for range and scale.
    """

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        assert isinstance(quantizer, ActivationQuantizer)
        self.scale = float(quantizer.scale().detach())
        self.low, self.high = quantizer.grid.qmin, quantizer.grid.qmax

    def forward(self, values: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(values, self.scale, 0, self.low, self.high)


class CellLoop(nn.Module):
    """One layer: a cell whose weights are quantized whenever they are read: at every time step.

    Args:
        layer: autoquant's quantized layer.
    """

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.cell = CELLS[layer.cell.kind](layer.input_size, layer.hidden_size)
        for name in ("weight_ih", "weight_hh"):
            parametrization: Any = layer.parametrizations[name]  # type: ignore[index]
            getattr(self.cell, name).data.copy_(parametrization.original.detach())
            fake = FakeWeight(parametrization[0], parametrization.original)
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
        for step in inputs.unbind(0):
            if self._lstm:
                hidden, memory = self.cell(self.input(step), (hidden, memory))
            else:
                hidden = self.cell(self.input(step), hidden)
            hidden = self.hidden(hidden)
            outputs.append(hidden)
        return torch.stack(outputs)


def stack_of(quantized: Any) -> nn.Module:
    """The same function as autoquant's quantized stack, with fixed scales."""
    return nn.Sequential(*(CellLoop(layer) for layer in quantized.layers))
