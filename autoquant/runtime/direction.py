"""One direction of a recurrent layer with packed weights, in one call of a kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from autoquant import native
from autoquant.coding import Rule
from autoquant.kernels.affine import stride_of
from autoquant.kernels.cell import Cell, State
from autoquant.kernels.native import RecurrenceJob, describe
from autoquant.native.library import array
from autoquant.runtime.affine import Affine, AffineCall
from autoquant.runtime.weight import PackedWeight


class LayerCall(ctypes.Structure):
    """infer.h: layer_call."""

    _fields_ = [("affine", AffineCall), ("recurrence", RecurrenceJob)]


class Direction:
    """Inputs to hidden states, with all that does not change from call to call.

    Args:
        bias: [G*H] or None.
        candidate_bias: [H] of a GRU, or None.
        inputs: rule of the layer's inputs.
        state: rule of its hidden state.
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
        self.affine = Affine(input_weight, bias, inputs)
        self.units, self.rows = recurrent.columns, recurrent.rows
        self.matrix = recurrent.matrix
        self.state_scale = state.scale.detach()
        scales = (recurrent.scale.float().reshape(-1) * self.state_scale).expand(self.rows)
        self.scales = scales.contiguous()
        self.candidate_bias = (
            None if candidate_bias is None else candidate_bias.float().contiguous()
        )
        self.stride = stride_of(self.units)
        job = describe(cell, state.grid, state.scale, masked=False)
        job.units, job.stride = self.units, self.stride
        job.weight, job.scales = self.matrix.address, self.scales.data_ptr()
        if self.candidate_bias is not None:
            job.candidate_bias = native.pointer(self.candidate_bias)
        self._job = job

    def __call__(
        self, inputs: Tensor, sizes: Sequence[int], state: State
    ) -> tuple[Tensor, State] | None:
        """Run over time.

        Args:
            inputs: [N, I], not quantized.
            state: (h,) or (h, c), h quantized.

        Returns:
            hidden states [N, H] and the last state; None where a number is NaN.
        """
        rows, batch = len(inputs), len(state[0])
        projected = torch.empty(rows, self.rows)
        hidden = torch.empty(rows, self.units)
        last = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        call = LayerCall(recurrence=self._job)
        call.affine, room = self.affine.into(inputs, projected)
        codes = torch.empty(batch * (2 * self.stride + 4), dtype=torch.uint8)
        steps = array(sizes)
        job = call.recurrence
        job.steps, job.batch, job.row1 = len(sizes), batch, batch
        job.sizes, job.projected = ctypes.addressof(steps), projected.data_ptr()
        job.hidden, job.h = hidden.data_ptr(), last[0].data_ptr()
        job.c = last[1].data_ptr() if len(last) > 1 else None
        job.codes = codes.data_ptr()
        job.sums = codes.data_ptr() + 2 * batch * self.stride
        flag = native.function("layer")(ctypes.byref(call))
        del room
        return None if flag else (hidden, last)
