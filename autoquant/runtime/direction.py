"""One direction of a recurrent layer with packed weights, as the kernels take it."""

from __future__ import annotations

import ctypes

from torch import Tensor

from autoquant.kernels.integer_linear import stride_of
from autoquant.kernels.recurrent.cell import Cell
from autoquant.kernels.recurrent.native import RecurrenceJob, describe
from autoquant.quantization import native
from autoquant.quantization.codes import Rule
from autoquant.runtime.integer_linear import Affine, IntegerLinearCall
from autoquant.runtime.weight import PackedWeight


class DirectionStruct(ctypes.Structure):
    """infer.h: direction."""

    _fields_ = [("affine", IntegerLinearCall), ("recurrence", RecurrenceJob)]


class Direction:
    """All of a direction that does not change from call to call.

    Args:
        bias: [G*H] or None.
        candidate_bias: [H] of a GRU, or None.
        inputs: rule of the layer's inputs.
        state: rule of its hidden state.

    Attributes:
        struct: what the kernels get; points into what this object holds.
        features, units: widths of the inputs and of the hidden state.
        work: multiplications for each row of inputs.
    """

    def __init__(
        self,
        cell: Cell,
        input_weight: PackedWeight,
        recurrent: PackedWeight,
        bias: Tensor | None,
        candidate_bias: Tensor | None,
        inputs: Rule,
        state: Rule,
    ) -> None:
        assert recurrent.matrix is not None
        self.has_memory = cell.kind == "lstm"
        self.features, self.units = input_weight.columns, recurrent.columns
        self.work = recurrent.rows * (input_weight.columns + recurrent.columns)
        self._affine = Affine(input_weight, bias, inputs)
        self._matrix = recurrent.matrix
        scale = state.scale.detach()
        scales = (recurrent.scale.float().reshape(-1) * scale).expand(recurrent.rows)
        self._scales = scales.contiguous()
        self._bias = None if candidate_bias is None else candidate_bias.float().contiguous()
        job = describe(cell, state.grid, scale, masked=False)
        job.units, job.stride = self.units, stride_of(self.units)
        job.weight, job.scales = self._matrix.address, self._scales.data_ptr()
        job.candidate_bias = native.pointer(self._bias)
        self.struct = DirectionStruct(self._affine.call, job)
