"""The compiled engine: integer products forward, float or bfloat16 ones backward.

It suits a recurrent weight and a hidden state that are quantized to at most 8 bits, in float32 on
the CPU. An integer cannot be NaN: where one turns up, the pass is run again by the looped engine.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.errors import UserError
from autoquant.kernels.integer_linear import MAX_COLUMNS
from autoquant.kernels.recurrent.cell import Cell, State
from autoquant.kernels.recurrent.engine import Engine, Gradients, Job, SavedTensors
from autoquant.kernels.recurrent.torch_loop import TorchLoop
from autoquant.quantization import native
from autoquant.quantization.codes import Grid
from autoquant.quantization.native.library import array
from autoquant.quantization.native.matrix import Int, Matrix, Pointer
from autoquant.quantization.native.pointwise import by_rows

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
        ("grad_step", Pointer),
        ("reach", ctypes.c_float),
    ]


def obstacle(job: Job, projected: Tensor, recurrent: Tensor, state: State) -> str | None:
    """Why this engine cannot do a job, or None where it can."""
    if not native.available():
        return "the C kernels were not built"
    for each in (projected, recurrent, *state):
        if each.device.type != "cpu" or each.dtype != torch.float32:
            return f"it needs float32 on the CPU, got {each.dtype} on {each.device.type}"
    if not _fit(job, projected, recurrent, state):
        return "it needs weights and states of one width"
    if job.coding is None or job.grid is None or not by_rows(recurrent, job.coding.scale):
        return "it needs recurrent weights and a hidden state of at most 8 bits"
    if job.grid.offset:
        return "it needs a hidden state with a level at zero"
    if not job.clip and not _bounded(job):
        return "it needs a hidden state that is clipped to its grid"
    return None


def _fit(job: Job, projected: Tensor, recurrent: Tensor, state: State) -> bool:
    """Whether shapes are what they must be; torch has words for those that are not."""
    rows, units = recurrent.shape
    states = all(part.shape == (job.sizes[0], units) for part in state)
    return states and rows == projected.shape[1] == job.cell.gates * units and units < MAX_COLUMNS


def _bounded(job: Job) -> bool:
    """Whether an unclipped state may stay on the grid by itself: Bit-RNN's sigmoid cell."""
    return job.grid is not None and job.cell.candidate == "sigmoid" and job.grid.qmin == 0


def _stays(job: Job, first: Tensor, scale: Tensor) -> bool:
    """Whether the grid reaches to 1, and the first hidden state lies on it."""
    assert job.grid is not None
    end = (job.grid.qmax + 0.5) * float(scale)
    return end >= 1 and not bool(((first < 0) | (first > end)).any())


class Native:
    """One pass forward and, if wanted, back."""

    def __init__(self) -> None:
        self._instead: Engine | None = None  # set where a NaN, or a code outside the grid, came

    def forward(
        self,
        job: Job,
        projected: Tensor,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        state: State,
        scale: Tensor | None,
    ) -> tuple[Tensor, State, SavedTensors]:
        """See kernels.engine.Engine."""
        assert job.coding is not None
        assert scale is not None
        gates = job.cell.gates
        matrix = native.pack_values(recurrent, job.coding, gates if gates > 1 else 1)
        given = projected.contiguous(), tuple(part.contiguous() for part in state)
        result = None
        if matrix.finite and (job.clip or _stays(job, state[0], scale)):
            result = run(job, given[0], matrix, _scales(job), candidate_bias, given[1], scale)
        if result is None:
            self._instead = TorchLoop()
            return self._instead.forward(job, projected, recurrent, candidate_bias, state, scale)
        hidden, last, kept = result
        return hidden, last, (hidden, *kept, *given[1]) if job.training else ()

    def backward(
        self,
        job: Job,
        tape: SavedTensors,
        recurrent: Tensor,
        candidate_bias: Tensor | None,
        scale: Tensor | None,
        grad_hidden: Tensor,
        grad_last: State,
    ) -> Gradients:
        """See kernels.engine.Engine."""
        if self._instead is not None:
            rest = (recurrent, candidate_bias, scale, grad_hidden, grad_last)
            return self._instead.backward(job, tape, *rest)
        assert scale is not None
        return _back(job, tape, recurrent, scale, grad_hidden, grad_last)


