"""One direction of a recurrent layer with packed weights, as the kernels take it."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from torch import Tensor

from autoquant.kernels.integer_linear import stride_of
from autoquant.kernels.recurrent.cell import Cell
from autoquant.kernels.recurrent.native_struct import RecurrenceJob, describe
from autoquant.quantization import native
from autoquant.quantization.codes import QuantParams
from autoquant.runtime.linear_call import LinearCall, LinearCallStruct
from autoquant.runtime.weight import PackedWeight


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

    input: PackedWeight
    recurrent: PackedWeight
    bias: Tensor | None
    candidate_bias: Tensor | None


class Direction:
    """All of a direction that does not change from call to call.

    Args:
        cell: of the layer; without a projection, and no GRU that resets first.
        weights: of the direction.
        inputs: scale and grid of the layer's inputs.
        hidden: scale and grid of its hidden state.

    Attributes:
        struct: what the kernels get; points into tensors of this object.
        features: width of the inputs.
        units: width of the hidden state.
        has_cell_state: whether the state has a second part c, as an LSTM's.
        multiplications: for each row of inputs.
    """

    def __init__(
        self, cell: Cell, weights: PackedWeights, inputs: QuantParams, hidden: QuantParams
    ) -> None:
        recurrent = weights.recurrent
        assert recurrent.matrix is not None
        self.has_cell_state = cell.kind == "lstm"
        self.features, self.units = weights.input.columns, recurrent.columns
        self.multiplications = recurrent.rows * (self.features + self.units)
        self._input_product = LinearCall(weights.input, weights.bias, inputs)
        self._matrix = recurrent.matrix
        scales = (recurrent.scale.float().reshape(-1) * hidden.scale).expand(recurrent.rows)
        self._scales = scales.contiguous()
        bias = weights.candidate_bias
        self._candidate_bias = None if bias is None else bias.float().contiguous()
        job = describe(cell, hidden.grid, hidden.scale, masked=False)
        job.units, job.stride = self.units, stride_of(self.units)
        job.weight, job.scales = self._matrix.address, self._scales.data_ptr()
        job.candidate_bias = native.pointer(self._candidate_bias)
        self.struct = DirectionStruct(self._input_product.struct, job)
