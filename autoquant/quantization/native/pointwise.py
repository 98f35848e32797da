"""Fake quantization and cross-entropy, each in one pass over memory (see pointwise.h)."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.quantization.codes import Grid
from autoquant.quantization.native.library import address, available, function, parallel
from autoquant.quantization.native.tracing import is_traced, untraced

WORTH_A_THREAD = 1 << 16  # values
Float, Int64 = ctypes.c_float, ctypes.c_int64


def suits(*tensors: Tensor) -> bool:
    """Whether these kernels may compute, and can read the tensors; nothing may be traced.

    Args:
        tensors: that a kernel would get.
    """
    readable = all(
        tensor.is_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous()
        for tensor in tensors
    )
    if not readable or is_traced(*tensors):
        return False
    return current().kernel in ("auto", "native") and available()


def has_row_scales(values: Tensor, scale: Tensor) -> bool:
    """Whether there is one scale, or one for each row of the first axis.

    Args:
        values: that are quantized.
        scale: broadcasts against them.
    """
    if values.numel() == 0 or values.ndim == 0 or scale.ndim > values.ndim:
        return False
    rows = scale.ndim == values.ndim and scale.shape[0] == scale.numel() == values.shape[0]
    return scale.numel() == 1 or rows


def _at(start: int | None, entries: int, size: int = 4) -> ctypes.c_void_p:
    """The address of an entry.

    Args:
        start: of the first entry, or None.
        entries: before it.
        size: bytes of an entry.
    """
    return ctypes.c_void_p(None if start is None else start + entries * size)


@untraced
def fake_quantize(values: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """decode(encode(values)), bit for bit.

    Args:
        values: any shape; ``suits`` must hold for values and scale.
        scale: ``has_row_scales`` must hold.
        grid: the codes.
    """
    result = torch.empty_like(values)  # contiguous, as the values must be
    kernel, scales = function("fake_quantize", None), scale.reshape(-1)
    per_row, rows, columns = _layout(values, scales)
    x, y = address(values, torch.float32, rows * columns), result.data_ptr()
    steps = address(scales, torch.float32, rows if per_row else 1)

    def run_share(first: int, end: int) -> None:
        kernel(
            _at(x, first * columns),
            _at(steps, first if per_row else 0),
            per_row,
            Int64(end - first),
            Int64(columns),
            grid.qmin,
            grid.qmax,
            Float(grid.offset),
            _at(y, first * columns),
        )

    parallel(run_share, rows, WORTH_A_THREAD // columns + 1)
    return result


@untraced
def fake_quantize_back(
    grad: Tensor, values: Tensor, result: Tensor, scale: Tensor, *, masked: bool, learned: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradient of the values, and that of each scale times the scale.

    The latter is not yet normalised, see fake_quantize._FakeQuantize.

    Args:
        grad: of the result, contiguous.
        values: before quantization.
        result: after it.
        scale: as in ``fake_quantize``.
        masked: whether the gradient of clipped values is zero.
        learned: whether the scale's gradient is computed; None is returned for it otherwise.
    """
    grad_values = torch.empty_like(values)
    kernel, scales = function("fake_quantize_back", None), scale.reshape(-1)
    per_row, rows, columns = _layout(values, scales)
    sums = values.new_empty(rows) if learned else None
    count, dx = rows * columns, grad_values.data_ptr()
    g, x = address(grad, torch.float32, count), address(values, torch.float32, count)
    y = address(result, torch.float32, count)
    steps = address(scales, torch.float32, rows if per_row else 1)
    row_sums = None if sums is None else sums.data_ptr()

    def run_share(first: int, end: int) -> None:
        at = first * columns
        kernel(
            _at(g, at),
            _at(x, at),
            _at(y, at),
            _at(steps, first if per_row else 0),
            per_row,
            Int64(end - first),
            Int64(columns),
            int(masked),
            _at(dx, at),
            _at(row_sums, first),
        )

    parallel(run_share, rows, WORTH_A_THREAD // columns + 1)
    if sums is None:
        return grad_values, None
    if per_row:
        return grad_values, sums.view_as(scale)
    return grad_values, sums.double().sum().float().view_as(scale)


class _Layout(NamedTuple):
    """How a kernel walks over a tensor.

    Attributes:
        per_row: 1 where each row has a scale, else 0.
        rows: number of rows.
        columns: values of a row.
    """

    per_row: int
    rows: int
    columns: int


def _layout(values: Tensor, scales: Tensor) -> _Layout:
    per_row = int(scales.numel() > 1)
    columns = values[0].numel() if per_row or values.ndim > 2 else values.shape[-1]
    return _Layout(per_row, values.numel() // columns, columns)


@untraced
def cross_entropy(logits: Tensor, targets: Tensor, ignored: int, *, weight: float | None) -> float:
    """Sum of -log softmax(logits)[target] over rows; the logits become a gradient.

    Args:
        logits: [rows, classes]; overwritten by ``weight`` times the sum's gradient, if not None.
        targets: [rows], int64.
        ignored: the target of rows that do not count.
        weight: a factor of the gradient, or None for no gradient.

    Returns:
        the sum; NaN where a target is out of range.
    """
    kernel = function("cross_entropy", ctypes.c_double)
    rows, classes = logits.shape
    sums = [0.0] * rows
    first_logit = address(logits, torch.float32, rows * classes)
    first_target = address(targets, torch.int64, rows)

    def run_share(first: int, end: int) -> None:
        sums[first] = kernel(
            _at(first_logit, first * classes),
            _at(first_target, first, size=8),
            Int64(end - first),
            Int64(classes),
            Int64(ignored),
            Float(weight or 0.0),
        )

    parallel(run_share, rows, WORTH_A_THREAD // classes + 1)
    return sum(sums)
