"""Gradients through sigmoid and tanh, from their results: torch's own, in one pass over memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sigmoid_back(grad: Tensor, result: Tensor, *, out: Tensor | None = None) -> Tensor:
    """grad * (1 - result) * result.

    Args:
        grad: of the result.
        result: of the sigmoid.
        out: where the gradient is written; None for a new tensor.
    """
    return _apply(torch.ops.aten.sigmoid_backward, grad, result, out)


def tanh_back(grad: Tensor, result: Tensor, *, out: Tensor | None = None) -> Tensor:
    """grad * (1 - result * result).

    Args:
        grad: of the result.
        result: of the tanh.
        out: where the gradient is written; None for a new tensor.
    """
    return _apply(torch.ops.aten.tanh_backward, grad, result, out)


def _apply(operation: Any, grad: Tensor, result: Tensor, out: Tensor | None) -> Tensor:
    """Call a backward operation of ATen.

    Args:
        operation: (grad, result) -> gradient of the argument.
        grad: of the result.
        result: of the function.
        out: where the gradient is written; None for a new tensor.
    """
    written: Tensor
    if out is None:
        written = operation(grad, result)
    else:
        written = operation.grad_input(grad, result, grad_input=out)
    return written
