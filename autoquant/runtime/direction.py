"""One direction of a recurrent layer with packed weights, as the kernels take it."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.kernels.integer_linear import stride_of
from autoquant.kernels.recurrent.cell import Cell
from autoquant.kernels.recurrent.native_struct import RecurrenceJob, describe
from autoquant.quantization import native
from autoquant.quantization.codes import QuantParams
from autoquant.runtime.linear_call import LinearCall, LinearCallStruct, checked_grid, row_scales
from autoquant.runtime.weight import ScaledMatrix


class DirectionStruct(ctypes.Structure):
    """infer.h: direction."""

    _fields_ = [("input_product", LinearCallStruct), ("recurrence", RecurrenceJob)]


class PackedWeights(NamedTuple):
    """Weights of one direction whose products can run on integers.

    Attributes:
        input: [G*H, I].
        recurrent: [G*H, H].
        bias: [G*H], or None.
        candidate_bias: [H], of a GRU, or None.
    """

    input: ScaledMatrix
    recurrent: ScaledMatrix
    bias: Tensor | None
    candidate_bias: Tensor | None


class Direction:
    """All of a direction that does not change from call to call.

    Args:
        cell: of the layer; without a projection, and no GRU that resets first.
        weights: of the direction.
        inputs: scale and grid of the layer's inputs.
        hidden: scale and grid of its hidden state.

    Raises:
        UserError: the weights are not of one width.

    Attributes:
        cell: of the layer.
        struct: what the kernels get; points into tensors of this object.
        features: width of the inputs.
        units: width of the hidden state.
        has_cell_state: whether the state has a second part c, as an LSTM's.
        multiplications: for each row of inputs.
    """

    @native.untraced
    def __init__(
        self, cell: Cell, weights: PackedWeights, inputs: QuantParams, hidden: QuantParams
    ) -> None:
        recurrent = weights.recurrent
        _check(cell, weights)
        checked_grid(hidden)
        self.cell = cell
        self.has_cell_state = cell.kind == "lstm"
        self.features, self.units = weights.input.columns, recurrent.columns
        self.multiplications = recurrent.rows * (self.features + self.units)
        self._input_product = LinearCall(weights.input, weights.bias, inputs)
        self._matrix = recurrent.matrix
        self._scales = row_scales(recurrent, hidden)
        bias = weights.candidate_bias
        self._candidate_bias = None if bias is None else bias.detach().float().contiguous()
        job = describe(cell, hidden.grid, hidden.scale, masked=False)
        job.units, job.stride = self.units, stride_of(self.units)
        job.weight = self._matrix.address
        job.scales = native.address(self._scales, torch.float32, recurrent.rows)
        job.candidate_bias = native.address(self._candidate_bias, torch.float32, self.units)
        self.struct = DirectionStruct(self._input_product.struct, job)


def _check(cell: Cell, weights: PackedWeights) -> None:
    """Raise a UserError unless the weights of a direction are those of one width."""
    recurrent, gates = weights.recurrent.matrix.layout, cell.gates
    units = recurrent.columns
    wanted = gates * units, gates if gates > 1 else 1
    if (recurrent.rows, recurrent.gates) != wanted or weights.input.rows != wanted[0]:
        raise UserError(
            f"weights of {cell.kind} must have {wanted[0]} rows for {units} units, "
            f"got {weights.input.rows} and {recurrent.rows}"
        )
