"""Fake quantization and cross-entropy, each in one pass over memory (see pointwise.h)."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.quantization.codes import Grid
from autoquant.quantization.native.library import available, function, parallel, pointer

WORTH_A_THREAD = 1 << 16  # values
Float, Int64 = ctypes.c_float, ctypes.c_int64


def suits(*tensors: Tensor) -> bool:
    """Whether these kernels may compute, and can read the tensors.

    Args:
        tensors: that a kernel would get.
    """
    readable = all(
        tensor.device.type == "cpu" and tensor.dtype == torch.float32 and tensor.is_contiguous()
        for tensor in tensors
    )
    return readable and current().kernel in ("auto", "native") and available()


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


def _address(tensor: Tensor, items: int) -> ctypes.c_void_p:
    """The address of an item of a contiguous tensor."""
    return ctypes.c_void_p(tensor.data_ptr() + items * tensor.element_size())


def fake_quantize(values: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """decode(encode(values)), bit for bit.

    Args:
        values: any shape; ``suits`` must hold for values and scale.
        scale: ``has_row_scales`` must hold.
        grid: the codes.
    """
    result = torch.empty_like(values)
    kernel, scales = function("fake_quantize", None), scale.reshape(-1)
    per_row, rows, columns = _layout(values, scales)

    def run_share(first: int, end: int) -> None:
        kernel(
            _address(values, first * columns),
            _address(scales, first if per_row else 0),
            per_row,
            Int64(end - first),
            Int64(columns),
            grid.qmin,
            grid.qmax,
            Float(grid.offset),
            _address(result, first * columns),
        )

    parallel(run_share, rows, WORTH_A_THREAD // columns + 1)
    return result


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

    def run_share(first: int, end: int) -> None:
        at = first * columns
        kernel(
            _address(grad, at),
            _address(values, at),
            _address(result, at),
            _address(scales, first if per_row else 0),
            per_row,
            Int64(end - first),
            Int64(columns),
            int(masked),
            _address(grad_values, at),
            pointer(None) if sums is None else _address(sums, first),
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

    def run_share(first: int, end: int) -> None:
        sums[first] = kernel(
            _address(logits, first * classes),
            _address(targets, first),
            Int64(end - first),
            Int64(classes),
            Int64(ignored),
            Float(weight or 0.0),
        )

    parallel(run_share, rows, WORTH_A_THREAD // classes + 1)
    return sum(sums)
