"""The weights of a packed recurrent layer, and how its activations become codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.kernels import Cell, Recurrence, State, Weights, recur
from autoquant.layers.packed_sequence import reverse_sequences
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.runtime.activation import ActivationCodes
from autoquant.runtime.direction import Direction, PackedWeights
from autoquant.runtime.stack_call import StackCall
from autoquant.settings import Scheme


class LayerOperands(NamedTuple):
    """All that a layer computes with beside its inputs and its state.

    Attributes:
        cell: of the layer.
        directions: weights of one direction, or of both.
        inputs: codes of the inputs.
        hidden: codes of the hidden state.
    """

    cell: Cell
    directions: tuple[PackedWeights, ...]
    inputs: ActivationCodes
    hidden: ActivationCodes

    @property
    def units(self) -> int:
        """Width of one direction."""
        return self.directions[0].recurrent.columns

    def call(self) -> StackCall:
        """The layer as the kernels take it."""
        inputs, hidden = self.inputs.params(), self.hidden.params()
        directions = [Direction(self.cell, each, inputs, hidden) for each in self.directions]
        return StackCall(directions, len(directions))

    def run(
        self, inputs: Tensor, sizes: Sequence[int], states: Sequence[State]
    ) -> tuple[Tensor, list[State]]:
        """Run over time, on integers unless a number is NaN.

        Args:
            inputs: [N, I], float32 on the CPU, contiguous.
            sizes: how many sequences are active at each time step.
            states: the initial state of each direction, each part [B, units].

        Returns:
            [N, D*units], and the last state of each direction.
        """
        initial = tuple(torch.stack(part) for part in zip(*states, strict=True))
        if inputs.numel():
            result = self.call()(inputs, len(sizes), sizes[0], initial, sizes)
            if result is not None:
                return result[0], [*zip(*result[1], strict=True)]
        return self._run_decoded(self.inputs.quantize(inputs), sizes, states)

    def _run_decoded(
        self, inputs: Tensor, sizes: Sequence[int], states: Sequence[State]
    ) -> tuple[Tensor, list[State]]:
        """See ``run``; with decoded weights.

        Args:
            inputs: quantized.
            sizes: as in ``run``.
            states: as in ``run``.
        """
        outputs, last, quantize = [], [], _quantizer(self.hidden)
        for i, (packed, state) in enumerate(zip(self.directions, states, strict=True)):
            rows = reverse_sequences(inputs, sizes) if i else inputs
            weights = Weights(
                packed.input.values(), packed.recurrent.values(), packed.bias, packed.candidate_bias
            )
            hidden, end = recur(Recurrence(self.cell, rows, sizes, weights, state, quantize))
            outputs.append(reverse_sequences(hidden, sizes) if i else hidden)
            last.append(end)
        return torch.cat(outputs, -1), last


def _quantizer(codes: ActivationCodes) -> ActivationQuantizer:
    bits = (codes.grid.qmax - codes.grid.qmin).bit_length()
    quantizer = ActivationQuantizer(bits, Scheme()).requires_grad_(False)
    quantizer.restore(float(codes.log_scale), codes.grid.qmin)
    return quantizer


def stack_of(layers: Sequence[LayerOperands]) -> StackCall:
    """All layers in one call.

    Args:
        layers: first to last.
    """
    directions = [direction for layer in layers for direction in layer.call().directions]
    return StackCall(directions, len(layers[0].directions))
