"""The weights of a packed recurrent layer, and how its activations are quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.kernels import Cell, State, Weights
from autoquant.layers.recurrent import PROJECTION, run_directions, weights_of
from autoquant.runtime.activation import Activation
from autoquant.runtime.direction import Direction, PackedWeights
from autoquant.runtime.stack_call import StackCall
from autoquant.runtime.weight import ScaledMatrix

Held = ScaledMatrix | Tensor
"""A parameter: packed, or float."""


class LayerOperands(NamedTuple):
    """All that a layer computes with beside its inputs and its state.

    Attributes:
        cell: of the layer.
        directions: parameters of one direction, or of both, by their names in the first.
        inputs: how the inputs are quantized.
        hidden: how the hidden state is.
    """

    cell: Cell
    directions: tuple[Mapping[str, Held], ...]
    inputs: Activation
    hidden: Activation

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of the parts of a state: h, and an LSTM's c."""
        rows, units = shape_of(self.directions[0]["weight_hh"])
        return (units, rows // self.cell.gates) if self.cell.kind == "lstm" else (units,)

    def call(self) -> StackCall | None:
        """The layer as the kernels take it; None where its products cannot run on integers."""
        inputs = self.inputs.codes(shape_of(self.directions[0]["weight_ih"])[1])
        hidden = self.hidden.codes(self.state_widths[0])
        weights = [_packed_weights(self.cell, each) for each in self.directions]
        if inputs is None or hidden is None:
            return None
        directions = [
            Direction(self.cell, each, inputs.params(), hidden.params())
            for each in weights
            if each is not None
        ]
        return StackCall(directions, len(directions)) if len(directions) == len(weights) else None

    def run(
        self, inputs: Tensor, sizes: Sequence[int], states: Sequence[State]
    ) -> tuple[Tensor, list[State]]:
        """Run over time: on integers where they do and no number is NaN, else on decoded weights.

        Args:
            inputs: [N, I], float32 on the CPU, contiguous.
            sizes: how many sequences are active at each time step.
            states: the initial state of each direction, each part [B, W] or, for c, [B, H].

        Returns:
            [N, D*W], and the last state of each direction.
        """
        call = self.call() if inputs.numel() else None
        if call is not None:
            initial = tuple(torch.stack(part) for part in zip(*states, strict=True))
            result = call(inputs, len(sizes), sizes[0], initial, sizes)
            if result is not None:
                return result[0], [*zip(*result[1], strict=True)]
        quantizer, quantize = self.inputs.quantizer(), self.hidden.quantizer()
        rows = inputs if quantizer is None else quantizer(inputs)
        weights = map(self._decoded, self.directions)
        return run_directions(self.cell, rows, sizes, weights, states, quantize)

    def _decoded(self, parameters: Mapping[str, Held]) -> Weights:
        """The weights of one direction."""

        def values(name: str) -> Tensor | None:
            held = parameters.get(name)
            return held.values() if isinstance(held, ScaledMatrix) else held

        return weights_of(self.cell, values)


def shape_of(parameter: Held) -> tuple[int, int]:
    """Rows and columns of a parameter with two axes.

    Args:
        parameter: packed, or float.
    """
    if isinstance(parameter, ScaledMatrix):
        return parameter.rows, parameter.columns
    rows, columns = parameter.shape
    return rows, columns


def _packed_weights(cell: Cell, parameters: Mapping[str, Held]) -> PackedWeights | None:
    """The weights of one direction; None where the kernels cannot read them.

    Args:
        cell: of the layer.
        parameters: of the direction.
    """
    inputs, recurrent = parameters["weight_ih"], parameters["weight_hh"]
    if cell.resets_first or PROJECTION in parameters:
        return None
    if not isinstance(inputs, ScaledMatrix) or not isinstance(recurrent, ScaledMatrix):
        return None
    biases = (parameters.get(name) for name in ("bias", "bias_hn"))
    return PackedWeights(inputs, recurrent, *biases)  # type: ignore[arg-type]


def stack_of(layers: Sequence[LayerOperands]) -> StackCall | None:
    """All layers in one call; None where the products of one cannot run on integers.

    Args:
        layers: first to last.
    """
    calls = [call for call in (layer.call() for layer in layers) if call is not None]
    if len(calls) < len(layers):
        return None
    directions = [direction for call in calls for direction in call.directions]
    return StackCall(directions, len(layers[0].directions))
