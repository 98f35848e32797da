"""Layers of a recurrent stack, all of their directions and time steps in one call of a kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from operator import ge

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.kernels.recurrent.cell import State
from autoquant.kernels.recurrent.native_struct import WORTH_A_THREAD
from autoquant.quantization import native
from autoquant.quantization.native.library import address, array
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

    Raises:
        UserError: a layer does not read what the layer before it writes.

    Attributes:
        directions: as given.
        features: width of the inputs I.
        width: of a state: that of the widest layer.
        outputs: width of the outputs D*H.
    """

    @native.untraced
    def __init__(self, directions: Sequence[Direction], directions_per_layer: int) -> None:
        _check(directions, directions_per_layer)
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
        first = ctypes.addressof(self._structs)
        self._struct = StackCallStruct(first, directions_per_layer, self.width)
        self._struct.layers = self._struct.layer1 = self._layers
        self._struct.direction1 = directions_per_layer
        self._kernel = native.function("stack_call")

    @native.untraced
    def __call__(
        self,
        inputs: Tensor,
        steps: int,
        batch: int,
        initial: State | None,
        sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, State] | None:
        """Run over time.

        Args:
            inputs: [N, I] in any shape, the time steps one after the other; contiguous float32 on
                the CPU, like the states.
            steps: number of time steps T.
            batch: number of sequences B.
            initial: the initial state, each part [L*D, B, W] with the width of the widest layer;
                None for zeros.
            sizes: how many sequences are active at each time step, non-increasing from B on; None
                if always all.

        Returns:
            outputs [N, D*H] ([T, B, D*H] without sizes), and the last state, laid out as the
            initial one; None where a number is NaN.

        Raises:
            UserError: a tensor is of another type or size.
        """
        rows = steps * batch if sizes is None else _rows(sizes, steps, batch)
        lead = (steps, batch) if sizes is None else (rows,)
        struct = StackCallStruct.from_buffer_copy(self._struct)
        struct.steps, struct.batch, struct.row1 = steps, batch, batch
        struct.inputs = address(inputs, torch.float32, rows * self.features)
        if initial is not None:
            entries = len(self.directions) * batch * self.width
            struct.h0 = address(initial[0], torch.float32, entries)
            if self._has_cell_state:
                struct.c0 = address(initial[1], torch.float32, entries)
        c_sizes = None if sizes is None else array(sizes)
        struct.sizes = None if c_sizes is None else ctypes.addressof(c_sizes)
        # the rest is new memory of float32 numbers on the CPU, as the inputs are
        hidden = inputs.new_empty(*lead, self.outputs)
        last = self._new_state(inputs, batch)
        struct.hidden, struct.h = hidden.data_ptr(), last[0].data_ptr()
        if self._has_cell_state:
            struct.c = last[1].data_ptr()
        workspace = self._workspace(inputs, rows)
        struct.workspace = None if workspace is None else workspace.data_ptr()
        return None if self._run(struct, rows) else (hidden, last)

    def _new_state(self, inputs: Tensor, batch: int) -> State:
        shape = len(self.directions), batch, self.width
        h = inputs.new_empty(shape)
        return (h, inputs.new_empty(shape)) if self._has_cell_state else (h,)

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


def _check(directions: Sequence[Direction], directions_per_layer: int) -> None:
    """Raise a UserError unless each layer reads what the layer before it writes.

    Args:
        directions: as for StackCall.
        directions_per_layer: as for StackCall.
    """
    features = directions[0].features if directions else 0
    for first in range(0, len(directions), directions_per_layer):
        layer = directions[first : first + directions_per_layer]
        kinds = {(each.cell, each.features, each.units) for each in layer}
        if kinds != {(directions[0].cell, features, layer[0].units)}:
            came = [(each.cell.kind, each.features, each.units) for each in layer]
            raise UserError(
                f"layer {first // directions_per_layer} of a recurrent stack must have the first "
                f"layer's cell, read {features} features and have one width, got {came}"
            )
        features = len(layer) * layer[0].units


def _rows(sizes: Sequence[int], steps: int, batch: int) -> int:
    """The number of rows of sequences with these sizes.

    Args:
        sizes: as in ``StackCall.__call__``, like all that follow.
        steps: number of time steps.
        batch: number of sequences.

    Raises:
        UserError: the sizes are not those of such sequences.
    """
    falls = all(map(ge, sizes, sizes[1:]))
    if not (len(sizes) == steps and falls and sizes[0] == batch and sizes[-1] >= 0):
        raise UserError(f"{steps} sizes must not increase from {batch} on, got {[*sizes]}")
    return sum(sizes)
