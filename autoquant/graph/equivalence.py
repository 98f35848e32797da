"""Whether two models compute the same function, tried on one input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.errors import RunError
from autoquant.graph.tracing.record import tensors_in

MAX_DIFFERENCE = 1e-3
"""Largest difference that counts as the same, as a share of the largest output. Rounding in float32
of a recurrence stays two orders of magnitude below."""


def check_same_function(
    old: nn.Module,
    new: nn.Module,
    inputs: tuple[Any, ...],
    keywords: Mapping[str, Any] | None = None,
) -> float:
    """Largest absolute difference of two models' outputs on the same input, in eval mode.

    Args:
        old: a float model.
        new: the same model after widening.
        inputs: positional arguments of one forward pass; they are moved to each model's device.
        keywords: its arguments by name.

    Raises:
        RunError: see ``check_same_outputs``.
    """
    return check_same_outputs(outputs_of(old, inputs, keywords), outputs_of(new, inputs, keywords))


def check_same_outputs(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest absolute difference of two models' outputs.

    Args:
        before: all output tensors of the old model.
        after: those of the new one. One of another shape than before is a recurrent state, which
            grows with its layer, and is not compared; the first must keep its shape.

    Raises:
        RunError: a difference is above MAX_DIFFERENCE of the largest output, NaN or infinity stand
            at other places, or there are not as many outputs.
    """
    if len(before) != len(after) or before[0].shape != after[0].shape:
        raise RunError("a widened model must have the same outputs, got others")
    pairs = zip(before, after, strict=True)
    comparable = [(a, b) for a, b in pairs if a.shape == b.shape and a.is_floating_point()]
    return max((_difference(first, second) for first, second in comparable), default=0.0)


def _difference(first: Tensor, second: Tensor) -> float:
    if first.is_meta:
        return 0.0
    finite = first.isfinite() & second.isfinite()
    if not torch.equal(first[~finite].nan_to_num(), second[~finite].nan_to_num()):
        raise RunError("a widened model must compute the same, got NaN or infinity elsewhere")
    if not finite.any():
        return 0.0
    difference = float((first - second)[finite].abs().max())
    if not difference <= MAX_DIFFERENCE * float(first[finite].abs().max()):
        raise RunError(f"a widened model must compute the same, got a difference of {difference}")
    return difference


@torch.no_grad()
def outputs_of(
    model: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any] | None = None
) -> list[Tensor]:
    """All tensors that a model returns in eval mode.

    Args:
        model: left in the mode that it is in.
        inputs: positional arguments of one forward pass; they are moved to the model's device.
        keywords: its arguments by name.
    """
    training = model.training
    device = next(model.parameters()).device
    arguments = inputs, dict(keywords or {})
    moved, named = pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), arguments)
    output = model.eval()(*moved, **named)
    model.train(training)
    return tensors_in(output)
