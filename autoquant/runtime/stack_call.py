"""Layers of a recurrent stack, all of their directions and time steps in one call of a kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.native_struct import WORTH_A_THREAD
from autoquant.quantization import native
from autoquant.quantization.native.library import array
from autoquant.quantization.native.matrix import Int, Pointer
from autoquant.runtime.direction import Direction, DirectionStruct


class StackCallStruct(ctypes.Structure):
    """infer.h: stack_call."""

    _fields_ = [
        ("directions", Pointer),
        ("directions_per_layer", Int),
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
        ("workspace", Pointer),
        ("layers", Int),
        ("layer0", Int),
        ("layer1", Int),
        ("direction0", Int),
        ("direction1", Int),
        ("row0", Int),
        ("row1", Int),
    ]


class StackCall:
    """A forward pass through recurrent layers: all that does not change from call to call.

    A call copies the structure, so that several threads may run one model.

    Args:
        directions: of the first layer, of the second, ...
        directions_per_layer: 1 or 2.

    Attributes:
        directions: as given.
        features: width of the inputs I.
        width: of a state: that of the widest layer.
        outputs: width of the outputs D*H.
    """

    def __init__(self, directions: Sequence[Direction], directions_per_layer: int) -> None:
        self.directions = directions
        self._structs = (DirectionStruct * len(directions))(
            *(direction.struct for direction in directions)
        )
        self._directions_per_layer = directions_per_layer
        self._layers = len(directions) // directions_per_layer
        self._has_cell_state = directions[0].has_cell_state
        self._multiplications = sum(direction.multiplications for direction in directions)
        self.width = max(direction.units for direction in directions)
        self.features = directions[0].features
        self.outputs = directions_per_layer * directions[-1].units
        address = ctypes.addressof(self._structs)
        self._struct = StackCallStruct(address, directions_per_layer, self.width)
        self._struct.layers = self._struct.layer1 = self._layers
        self._struct.direction1 = directions_per_layer
        self._kernel = native.function("stack_call")

    def __call__(
        self,
        inputs: Tensor,
        steps: int,
        batch: int,
        initial: State | None,
        lead: tuple[int, ...],
        sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, State] | None:
        """Run over time; all tensors contiguous float32 on the CPU.

        Args:
            inputs: [N, I] in any shape, the time steps one after the other.
            steps: number of time steps T.
            batch: number of sequences B.
            initial: the initial state, each part [L*D, B, W] with the width of the widest layer;
                None for zeros.
            lead: shape of the outputs, without their width.
            sizes: how many sequences are active at each time step; None if always all.

        Returns:
            outputs [*lead, D*H], and the last state, laid out as the initial one; None where a
            number is NaN.
        """
        hidden = inputs.new_empty(*lead, self.outputs)
        last = self._new_state(inputs, batch)
        struct = StackCallStruct.from_buffer_copy(self._struct)
        struct.steps, struct.batch, struct.row1 = steps, batch, batch
        struct.inputs, struct.hidden = inputs.data_ptr(), hidden.data_ptr()
        struct.h = last[0].data_ptr()
        if self._has_cell_state:
            struct.c = last[1].data_ptr()
        if initial is not None:
            struct.h0, struct.c0 = initial[0].data_ptr(), initial[-1].data_ptr()
        c_sizes = None if sizes is None else array(sizes)
        struct.sizes = None if c_sizes is None else ctypes.addressof(c_sizes)
        rows = steps * batch if sizes is None else sum(sizes)
        workspace = self._workspace(inputs, rows)
        struct.workspace = None if workspace is None else workspace.data_ptr()
        return None if self._run(struct, rows) else (hidden, last)

    def _new_state(self, inputs: Tensor, batch: int) -> State:
        parts = 2 if self._has_cell_state else 1
        shape = len(self.directions), batch, self.width
        return tuple(inputs.new_empty(shape) for _ in range(parts))

    def _workspace(self, inputs: Tensor, rows: int) -> Tensor | None:
        """Memory for the outputs of one layer that are the inputs of the next."""
        if self._layers == 1:
            return None
        return inputs.new_empty(2 * rows * self._directions_per_layer * self.width)

    def _run(self, struct: StackCallStruct, rows: int) -> int:
        """Run the kernel, on several threads if that is worth it; not 0 where a number is NaN."""
        threads, batch = torch.get_num_threads(), struct.batch
        work = rows * self._multiplications
        if threads == 1 or work < 2 * WORTH_A_THREAD:
            return self._kernel(ctypes.byref(struct))  # type: ignore[no-any-return]
        if self._directions_per_layer > 1 and (threads == 2 or batch < threads):
            return self._run_directions_in_parallel(struct)

        def run_rows(first: int, end: int) -> int:
            return self._run_part(struct, row0=first, row1=end)

        return native.parallel(run_rows, batch, max(1, WORTH_A_THREAD * batch // work))

    def _run_directions_in_parallel(self, struct: StackCallStruct) -> int:
        """Run layer by layer: a layer needs both directions of the one before."""
        has_nan = 0
        for layer in range(self._layers):

            def run_directions(first: int, end: int, layer: int = layer) -> int:
                part = {"layer0": layer, "layer1": layer + 1}
                return self._run_part(struct, **part, direction0=first, direction1=end)

            has_nan = has_nan or native.parallel(run_directions, self._directions_per_layer)
        return has_nan

    def _run_part(self, struct: StackCallStruct, **bounds: int) -> int:
        part = StackCallStruct.from_buffer_copy(struct)
        for name, value in bounds.items():
            setattr(part, name, value)
        return self._kernel(ctypes.byref(part))  # type: ignore[no-any-return]