def _scales(job: Job) -> Tensor:
    assert job.coding is not None
    return job.coding.scale.detach().float().reshape(-1)


def describe(cell: Cell, grid: Grid, scale: Tensor, *, masked: bool) -> RecurrenceJob:
    """The job of a cell whose hidden state has a grid and a step size; sizes are yet to be set."""
    struct = RecurrenceJob(cell_of(cell))
    struct.scale, struct.reach = float(scale), grid.max_level
    struct.low, struct.high = grid.qmin, grid.qmax
    struct.masked = int(masked)
    return struct


def _describe(job: Job, batch: int, units: int, scale: Tensor) -> RecurrenceJob:
    assert job.grid is not None
    struct = describe(job.cell, job.grid, scale, masked=job.masked and job.clip)
    struct.steps, struct.batch, struct.row1, struct.units = len(job.sizes), batch, batch, units
    return struct


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def run(
    job: Job,
    projected: Tensor,
    matrix: Matrix,
    scales: Tensor,
    candidate_bias: Tensor | None,
    state: State,
    scale: Tensor,
) -> tuple[Tensor, State, SavedTensors] | None:
    """Forward from packed codes; all tensors contiguous float32.

    Args:
        scales: step sizes of the recurrent weight's rows, [G*H] or [1].

    Returns:
        hidden states [N, H], last state, what is kept for the way back (nothing where
        ``job.training`` is not set); None where a hidden state is NaN.
    """
    batch, units = state[0].shape
    rows, width = projected.shape
    struct = _describe(job, batch, units, scale)
    sizes = array(job.sizes)
    stride = -(-units // 32) * 32
    steps = (scales * scale).expand(width).contiguous()
    bias = None
    if candidate_bias is not None:
        bias = candidate_bias.detach().to(projected.dtype).expand(units).contiguous()
    last = tuple(part.clone() for part in state)
    hidden = projected.new_empty(rows, units)
    kept = _room(job, projected, units)
    room = torch.empty(2 * batch * stride, dtype=torch.uint8), torch.empty(batch, dtype=torch.int32)
    struct.sizes, struct.weight = ctypes.addressof(sizes), matrix.address
    struct.scales, struct.candidate_bias = _address(steps), _address(bias)
    struct.projected, struct.hidden = _address(projected), _address(hidden)
    struct.gates, struct.memory, struct.squashed = (_address(part) for part in kept)
    struct.h, struct.c = _address(last[0]), _address(last[1] if len(last) > 1 else None)
    struct.codes, struct.sums, struct.stride = _address(room[0]), _address(room[1]), stride
    if on_threads("forward", struct, rows):
        return None
    return hidden, last, tuple(part for part in kept if part is not None)


def _room(job: Job, projected: Tensor, units: int) -> tuple[Tensor | None, ...]:
    """Memory for what the way back needs: gates, an LSTM's c, its tanh or a GRU's n."""
    if not job.training:
        return None, None, None
    kind, shape = job.cell.kind, (len(projected), units)
    memory = projected.new_empty(shape) if kind == "lstm" else None
    squashed = projected.new_empty(shape) if kind in ("lstm", "gru") else None
    return torch.empty_like(projected), memory, squashed


def on_threads(name: str, struct: RecurrenceJob, rows: int, slopes: Any = None) -> int:
    """Run a kernel for shares of the batch's rows, which do not depend on one another."""
    kernel = native.function(name, ctypes.c_int if name == "forward" else None)

    def share(first: int, end: int) -> int:
        own = RecurrenceJob.from_buffer_copy(struct)
        own.row0, own.row1 = first, end
        if slopes is not None:
            own.grad_step = ctypes.addressof(slopes) + first * ctypes.sizeof(ctypes.c_double)
        return kernel(ctypes.byref(own)) or 0

    each = rows * struct.units * struct.units * 4 // max(1, struct.batch)
    return native.parallel(share, struct.batch, max(1, WORTH_A_THREAD // max(1, each)))


def _back(
    job: Job,
    tape: SavedTensors,
    recurrent: Tensor,
    scale: Tensor,
    grad_hidden: Tensor,
    grad_last: State,
) -> Gradients:
    hidden, gates = tape[:2]
    batch = job.sizes[0]
    rows, width = gates.shape
    units = hidden.shape[1]
    is_lstm, is_gru = job.cell.kind == "lstm", job.cell.kind == "gru"
    memory = tape[2] if is_lstm else None
    squashed = tape[3] if is_lstm else tape[2] if is_gru else None
    start = tape[-2:] if is_lstm else tape[-1:]
    struct = _describe(job, batch, units, scale)
    sizes, slopes = array(job.sizes), (ctypes.c_double * batch)()
    grads = tuple(part.clone(memory_format=torch.contiguous_format) for part in grad_last)
    grad_hidden = grad_hidden.contiguous()
    out = torch.empty_like(gates)
    product = torch.empty_like(gates) if is_gru else out
    bf16 = job.precision == "bfloat16"
    panel, panel_scales = _panel(job, recurrent, bf16)
    scaled = torch.empty(batch * (width + 1), dtype=torch.int16) if bf16 else None
    struct.sizes = ctypes.addressof(sizes)
    struct.gates, struct.memory, struct.squashed = map(_address, (gates, memory, squashed))
    struct.hidden, struct.panel, struct.bf16 = _address(hidden), _address(panel), int(bf16)
    struct.panel_scales, struct.scaled = _address(panel_scales), _address(scaled)
    struct.h0, struct.c0 = _address(start[0]), _address(start[1] if is_lstm else None)
    struct.grad_hidden, struct.grad_h = _address(grad_hidden), _address(grads[0])
    struct.grad_c = _address(grads[1] if is_lstm else None)
    struct.grad_gates, struct.grad_recurrent = _address(out), _address(product)
    on_threads("backward", struct, rows, slopes)
    slope = torch.tensor(sum(slopes), dtype=scale.dtype) if job.scale_gradient else None
    return Gradients(out, product, grads, slope)


def _panel(job: Job, recurrent: Tensor, bf16: bool) -> tuple[Tensor, Tensor | None]:
    """The recurrent weight for products from the left, and its rows' step sizes in bfloat16."""
    depth, units = recurrent.shape
    values, scales = recurrent.detach().contiguous(), _scales(job).contiguous()
    size = native.function("panel_size", Int64)(depth, units, int(bf16))
    panel = torch.zeros(size, dtype=torch.uint8)
    each = int(scales.numel() > 1)
    native.function("fill_panel", None)(
        native.pointer(values),
        native.pointer(scales),
        each,
        depth,
        units,
        int(bf16),
        native.pointer(panel),
    )
    return panel, scales.expand(depth).contiguous() if bf16 else None


def engine_for(job: Job, projected: Tensor, recurrent: Tensor, state: State) -> Engine | None:
    """This engine, where it suits.

    Raises:
        UserError: it does not, and was asked for by name.
    """
    problem = obstacle(job, projected, recurrent, state)
    if problem is None:
        return Native()
    if current().kernel == "native":
        raise UserError(
            f"kernel must be 'auto', 'torch' or 'reference' here ({problem}), got 'native'"
        )
    return None


def cell_of(cell: Cell) -> int:
    """The number by which the kernels know a cell."""
    return SIGMOID_LSTM if cell.candidate == "sigmoid" else CELLS[cell.kind]
