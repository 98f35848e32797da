"""A recurrent layer whose weights stay packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.kernels import State
from autoquant.layers.recurrent import SUFFIXES, RecurrentLayer
from autoquant.quantization.fake_quantize import ActivationQuantizer
from autoquant.runtime.direction import Direction
from autoquant.runtime.integer_linear import plain, rule_for
from autoquant.runtime.prepared import Prepared
from autoquant.runtime.stack_call import Flow
from autoquant.runtime.weight import PackedWeight


class PackedRecurrentLayer(Prepared, RecurrentLayer):
    """A RecurrentLayer from packed weights; the same states, inputs and outputs.

    Products run on integers where weights, input and hidden state have at most 8 bits; else the
    weights are decoded for the length of the call, one direction at a time.

    Args:
        like: the layer whose cell and sizes it takes.
        parameters: by the names of ``like``'s; packed, or float tensors.
    """

    _ready: tuple[Flow | None] | None

    def __init__(
        self,
        like: RecurrentLayer,
        parameters: Mapping[str, PackedWeight | Tensor],
        input_quantizer: ActivationQuantizer | None,
        hidden_quantizer: ActivationQuantizer | None,
    ) -> None:
        nn.Module.__init__(self)
        self.cell = like.cell
        self.input_size, self.hidden_size = like.input_size, like.hidden_size
        self.proj_size, self.bidirectional = like.proj_size, like.bidirectional
        self.has_bias, self.initial = like.has_bias, like.initial
        self.input_quantizer = input_quantizer
        self.hidden_quantizer = hidden_quantizer
        self.packed = nn.ModuleDict()
        for name, held in parameters.items():
            if isinstance(held, PackedWeight):
                self.packed[name] = held
            else:
                self.register_parameter(name, nn.Parameter(held, requires_grad=False))

    def __getattr__(self, name: str) -> Any:
        """A packed weight by its parameter's name, decoded at each call."""
        packed = self.__dict__.get("_modules", {}).get("packed")
        if packed is not None and name in packed:
            return packed[name].values()
        return super().__getattr__(name)

    def forward(
        self, inputs: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        """See RecurrentLayer; the input is quantized here."""
        parts = [part for state in states for part in state]
        flow = self.flow() if inputs.numel() and plain(inputs, *parts) else None
        if flow is None:
            return self._decoded(inputs, sizes, states)
        given = tuple(torch.stack(part) for part in zip(*states, strict=True))
        result = flow(inputs.contiguous(), len(sizes), sizes[0], given, (len(inputs),), sizes)
        if result is None:
            return self._decoded(inputs, sizes, states)
        outputs, last = result
        return outputs, [*zip(*last, strict=True)]

    def _decoded(
        self, inputs: Tensor, sizes: Sequence[int], states: list[State]
    ) -> tuple[Tensor, list[State]]:
        if self.input_quantizer is not None:
            inputs = self.input_quantizer(inputs)
        return super().forward(inputs, sizes, states)

    def flow(self) -> Flow | None:
        """All of it as the kernels take it; None where they cannot."""
        if self._ready is None:
            found = [self._direction(suffix) for suffix in SUFFIXES[: self.directions]]
            suited = [each for each in found if each is not None]
            self._ready = (Flow(suited, len(found)) if len(suited) == len(found) else None,)
        return self._ready[0]

    def _direction(self, suffix: str) -> Direction | None:
        names = ["weight_ih" + suffix, "weight_hh" + suffix]
        if self.proj_size or self.cell.resets_first or not all(n in self.packed for n in names):
            return None
        first, second = (self.packed[name] for name in names)
        inputs = rule_for(self.input_quantizer, first)  # type: ignore[arg-type]
        state = rule_for(self.hidden_quantizer, second)  # type: ignore[arg-type]
        if inputs is None or state is None:
            return None
        bias, candidate_bias = (getattr(self, name + suffix, None) for name in ("bias", "bias_hn"))
        return Direction(self.cell, first, second, bias, candidate_bias, inputs, state)  # type: ignore[arg-type]
