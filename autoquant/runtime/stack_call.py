"""Layers of a recurrent stack, all of their directions and steps in one call of a kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.native import WORTH_A_THREAD
from autoquant.quantization import native
from autoquant.quantization.native.library import array
from autoquant.quantization.native.matrix import Int, Pointer
from autoquant.runtime.direction import Direction, DirectionStruct


class FlowStruct(ctypes.Structure):
    """infer.h: flow."""

    _fields_ = [
        ("directions", Pointer),
        ("ways", Int),
        ("width", Int),
        ("steps", Int),
        ("batch", Int),
        ("sizes", Pointer),
        ("inputs", Pointer),
        ("h0", Pointer),
        ("c0", Pointer),
        ("h", Pointer),
        ("c", Pointer),
        ("hidden", Pointer),
        ("between", Pointer),
        ("layers", Int),
        ("layer0", Int),
        ("layer1", Int),
        ("way0", Int),
        ("way1", Int),
        ("row0", Int),
        ("row1", Int),
    ]


class Flow:
    """Inputs to hidden states through layers, with all that does not change from call to call.

    A call has a copy of the structure: several threads may run one model.

    Args:
        directions: of the first layer, of the second, ...
        ways: directions of each layer.
    """

    def __init__(self, directions: Sequence[Direction], ways: int) -> None:
        self.directions = directions
        self._structs = (DirectionStruct * len(directions))(*(each.struct for each in directions))
        self._ways = ways
        self._layers = len(directions) // ways
        self._has_memory = directions[0].has_memory
        self._work = sum(each.work for each in directions)
        self.width = max(each.units for each in directions)
        self.features, self.out = directions[0].features, ways * directions[-1].units
        flow = FlowStruct(ctypes.addressof(self._structs), ways, self.width)
        flow.layers = flow.layer1 = self._layers
        flow.way1 = ways
        self._flow = flow
        self._kernel = native.function("flow")

    def __call__(
        self,
        inputs: Tensor,
        steps: int,
        batch: int,
        given: State | None,
        lead: tuple[int, ...],
        sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, State] | None:
        """Run over time; all tensors contiguous float32 on the CPU.

        Args:
            inputs: [N, I] in any shape, the steps one after the other.
            given: the initial state, each part [L*D, B, W] with the width of the widest layer;
                None for zeros.
            lead: shape of the outputs, without their width.
            sizes: for each step how many sequences are still active; None if always all.

        Returns:
            outputs [*lead, D*H], and the last state, laid out as the initial one; None where a
            number is NaN.
        """
        hidden = inputs.new_empty(*lead, self.out)
        last = self._state(inputs, batch)
        flow = FlowStruct.from_buffer_copy(self._flow)
        flow.steps, flow.batch, flow.row1 = steps, batch, batch
        flow.inputs, flow.hidden = inputs.data_ptr(), hidden.data_ptr()
        flow.h = last[0].data_ptr()
        if self._has_memory:
            flow.c = last[1].data_ptr()
        if given is not None:
            flow.h0, flow.c0 = given[0].data_ptr(), given[-1].data_ptr()
        held = None if sizes is None else array(sizes)
        flow.sizes = None if held is None else ctypes.addressof(held)
        rows = steps * batch if sizes is None else sum(sizes)
        between = self._between(inputs, rows)
        flow.between = None if between is None else between.data_ptr()
        return None if self._run(flow, rows) else (hidden, last)

    def _state(self, like: Tensor, batch: int) -> State:
        count = len(self.directions)
        h = like.new_empty(count, batch, self.width)
        return (h, like.new_empty(count, batch, self.width)) if self._has_memory else (h,)

    def _between(self, like: Tensor, rows: int) -> Tensor | None:
        """Memory for what flows from layer to layer."""
        return like.new_empty(2 * rows * self._ways * self.width) if self._layers > 1 else None

    def _run(self, flow: FlowStruct, rows: int) -> int:
        """The kernel, on several threads where that is worth it; not 0 where a number is NaN."""
        threads, batch = torch.get_num_threads(), flow.batch
        work = rows * self._work
        if threads == 1 or work < 2 * WORTH_A_THREAD:
            return self._kernel(ctypes.byref(flow))  # type: ignore[no-any-return]
        if self._ways > 1 and (threads == 2 or batch < threads):
            return self._by_ways(flow)

        def share(first: int, end: int) -> int:
            return self._part(flow, row0=first, row1=end)

        return native.parallel(share, batch, max(1, WORTH_A_THREAD * batch // work))

    def _by_ways(self, flow: FlowStruct) -> int:
        """A thread for each direction; a layer waits for both directions of the one before."""
        flag = 0
        for i in range(self._layers):

            def share(first: int, end: int, i: int = i) -> int:
                return self._part(flow, layer0=i, layer1=i + 1, way0=first, way1=end)

            flag = flag or native.parallel(share, self._ways)
        return flag

    def _part(self, flow: FlowStruct, **ends: int) -> int:
        own = FlowStruct.from_buffer_copy(flow)
        for name, value in ends.items():
            setattr(own, name, value)
        return self._kernel(ctypes.byref(own))  # type: ignore[no-any-return]
