"""y = x W^T + b, on integers where both factors are marked with their codes."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from autoquant.backend import Compute, current
from autoquant.kernels.matmul import narrowed, product
from autoquant.quantization import native
from autoquant.quantization.codes import QuantParams, quant_params_of
from autoquant.quantization.native.matrix import Int, Matrix, Pointer
from autoquant.quantization.native.pointwise import by_rows

Int64 = ctypes.c_int64
WORTH_A_THREAD = 1 << 18  # multiplications
MAX_COLUMNS = 1 << 16  # columns whose products of 8-bit codes add up to less than 2^31


class IntegerLinearJob(ctypes.Structure):
    """linear.h: linear_job."""

    _fields_ = [
        ("weight", Pointer),
        ("scales", Pointer),
        ("bias", Pointer),
        ("codes", Pointer),
        ("sums", Pointer),
        ("stride", Int64),
        ("low", Int),
        ("high", Int),
        ("out", Pointer),
        ("row0", Int64),
        ("row1", Int64),
        ("block0", Int),
        ("block1", Int),
    ]


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """inputs [..., K], weight [N, K], bias [N] or None -> [..., N].

    The sums over K are exact integers where inputs and weight are fake-quantized and the compiled
    kernels suit; gradients are float, those of the float product.
    """
    compute = current()
    codings = quant_params_of(inputs), quant_params_of(weight)
    if not _suits(inputs, weight, bias, *codings, compute):
        # else torch sums in another order where the weight wants a gradient than where it does not
        return F.linear(inputs.contiguous(), weight, bias)
    flat = inputs.reshape(-1, inputs.shape[-1]).contiguous()
    result: Tensor = _Linear.apply(flat, weight, bias, *codings, compute)  # type: ignore[no-untyped-call]
    return result.view(*inputs.shape[:-1], -1)


def _suits(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    first: QuantParams | None,
    second: QuantParams | None,
    compute: Compute,
) -> bool:
    if first is None or second is None or compute.kernel not in ("auto", "native"):
        return False
    tensors = [inputs, weight] if bias is None else [inputs, weight, bias]
    plain = all(each.device.type == "cpu" and each.dtype == torch.float32 for each in tensors)
    whole = first.scale.numel() == 1 and first.grid.offset == 0 and by_rows(weight, second.scale)
    return plain and whole and _fit(inputs, weight, bias) and native.available()


def _fit(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether shapes are what they must be; torch has words for those that are not."""
    if weight.ndim != 2 or inputs.numel() == 0 or weight.shape[1] >= MAX_COLUMNS:
        return False
    return inputs.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        of_inputs: QuantParams,
        of_weight: QuantParams,
        compute: Compute,
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.has_bias, ctx.compute = bias is not None, compute
        matrix = native.pack_values(weight, of_weight)
        scales = (of_weight.scale * of_inputs.scale).float().reshape(-1)
        out = integer_product(inputs, matrix, of_inputs, scales, bias)
        if out is None:  # integers cannot hold a NaN
            return F.linear(inputs, weight, bias)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        wanted, precision = ctx.needs_input_grad, ctx.compute.precision_on(grad.device)
        left = right = None
        if wanted[0]:
            left = product(grad, narrowed(weight, precision))
        if wanted[1]:
            right = product(grad.t(), narrowed(inputs, precision))
        bias = grad.sum(0) if ctx.has_bias and wanted[2] else None
        return left, right, bias, None, None, None


def integer_product(
    values: Tensor, matrix: Matrix, coding: QuantParams, scales: Tensor, bias: Tensor | None
) -> Tensor | None:
    """values [rows, K] (quantized on the way) times a matrix [N, K] -> [rows, N].

    Args:
        coding: of the values; one step size.
        scales: [N] or [1], step of a row times step of the values.

    Returns:
        None where a value or a weight is NaN.
    """
    struct = matrix.struct
    stride = stride_of(values.shape[1])
    codes, sums, finite = native.encode(values, float(coding.scale), coding.grid, stride)
    if not (finite and matrix.finite):
        return None
    out = values.new_empty(values.shape[0], struct.rows)
    scales = scales.expand(struct.rows).contiguous()
    bias = None if bias is None else bias.detach().float().contiguous()
    job = IntegerLinearJob(
        matrix.address,
        native.pointer(scales),
        native.pointer(bias),
        native.pointer(codes),
        native.pointer(sums),
        stride,
        coding.grid.qmin,
        coding.grid.qmax,
        native.pointer(out),
        0,
        values.shape[0],
        0,
        struct.blocks,
    )
    _run(job, struct.rows * struct.columns)
    return out


def stride_of(columns: int) -> int:
    """Bytes of a row of activation codes: whole chunks of 32 columns."""
    return -(-columns // 32) * 32


def _run(job: IntegerLinearJob, multiplications: int) -> None:
    """On several threads: shares of the rows, or of the blocks of units where rows are few."""
    kernel = native.function("linear", None)
    by_rows = job.row1 >= 4 * torch.get_num_threads()
    names = ("row0", "row1") if by_rows else ("block0", "block1")
    count = job.row1 if by_rows else job.block1
    each = multiplications * job.row1 // count  # work of one share's item

    def share(first: int, end: int) -> None:
        own = IntegerLinearJob.from_buffer_copy(job)
        setattr(own, names[0], first)
        setattr(own, names[1], end)
        kernel(ctypes.byref(own))

    native.parallel(share, count, least=max(1, WORTH_A_THREAD // max(1, each)))
