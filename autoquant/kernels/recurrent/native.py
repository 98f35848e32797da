"""The compiled engine: integer products forward, float or bfloat16 ones backward.

It computes with a recurrent weight and a hidden state that are quantized to at most 8 bits, in
float32 on the CPU. An integer cannot be NaN: where one occurs, the torch loop runs the pass again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.errors import UserError
from autoquant.kernels.integer_linear import MAX_COLUMNS
from autoquant.kernels.recurrent.engine import (
    BackwardOperands,
    Engine,
    ForwardResult,
    Gradients,
    Job,
    Operands,
    SavedTensors,
)
from autoquant.kernels.recurrent.native_calls import (
    NativeSaved,
    PackedOperands,
    run_backward,
    run_forward,
    weight_scales,
)
from autoquant.kernels.recurrent.registry import engine
from autoquant.kernels.recurrent.torch_loop import TorchLoop
from autoquant.quantization import native
from autoquant.quantization.codes import QuantSpec
from autoquant.quantization.native.pointwise import has_row_scales


class Native:
    """An Engine for one job."""

    def __init__(self) -> None:
        self._fallback: Engine | None = None  # after a NaN, or a code outside of the grid

    def forward(self, job: Job, operands: Operands) -> ForwardResult:
        """See ``Engine.forward``."""
        result = self._forward(job, operands)
        if result is not None:
            return result
        self._fallback = TorchLoop()
        return self._fallback.forward(job, operands)

    def _forward(self, job: Job, operands: Operands) -> ForwardResult | None:
        """The same in C; None without rows, for a NaN, or where a code may leave the grid."""
        if not len(operands.projected):
            return None
        assert job.weight_params is not None
        assert job.hidden is not None
        assert operands.scale is not None
        gates = job.cell.gates
        matrix = native.pack_values(operands.recurrent, job.weight_params, gates)
        projected = operands.projected.contiguous()
        state = tuple(part.contiguous() for part in operands.state)
        on_grid = job.hidden.clip or _stays(job.hidden, operands.state[0], operands.scale)
        if not (matrix.finite and on_grid):
            return None
        bias, scale = operands.candidate_bias, operands.scale
        packed = PackedOperands(projected, matrix, weight_scales(job), bias, state, scale)
        return run_forward(job, packed)

    def backward(self, job: Job, operands: BackwardOperands, saved: SavedTensors) -> Gradients:
        """See ``Engine.backward``."""
        if self._fallback is not None:
            return self._fallback.backward(job, operands, saved)
        return run_backward(job, operands, NativeSaved(*saved))


def obstacle(job: Job, operands: Operands) -> str | None:
    """Why this engine cannot compute a job, in words; None where it can.

    Args:
        job: what is to be computed.
        operands: its tensors.
    """
    if not native.available():
        return "the C kernels were not built"
    recurrent, spec = operands.recurrent, job.hidden
    for tensor in (operands.projected, recurrent, *operands.state):
        if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
            return f"it needs float32 on the CPU, got {tensor.dtype} on {tensor.device.type}"
    if not _shapes_fit(job, operands):
        return "it needs weights and states of one width"
    params = job.weight_params
    if params is None or spec is None or not has_row_scales(recurrent, params.scale):
        return "it needs recurrent weights and a hidden state of at most 8 bits"
    if spec.grid.offset:
        return "it needs a hidden state with a level at zero"
    if not spec.clip and not _may_stay(job, spec):
        return "it needs a hidden state that is clipped to its grid"
    return None


def _shapes_fit(job: Job, operands: Operands) -> bool:
    """Whether shapes are what they must be; torch reports those that are not."""
    rows, units = operands.recurrent.shape
    states = all(part.shape == (job.sizes[0], units) for part in operands.state)
    width = operands.projected.shape[1]
    return states and units > 0 and rows == width == job.cell.gates * units and units < MAX_COLUMNS


def _may_stay(job: Job, spec: QuantSpec) -> bool:
    """Whether an unclipped state may stay on the grid by itself: Bit-RNN's sigmoid cell."""
    return job.cell.candidate == "sigmoid" and spec.grid.qmin == 0


def _stays(spec: QuantSpec, first: Tensor, scale: Tensor) -> bool:
    """Whether the grid reaches to 1, and the initial hidden state lies on it.

    Args:
        spec: of the hidden state.
        first: the initial hidden state, [B, H].
        scale: of the hidden state.
    """
    end = (spec.grid.qmax + 0.5) * float(scale)
    return end >= 1 and not bool(((first < 0) | (first > end)).any())


@engine("native", before="torch")
def native_engine(job: Job, operands: Operands) -> Engine | None:
    """A new engine, where it can compute the job.

    Args:
        job: what is computed.
        operands: the tensors.

    Raises:
        UserError: it cannot, and was asked for by name.
    """
    problem = obstacle(job, operands)
    if problem is None:
        return Native()
    if current().kernel == "native":
        raise UserError(
            f"kernel must be 'auto', 'torch' or 'reference' here ({problem}), got 'native'"
        )
    return None
