"""y = x W^T + b from floats to floats with a packed weight, in one call of a kernel."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.kernels.integer_linear import (
    MAX_COLUMNS,
    WORTH_A_THREAD,
    IntegerLinearJob,
    integer_product,
    stride_of,
)
from autoquant.quantization import native
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.codes import QuantParams
from autoquant.quantization.native.matrix import Pointer
from autoquant.runtime.weight import PackedWeight


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
        weight: whose codes are in the kernels' order.
        bias: [rows of the weight] or None.
        inputs: scale and grid of the inputs; their codes are clipped to the grid.

    Attributes:
        struct: what the kernels get, without inputs and outputs; points into tensors of this
            object. A call copies it, so that several threads may run one model.
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None, inputs: QuantParams) -> None:
        assert weight.matrix is not None
        self._matrix = weight.matrix
        self._inputs = inputs
        self._scales = (weight.scale * inputs.scale).float().reshape(-1)
        self._scales = self._scales.expand(weight.rows).contiguous()
        self._bias = None if bias is None else bias.float().contiguous()
        self._stride = stride_of(weight.columns)
        job = IntegerLinearJob(self._matrix.address, self._scales.data_ptr())
        job.bias = None if self._bias is None else self._bias.data_ptr()
        job.stride, job.block1 = self._stride, self._matrix.struct.blocks
        job.low, job.high = inputs.grid.qmin, inputs.grid.qmax
        self.struct = LinearCallStruct(job=job, scale=float(inputs.scale))

    def __call__(self, inputs: Tensor) -> Tensor | None:
        """Multiply.

        Args:
            inputs: [N, columns], contiguous float32 on the CPU.

        Returns:
            [N, rows of the weight]; None where an input is NaN, which codes cannot be.
        """
        shape = self._matrix.struct
        work = len(inputs) * shape.rows * shape.columns
        if torch.get_num_threads() > 1 and work > 2 * WORTH_A_THREAD:
            return integer_product(inputs, self._matrix, self._inputs, self._scales, self._bias)
        outputs = inputs.new_empty(len(inputs), shape.rows)
        struct, workspace = self._prepare(inputs, outputs)
        has_nan = native.function("linear_call")(ctypes.byref(struct))
        del workspace  # until here the kernel used it
        return None if has_nan else outputs

    def _prepare(self, inputs: Tensor, outputs: Tensor) -> tuple[LinearCallStruct, Tensor]:
        """The structure of a call that computes ``outputs``, and the memory that it works in."""
        rows = len(inputs)
        workspace = inputs.new_empty(rows * (self._stride + 4), dtype=torch.uint8)
        struct = LinearCallStruct.from_buffer_copy(self.struct)
        struct.inputs, struct.rows = inputs.data_ptr(), rows
        job = struct.job
        job.codes = workspace.data_ptr()
        job.sums = workspace.data_ptr() + rows * self._stride
        job.out, job.row1 = outputs.data_ptr(), rows
        return struct, workspace


def integer_inputs(
    quantizer: ActivationQuantizer | None, weight: PackedWeight
) -> QuantParams | None:
    """Scale and grid of layer inputs whose codes can be multiplied with a weight's.

    Args:
        quantizer: of the inputs, or None.
        weight: the other factor.

    Returns:
        None where the inputs or the weight have no codes that the kernels can use.
    """
    spec = None if quantizer is None else quantizer.spec()
    if quantizer is None or spec is None or not spec.clip:
        return None
    if weight.matrix is None or weight.columns >= MAX_COLUMNS:
        return None
    return QuantParams(quantizer.scale().detach(), spec.grid)


def kernels_suit(*tensors: Tensor) -> bool:
    """Whether compiled inference kernels can run: float32 on the CPU, without gradients.

    Args:
        tensors: inputs and states of a call.
    """
    if torch.is_autocast_enabled("cpu") or current().kernel not in ("auto", "native"):
        return False
    recorded = torch.is_grad_enabled()
    return all(
        tensor.is_cpu and tensor.dtype == torch.float32 and not (recorded and tensor.requires_grad)
        for tensor in tensors
    )
