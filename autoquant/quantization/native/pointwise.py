"""Fake quantization and cross-entropy in one pass over memory each (see pointwise.h)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from autoquant.backend import current
from autoquant.quantization.codes import Grid
from autoquant.quantization.native.library import available, function, parallel, pointer

WORTH_A_THREAD = 1 << 16  # values
Float, Int64 = ctypes.c_float, ctypes.c_int64


def suits(*tensors: Tensor) -> bool:
    """Whether kernels can work on such tensors, and are asked for."""
    plain = all(
        each.device.type == "cpu" and each.dtype == torch.float32 and each.is_contiguous()
        for each in tensors
    )
    return plain and current().kernel in ("auto", "native") and available()


def by_rows(values: Tensor, scale: Tensor) -> bool:
    """Whether there is one step size, or one for each row of the first axis."""
    if values.numel() == 0 or values.ndim == 0 or scale.ndim > values.ndim:
        return False
    rows = scale.ndim == values.ndim and scale.shape[0] == scale.numel() == values.shape[0]
    return scale.numel() == 1 or rows


def _offset(tensor: Tensor, items: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr() + items * tensor.element_size())


def fake_quantize(values: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """decode(encode(values)), bit for bit; ``suits`` and ``by_rows`` must hold."""
    result = torch.empty_like(values)
    kernel, scales = function("fake_quantize", None), scale.reshape(-1)
    each, rows, columns = _layout(values, scales)

    def share(first: int, end: int) -> None:
        kernel(
            _offset(values, first * columns),
            _offset(scales, first if each else 0),
            each,
            Int64(end - first),
            Int64(columns),
            grid.qmin,
            grid.qmax,
            Float(grid.offset),
            _offset(result, first * columns),
        )

    parallel(share, rows, WORTH_A_THREAD // columns + 1)
    return result


def fake_quantize_back(
    grad: Tensor, values: Tensor, result: Tensor, scale: Tensor, *, masked: bool, slopes: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradient of the values and, if asked for, of each step size times that step size.

    The latter is not yet normalised, see quantizer._FakeQuantize.
    """
    grad_values = torch.empty_like(values)
    kernel, scales = function("fake_quantize_back", None), scale.reshape(-1)
    each, rows, columns = _layout(values, scales)
    sums = values.new_empty(rows) if slopes else None

    def share(first: int, end: int) -> None:
        at = first * columns
        kernel(
            _offset(grad, at),
            _offset(values, at),
            _offset(result, at),
            _offset(scales, first if each else 0),
            each,
            Int64(end - first),
            Int64(columns),
            int(masked),
            _offset(grad_values, at),
            pointer(None) if sums is None else _offset(sums, first),
        )

    parallel(share, rows, WORTH_A_THREAD // columns + 1)
    if sums is None:
        return grad_values, None
    return grad_values, sums.view_as(scale) if each else sums.double().sum().float().view_as(scale)


def _layout(values: Tensor, scales: Tensor) -> tuple[int, int, int]:
    """Whether each row has a step size, rows, columns."""
    each = int(scales.numel() > 1)
    columns = values[0].numel() if each or values.ndim > 2 else values.shape[-1]
    return each, values.numel() // columns, columns


def cross_entropy(logits: Tensor, targets: Tensor, ignored: int, *, weight: float | None) -> float:
    """Sum of -log softmax(logits)[target] over rows; the logits become a gradient.

    Args:
        logits: [rows, classes]; overwritten by ``weight`` times the sum's gradient, if given.
        targets: [rows], int64.
        ignored: the target of rows that do not count.

    Returns:
        the sum; NaN where a target is out of range.
    """
    kernel = function("cross_entropy", ctypes.c_double)
    rows, classes = logits.shape
    sums = [0.0] * rows

    def share(first: int, end: int) -> None:
        sums[first] = kernel(
            _offset(logits, first * classes),
            _offset(targets, first),
            Int64(end - first),
            Int64(classes),
            Int64(ignored),
            Float(weight or 0.0),
        )

    parallel(share, rows, WORTH_A_THREAD // classes + 1)
    return sum(sums)
