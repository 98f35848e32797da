"""y = x W^T + b from floats to floats with a packed weight, in one call of a kernel."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.errors import UserError
from autoquant.kernels.integer_linear import (
    WORTH_A_THREAD,
    IntegerLinearJob,
    integer_product,
    stride_of,
)
from autoquant.quantization import native
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import QuantParams
from autoquant.quantization.native.matrix import Pointer
from autoquant.quantization.native.tracing import is_differentiated
from autoquant.runtime.activation import Activation, ActivationCodes
from autoquant.runtime.weight import ScaledMatrix

_is_dynamo_compiling = torch.compiler.is_dynamo_compiling  # bound once, as in native/tracing.py


class LinearCallStruct(ctypes.Structure):
    """infer.h: linear_call."""

    _fields_ = [
        ("job", IntegerLinearJob),
        ("inputs", Pointer),
        ("rows", ctypes.c_int64),
        ("scale", ctypes.c_float),
    ]


class LinearCall:
    """The product with one packed weight: all that does not change from call to call.

    Args:
        weight: the weight.
        bias: [rows of the weight] or None.
        inputs: scale and grid of the inputs; their codes are clipped to the grid.

    Attributes:
        struct: what the kernels get, without inputs and outputs; points into tensors of this
            object. A call copies it, so that several threads may run one model.
    """

    @native.untraced
    def __init__(self, weight: ScaledMatrix, bias: Tensor | None, inputs: QuantParams) -> None:
        self._matrix, layout = weight.matrix, weight.matrix.layout
        self._inputs = inputs
        self._rows, self._columns = layout.rows, layout.columns
        self._scales = row_scales(weight, inputs)
        self._bias = None if bias is None else bias.detach().float().contiguous()
        self._stride = stride_of(layout.columns)
        job = IntegerLinearJob(self._matrix.address)
        job.scales = native.address(self._scales, torch.float32, layout.rows)
        job.bias = native.address(self._bias, torch.float32, layout.rows)
        job.stride, job.block1 = self._stride, layout.blocks
        job.low, job.high = checked_grid(inputs)
        self.struct = LinearCallStruct(job=job, scale=float(inputs.scale))
        self._kernel = native.function("linear_call")

    @native.untraced
    def __call__(self, inputs: Tensor) -> Tensor | None:
        """Multiply.

        Args:
            inputs: [N, columns], contiguous float32 on the CPU.

        Returns:
            [N, rows of the weight]; None where an input is NaN, which codes cannot be.

        Raises:
            UserError: the inputs are of another type or size.
        """
        rows = inputs.shape[0]
        work = rows * self._rows * self._columns
        if torch.get_num_threads() > 1 and work > 2 * WORTH_A_THREAD:
            return integer_product(inputs, self._matrix, self._inputs, self._scales, self._bias)
        outputs = inputs.new_empty(rows, self._rows)
        struct, workspace = self._prepare(inputs, outputs)
        has_nan = self._kernel(ctypes.byref(struct))
        del workspace  # until here the kernel used it
        return None if has_nan else outputs

    def _prepare(self, inputs: Tensor, outputs: Tensor) -> tuple[LinearCallStruct, Tensor]:
        """The structure of a call that computes ``outputs``, and the memory that it works in."""
        rows = inputs.shape[0]
        struct = LinearCallStruct.from_buffer_copy(self.struct)
        struct.inputs = native.address(inputs, torch.float32, rows * self._columns)
        struct.rows = rows
        workspace = inputs.new_empty(rows * (self._stride + 4), dtype=torch.uint8)
        job = struct.job
        job.codes = workspace.data_ptr()
        job.sums = workspace.data_ptr() + rows * self._stride
        job.out, job.row1 = outputs.data_ptr(), rows
        return struct, workspace


def row_scales(weight: ScaledMatrix, inputs: QuantParams) -> Tensor:
    """For each row of a weight its scale times that of the codes it is multiplied with, [rows].

    Args:
        weight: of any layer.
        inputs: of the other factor; their scale is one number.
    """
    scales = (weight.scale * inputs.scale).detach().float().reshape(-1)
    return scales.expand(weight.rows).contiguous()


def checked_grid(inputs: QuantParams) -> tuple[int, int]:
    """The smallest and the largest code of inputs, if the kernels can hold such codes.

    Args:
        inputs: their grid.

    Raises:
        UserError: they cannot.
    """
    grid = inputs.grid
    if grid.offset or not (-128 <= grid.qmin <= 0 < grid.qmax <= grid.qmin + 255):
        raise UserError(f"codes of inputs must be 8 bits with a level at zero, got {grid}")
    return grid.qmin, grid.qmax


def input_codes(quantizer: ActivationQuantizer | None, columns: int) -> ActivationCodes | None:
    """The codes of an activation, where they can be multiplied with those of a weight.

    Args:
        quantizer: of the activation, or None.
        columns: of the weight.

    Returns:
        None where the activation has no codes that the kernels can use.
    """
    if quantizer is None or quantizer.spec() is None:
        return None
    return Activation.of(quantizer).codes(columns)


def kernels_suit(*tensors: Tensor) -> bool:
    """Whether compiled inference kernels can run: float32 on the CPU, without gradients.

    Args:
        tensors: inputs and states of a call.
    """
    if torch.is_autocast_enabled("cpu") or is_differentiated(*tensors):
        return False
    # torch.compile cannot look at a context: a compiled model has the default kernels
    if not _is_dynamo_compiling() and current().kernel not in ("auto", "native"):
        return False
    for tensor in tensors:  # noqa: SIM110 (a generator takes longer)
        if tensor.dtype != torch.float32 or not tensor.is_cpu:
            return False
    return True
