"""A recurrent layer whose weights stay packed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.kernels import State
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer, parameters_of
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.native import is_traced
from autoquant.runtime.activation import Activation
from autoquant.runtime.caching import CachingModule
from autoquant.runtime.layer_operands import Held, LayerOperands
from autoquant.runtime.linear_call import kernels_suit
from autoquant.runtime.recurrence_operator import packed_recurrence
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

    Raises:
        UserError: a parameter does not have the layer's shape.
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
        _check(layer, parameters)
        self.cell = layer.cell
        self.input_size, self.hidden_size = layer.input_size, layer.hidden_size
        self.proj_size, self.bidirectional = layer.proj_size, layer.bidirectional
        self.has_bias, self.initial = layer.has_bias, layer.initial
        self.input_quantizer = input_quantizer
        self.hidden_quantizer = hidden_quantizer
        self.given = {}
        self._names = tuple(
            p.name for p in parameters_of(layer) if not p.name.endswith(SUFFIXES[1])
        )
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
        suits = inputs.numel() and kernels_suit(inputs, *parts)
        result = self._forward_integer(inputs, sizes, states) if suits else None
        if result is None:
            return self._forward_decoded(inputs, sizes, states)
        outputs, last = result
        return outputs, [*zip(*last, strict=True)]

    def _forward_integer(
        self, inputs: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, State] | None:
        """The outputs, and the parts of the last state, [D, B, H]; None where integers do not do.

        Args:
            inputs: as in ``forward``.
            sizes: as in ``forward``.
            states: as in ``forward``.
        """
        initial = tuple(torch.stack(part) for part in zip(*states, strict=True))
        if is_traced(inputs, *initial):
            operands = self.operands()
            if operands is None:
                return None
            batch_sizes = torch.tensor(sizes, device="cpu")
            return packed_recurrence(inputs, batch_sizes, initial, [operands])
        call = self.stack_call()
        if call is None:
            return None
        return call(inputs.contiguous(), len(sizes), sizes[0], initial, sizes)

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
            operands = self.operands()
            self._cached = (None if operands is None else operands.call(),)
        return self._cached[0]

    def operands(self) -> LayerOperands | None:
        """What it computes with; None where a quantizer observes."""
        quantizers = self.input_quantizer, self.hidden_quantizer
        if any(q is not None and q.observed is not None for q in quantizers):
            return None
        directions = tuple(
            {name: self._held(name + suffix) for name in self._names}
            for suffix in SUFFIXES[: self.directions]
        )
        return LayerOperands(self.cell, directions, *map(Activation.of, quantizers))

    def _held(self, name: str) -> Held:
        """A parameter; packed where the kernels can read it.

        Args:
            name: with the suffix of its direction.
        """
        packed = self.packed[name] if name in self.packed else None  # noqa: SIM401 (it has no get)
        matrix = packed.scaled_matrix if isinstance(packed, PackedWeight) else None
        return getattr(self, name) if matrix is None else matrix


def _check(layer: RecurrentLayer, parameters: Parameters) -> None:
    """Raise a UserError unless a layer's parameters have its shapes."""
    for parameter in parameters_of(layer):
        held = parameters.get(parameter.name)
        if held is None:
            raise UserError(f"a recurrent layer must have {parameter.name}, got {[*parameters]}")
        shape = (held.rows, held.columns) if isinstance(held, PackedWeight) else tuple(held.shape)
        if shape != parameter.shape:
            raise UserError(f"{parameter.name} must be {[*parameter.shape]}, got {[*shape]}")


@packed_form(RecurrentLayer)
def pack_recurrent_layer(
    module: RecurrentLayer, parameters: Parameters, quantizers: Quantizers
) -> PackedRecurrentLayer:
    """See ``PackedForm.__call__``: a PackedRecurrentLayer; its weights may be packed or float."""
    names = ("input_quantizer", "hidden_quantizer")
    return PackedRecurrentLayer(module, parameters, *(quantizers.get(name) for name in names))
