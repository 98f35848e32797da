"""A recurrent layer whose weights stay packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.kernels import State
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.runtime.caching import CachingModule
from autoquant.runtime.direction import Direction, PackedWeights
from autoquant.runtime.linear_call import integer_inputs, kernels_suit
from autoquant.runtime.registry import Parameters, Quantizers, packed_form
from autoquant.runtime.stack_call import StackCall
from autoquant.runtime.weight import PackedWeight


class PackedRecurrentLayer(CachingModule, RecurrentLayer):
    """A RecurrentLayer with packed weights; the same states, inputs and outputs.

    Products run on integers where weights, input and hidden state have at most 8 bits; else the
    weights are decoded for the duration of the call, one direction at a time.

    Args:
        layer: the layer whose cell and sizes it takes.
        parameters: by the names of the layer's; packed, or float tensors.
        input_quantizer: of the layer's inputs, or None.
        hidden_quantizer: of its hidden state, or None.
    """

    _cached: tuple[StackCall | None] | None

    input_quantizer: ActivationQuantizer | None
    hidden_quantizer: ActivationQuantizer | None

    def __init__(
        self,
        layer: RecurrentLayer,
        parameters: Parameters,
        input_quantizer: ActivationQuantizer | None,
        hidden_quantizer: ActivationQuantizer | None,
    ) -> None:
        nn.Module.__init__(self)
        self.cell = layer.cell
        self.input_size, self.hidden_size = layer.input_size, layer.hidden_size
        self.proj_size, self.bidirectional = layer.proj_size, layer.bidirectional
        self.has_bias, self.initial = layer.has_bias, layer.initial
        self.input_quantizer = input_quantizer
        self.hidden_quantizer = hidden_quantizer
        self.given = {}
        self.packed = nn.ModuleDict()
        for name, parameter in parameters.items():
            if isinstance(parameter, PackedWeight):
                self.packed[name] = parameter
            else:
                self.register_parameter(name, nn.Parameter(parameter, requires_grad=False))

    def __getattr__(self, name: str) -> Any:
        """A packed weight by its parameter's name, decoded at each call."""
        packed = self.__dict__.get("_modules", {}).get("packed")
        if packed is not None and name in packed:
            return packed[name].values()
        return super().__getattr__(name)

    def forward(
        self, inputs: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """See ``RecurrentLayer.forward``; the input is quantized here."""
        parts = [part for state in states for part in state]
        call = self.stack_call() if inputs.numel() and kernels_suit(inputs, *parts) else None
        if call is None:
            return self._forward_decoded(inputs, sizes, states)
        initial = tuple(torch.stack(part) for part in zip(*states, strict=True))
        lead = (len(inputs),)
        result = call(inputs.contiguous(), len(sizes), sizes[0], initial, lead, sizes)
        if result is None:
            return self._forward_decoded(inputs, sizes, states)
        outputs, last = result
        return outputs, [*zip(*last, strict=True)]

    def _forward_decoded(
        self, inputs: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """See ``RecurrentLayer.forward``: with decoded weights."""
        if self.input_quantizer is not None:
            inputs = self.input_quantizer(inputs)
        return super().forward(inputs, sizes, states)

    def stack_call(self) -> StackCall | None:
        """The layer as the kernels take it; None where they cannot run it."""
        if self._cached is None:
            suffixes = SUFFIXES[: self.directions]
            directions = [*filter(None, (self._direction(suffix) for suffix in suffixes))]
            suits = len(directions) == len(suffixes)
            self._cached = (StackCall(directions, len(suffixes)) if suits else None,)
        return self._cached[0]

    def _direction(self, suffix: str) -> Direction | None:
        names = "weight_ih" + suffix, "weight_hh" + suffix
        if self.proj_size or self.cell.resets_first:
            return None
        if not all(name in self.packed for name in names):
            return None
        weights = PackedWeights(
            self.packed[names[0]],  # type: ignore[arg-type]
            self.packed[names[1]],  # type: ignore[arg-type]
            getattr(self, "bias" + suffix, None),
            getattr(self, "bias_hn" + suffix, None),
        )
        inputs = integer_inputs(self.input_quantizer, weights.input)
        hidden = integer_inputs(self.hidden_quantizer, weights.recurrent)
        if inputs is None or hidden is None:
            return None
        return Direction(self.cell, weights, inputs, hidden)


@packed_form(RecurrentLayer)
def pack_recurrent_layer(
    module: RecurrentLayer, parameters: Parameters, quantizers: Quantizers
) -> PackedRecurrentLayer:
    """See ``PackedForm.__call__``: a PackedRecurrentLayer; its weights may be packed or float."""
    names = ("input_quantizer", "hidden_quantizer")
    return PackedRecurrentLayer(module, parameters, *(quantizers.get(name) for name in names))
