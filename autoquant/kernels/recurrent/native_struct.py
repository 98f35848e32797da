"""The C structure that the compiled recurrences read, and how they are called."""

from __future__ import annotations

import ctypes
from typing import Any

from torch import Tensor

from autoquant.kernels.recurrent.cell import Cell
from autoquant.quantization import native
from autoquant.quantization.codes import Grid
from autoquant.quantization.native.matrix import Int, Pointer

CELLS = {"lstm": 0, "gru": 2, "rnn_tanh": 3, "rnn_relu": 4}
SIGMOID_LSTM = 1
WORTH_A_THREAD = 1 << 20  # multiplications
Int64 = ctypes.c_int64


class RecurrenceJob(ctypes.Structure):
    """recurrence.h: recurrence."""

    _fields_ = [
        ("cell", Int),
        ("steps", Int),
        ("batch", Int),
        ("units", Int),
        ("row0", Int),
        ("row1", Int),
        ("sizes", Pointer),
        ("weight", Pointer),
        ("scales", Pointer),
        ("candidate_bias", Pointer),
        ("scale", ctypes.c_float),
        ("low", Int),
        ("high", Int),
        ("masked", Int),
        ("projected", Pointer),
        ("gates", Pointer),
        ("hidden", Pointer),
        ("h", Pointer),
        ("c", Pointer),
        ("memory", Pointer),
        ("squashed", Pointer),
        ("sums", Pointer),
        ("codes", Pointer),
        ("stride", Int64),
        ("panel", Pointer),
        ("bf16", Int),
        ("panel_scales", Pointer),
        ("h0", Pointer),
        ("c0", Pointer),
        ("grad_hidden", Pointer),
        ("grad_h", Pointer),
        ("grad_c", Pointer),
        ("grad_gates", Pointer),
        ("grad_recurrent", Pointer),
        ("scaled", Pointer),
        ("grad_scale", Pointer),
        ("max_level", ctypes.c_float),
    ]


def cell_number(cell: Cell) -> int:
    """The number of a cell in recurrence.h.

    Args:
        cell: the cell.
    """
    return SIGMOID_LSTM if cell.candidate == "sigmoid" else CELLS[cell.kind]


def describe(cell: Cell, grid: Grid, scale: Tensor, *, masked: bool) -> RecurrenceJob:
    """A structure with all that is known without tensors of a batch.

    Args:
        cell: the cell.
        grid: codes of the hidden state.
        scale: of the hidden state, a scalar.
        masked: whether the gradient of clipped hidden states is zero.
    """
    struct = RecurrenceJob(cell_number(cell))
    struct.scale, struct.max_level = float(scale), grid.max_level
    struct.low, struct.high = grid.qmin, grid.qmax
    struct.masked = int(masked)
    return struct


def on_threads(name: str, struct: RecurrenceJob, rows: int, grad_scales: Any = None) -> int:
    """Run a kernel on shares of the batch's rows, which do not depend on one another.

    Args:
        name: of the kernel: "forward" or "backward".
        struct: what it reads.
        rows: N.
        grad_scales: C array of B doubles; each share writes one at its first row, or None.

    Returns:
        not 0 where a number is NaN.
    """
    kernel = native.function(name, ctypes.c_int if name == "forward" else None)

    def run_share(first: int, end: int) -> int:
        share = RecurrenceJob.from_buffer_copy(struct)
        share.row0, share.row1 = first, end
        if grad_scales is not None:
            offset = first * ctypes.sizeof(ctypes.c_double)
            share.grad_scale = ctypes.addressof(grad_scales) + offset
        return kernel(ctypes.byref(share)) or 0

    row_work = rows * struct.units * struct.units * 4 // max(1, struct.batch)
    return native.parallel(run_share, struct.batch, max(1, WORTH_A_THREAD // max(1, row_work)))
