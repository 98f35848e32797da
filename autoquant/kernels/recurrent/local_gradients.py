"""Gradients through sigmoid and tanh, from their results: torch's own, in one pass over memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def sigmoid_back(grad: Tensor, result: Tensor, *, out: Tensor | None = None) -> Tensor:
    """grad * (1 - result) * result."""
    return _write(torch.ops.aten.sigmoid_backward, grad, result, out)


def tanh_back(grad: Tensor, result: Tensor, *, out: Tensor | None = None) -> Tensor:
    """grad * (1 - result * result)."""
    return _write(torch.ops.aten.tanh_backward, grad, result, out)


def _write(operation: Any, grad: Tensor, result: Tensor, out: Tensor | None) -> Tensor:
    written: Tensor
    if out is None:
        written = operation(grad, result)
    else:
        written = operation.grad_input(grad, result, grad_input=out)
    return written
