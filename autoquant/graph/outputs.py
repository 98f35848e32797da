"""Whether the outputs of two models are the same: all numbers that they returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoquant.errors import RunError
from autoquant.graph.tracing.record import tensors_in

MAX_DIFFERENCE = 1e-3
"""Largest difference that counts as the same, as a share of the largest output. Rounding in float32
of a recurrence stays two orders of magnitude below."""
MAX_OTHER_WHOLE_NUMBERS = 0.01
"""Largest share of whole numbers that may differ. They come from comparisons of real numbers (an
argmax), and rounding decides between equal ones."""


def numbers_in(value: Any) -> list[Tensor]:
    """All numbers of a model's output: tensors, dense and real, then Python's numbers.

    Args:
        value: a tree of tensors and numbers; see ``tensors_in`` for objects.
    """
    numbers = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, int | float)]
    return [*map(_dense, tensors_in(value)), *map(torch.tensor, numbers)]


def _dense(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def check_same_outputs(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest absolute difference of two models' outputs.

    Args:
        before: all outputs of the old model.
        after: those of the new one. One of another shape than before is a recurrent state, which
            grows with its layer, and is not compared; the first must keep its shape.

    Raises:
        RunError: a difference is above MAX_DIFFERENCE of the largest output, NaN or infinity stand
            at other places, more than MAX_OTHER_WHOLE_NUMBERS are others, or there are not as many
            outputs.
    """
    if len(before) != len(after) or (before and before[0].shape != after[0].shape):
        raise RunError("the model must compute the same, got other outputs")
    pairs = zip(before, after, strict=True)
    comparable = [(a, b) for a, b in pairs if a.shape == b.shape and not a.is_meta]
    return max((_difference(first, second) for first, second in comparable), default=0.0)


def _difference(first: Tensor, second: Tensor) -> float:
    if not first.is_floating_point():
        _check_whole_numbers(first, second)
        return 0.0
    finite = first.isfinite() & second.isfinite()
    if not torch.equal(first[~finite].nan_to_num(), second[~finite].nan_to_num()):
        raise RunError("the model must compute the same, got NaN or infinity elsewhere")
    if not finite.any():
        return 0.0
    difference = float((first - second)[finite].abs().max())
    if not difference <= MAX_DIFFERENCE * float(first[finite].abs().max()):
        raise RunError(f"the model must compute the same, got a difference of {difference}")
    return difference


def _check_whole_numbers(first: Tensor, second: Tensor) -> None:
    others = int((first != second).sum())
    if others > MAX_OTHER_WHOLE_NUMBERS * first.numel():
        came = f"got {others} other whole numbers of {first.numel()}"
        raise RunError(f"the model must compute the same, {came}")


def equal_outputs(
    first: Sequence[Tensor], second: Sequence[Tensor], *, double: float = 0.0
) -> bool:
    """Whether two models returned equal numbers, NaN in the same places included.

    Args:
        first: all outputs of one model.
        second: those of the other.
        double: difference that numbers in float64 may have, as a share of a tensor's largest one.
    """
    if [(t.shape, t.dtype) for t in first] != [(t.shape, t.dtype) for t in second]:
        return False
    return all(a.is_meta or _equal(a, b, double) for a, b in zip(first, second, strict=True))


def _equal(a: Tensor, b: Tensor, double: float) -> bool:
    """Whether two outputs are equal.

    Args:
        a: of one model.
        b: of the other, of the same shape and type.
        double: see ``equal_outputs``.
    """
    tolerance = 0.0
    if double and a.dtype == torch.float64 and a.numel():
        tolerance = double * float(a.nan_to_num(0.0, 0.0, 0.0).abs().max())
    return torch.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)
