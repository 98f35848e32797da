"""y = x W^T + b, with integer codes where both factors have quantization parameters."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from autoquant.backend import Compute, current
from autoquant.errors import UserError
from autoquant.kernels.matmul import narrowed, product
from autoquant.quantization import native
from autoquant.quantization.codes import QuantParams, has_quant_params, quant_params_of
from autoquant.quantization.native.matrix import Int, Matrix, Pointer
from autoquant.quantization.native.pointwise import has_row_scales

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
    """The linear layer, [..., N].

    The sums over K are exact integers where inputs and weight are fake-quantized and the compiled
    kernels suit; gradients are float, those of the float product.

    Args:
        inputs: [..., K].
        weight: [N, K].
        bias: [N] or None.
    """
    if has_quant_params(inputs) and has_quant_params(weight):
        return _coded_linear(inputs, weight, bias)
    return _float_linear(inputs, weight, bias)


def _float_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See ``linear``; contiguous: else the order of torch's sums depends on needed gradients."""
    return F.linear(inputs.contiguous(), weight, bias)


@native.untraced
def _coded_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See ``linear``; both factors may have codes."""
    compute = current()
    input_params, weight_params = quant_params_of(inputs), quant_params_of(weight)
    if (
        input_params is None
        or weight_params is None
        or compute.kernel not in ("auto", "native")
        or not _suits(inputs, weight, bias, input_params, weight_params)
    ):
        return _float_linear(inputs, weight, bias)
    flat = inputs.reshape(-1, inputs.shape[-1]).contiguous()
    result: Tensor = _Linear.apply(flat, weight, bias, input_params, weight_params, compute)  # type: ignore[no-untyped-call]
    return result.view(*inputs.shape[:-1], -1)


def _suits(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    input_params: QuantParams,
    weight_params: QuantParams,
) -> bool:
    """Whether the integer kernel can compute the product.

    Args:
        inputs: as in ``linear``.
        weight: as in ``linear``.
        bias: as in ``linear``.
        input_params: of the inputs.
        weight_params: of the weight.
    """
    tensors = [inputs, weight] if bias is None else [inputs, weight, bias]
    floats = all(one.is_cpu and one.dtype == torch.float32 for one in tensors)
    one_scale = input_params.scale.numel() == 1 and input_params.grid.offset == 0
    scales = one_scale and has_row_scales(weight, weight_params.scale)
    fits = floats and scales and _shapes_fit(inputs, weight, bias)
    return fits and not native.is_traced(*tensors) and native.available()


def _shapes_fit(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether shapes are what they must be; torch reports those that are not.

    Args:
        inputs: as in ``linear``.
        weight: as in ``linear``.
        bias: as in ``linear``.
    """
    if weight.ndim != 2 or not (inputs.numel() and len(weight)) or weight.shape[1] >= MAX_COLUMNS:
        return False
    return inputs.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])


class _Linear(torch.autograd.Function):
    """The integer product, with the gradients of the float product."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        input_params: QuantParams,
        weight_params: QuantParams,
        compute: Compute,
    ) -> Tensor:
        """Multiply.

        Args:
            ctx: what autograd keeps for backward.
            inputs: [rows, K].
            weight: as in ``linear``.
            bias: as in ``linear``.
            input_params: of the inputs.
            weight_params: of the weight.
            compute: precision of the backward pass.
        """
        ctx.save_for_backward(inputs, weight)
        ctx.has_bias, ctx.compute = bias is not None, compute
        matrix = native.pack_values(weight, weight_params)
        scales = (weight_params.scale * input_params.scale).float().reshape(-1)
        out = integer_product(inputs, matrix, input_params, scales, bias)
        if out is None:  # integers cannot hold a NaN
            return F.linear(inputs, weight, bias)
        return out

    @staticmethod
    @once_differentiable
    @native.untraced
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        need_inputs, need_weight, need_bias, *_ = ctx.needs_input_grad
        precision = ctx.compute.precision_on(grad.device)
        grad_inputs = grad_weight = None
        if need_inputs:
            grad_inputs = product(grad, narrowed(weight, precision))
        if need_weight:
            grad_weight = product(grad.t(), narrowed(inputs, precision))
        grad_bias = grad.sum(0) if ctx.has_bias and need_bias else None
        return grad_inputs, grad_weight, grad_bias, None, None, None


@native.untraced
def integer_product(
    values: Tensor, matrix: Matrix, params: QuantParams, scales: Tensor, bias: Tensor | None
) -> Tensor | None:
    """Values times a packed matrix, [rows, N]; the values are quantized first.

    Args:
        values: [rows, K].
        matrix: codes [N, K].
        params: of the values; one scale.
        scales: [N] or [1], scale of each row of the matrix times that of the values.
        bias: [N] or None.

    Returns:
        None where a value or a weight is NaN.
    """
    rows, units = len(values), matrix.layout.rows
    if [*values.shape] != [rows, matrix.layout.columns]:
        raise UserError(f"{matrix.layout.columns} columns must be multiplied, got {values.shape}")
    stride = stride_of(values.shape[1])
    codes, sums, finite = native.encode(values, float(params.scale), params.grid, stride)
    if not (finite and matrix.finite):
        return None
    out = values.new_empty(rows, units)
    scales = scales.expand(units).contiguous()
    bias = None if bias is None else bias.detach().float().contiguous()
    job = IntegerLinearJob(
        matrix.address,
        native.address(scales, torch.float32, units),
        native.address(bias, torch.float32, units),
        native.address(codes, torch.uint8, rows * stride),
        native.address(sums, torch.int32, rows),
        stride,
        params.grid.qmin,
        params.grid.qmax,
        native.address(out, torch.float32, rows * units),
        0,
        rows,
        0,
        matrix.layout.blocks,
    )
    _run(job, units * matrix.layout.columns)
    return out


def stride_of(columns: int) -> int:
    """Bytes of a row of activation codes: whole chunks of 32 columns.

    Args:
        columns: codes of a row.
    """
    return -(-columns // 32) * 32


def _run(job: IntegerLinearJob, multiplications: int) -> None:
    """Run on several threads, each with a share of the rows, or of the units where rows are few.

    Args:
        job: all rows and units.
        multiplications: for each row.
    """
    kernel = native.function("linear", None)
    by_rows = job.row1 >= 4 * torch.get_num_threads()
    names = ("row0", "row1") if by_rows else ("block0", "block1")
    count = job.row1 if by_rows else job.block1
    item_work = multiplications * job.row1 // count

    def run_share(first: int, end: int) -> None:
        share = IntegerLinearJob.from_buffer_copy(job)
        setattr(share, names[0], first)
        setattr(share, names[1], end)
        kernel(ctypes.byref(share))

    native.parallel(run_share, count, least=max(1, WORTH_A_THREAD // max(1, item_work)))
