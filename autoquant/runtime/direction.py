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
from autoquant.kernels.native import RecurrenceJob, describe, on_threads
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
        job = describe(cell, state.grid, self.state_scale, masked=False)
        job.units, job.stride = self.units, self.stride
        job.weight, job.scales = self.matrix.address, self.scales.data_ptr()
        if self.candidate_bias is not None:
            job.candidate_bias = native.pointer(self.candidate_bias)
        self._job = job

    def __call__(
        self, inputs: Tensor, sizes: Sequence[int], state: State, *, alone: bool
    ) -> tuple[Tensor, State] | None:
        """Run over time.

        Args:
            inputs: [N, I], not quantized.
            state: (h,) or (h, c), not quantized.
            alone: whether all of torch's threads are free for this direction.

        Returns:
            hidden states [N, H] and the last state; None where a number is NaN.
        """
        rows, batch = len(inputs), len(state[0])
        hidden = inputs.new_empty(rows, self.units)
        last = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        codes = inputs.new_empty(batch * (2 * self.stride + 4), dtype=torch.uint8)
        steps = array(sizes)
        job = RecurrenceJob.from_buffer_copy(self._job)
        job.steps, job.batch, job.row1 = len(sizes), batch, batch
        job.sizes, job.hidden = ctypes.addressof(steps), hidden.data_ptr()
        job.h, job.c = last[0].data_ptr(), last[1].data_ptr() if len(last) > 1 else None
        job.codes = codes.data_ptr()
        job.sums = codes.data_ptr() + 2 * batch * self.stride
        run = self._on_threads if alone and batch > 1 < torch.get_num_threads() else self._at_once
        return (hidden, last) if run(inputs, job) else None

    def _at_once(self, inputs: Tensor, job: RecurrenceJob) -> bool:
        projected = inputs.new_empty(len(inputs), self.rows)
        affine, room = self.affine.into(inputs, projected)
        job.projected = projected.data_ptr()
        flag = native.function("layer")(ctypes.byref(LayerCall(affine, job)))
        del room  # until here the kernel used it
        return not flag

    def _on_threads(self, inputs: Tensor, job: RecurrenceJob) -> bool:
        projected = self.affine(inputs)
        if projected is None:
            return False
        job.projected = projected.data_ptr()
        return not on_threads("forward", job, len(inputs))
