"""Torch operators, ``torch.ops.autoquant``: what a recorded model calls.

A packed layer calls C directly where nothing is recorded, which is faster. Under torch.compile,
export, jit.trace and the like it calls an operator of the same function, whose arguments are
tensors and numbers. Whoever runs the recorded model must have imported autoquant.runtime, on a
machine with vectors of the same length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from autoquant.errors import UserError

EVERY_DEVICE = "CompositeExplicitAutograd"
"""The key of a function that consists of torch's operations."""
_LIBRARY: Any = torch.library.Library("autoquant", "DEF")  # type: ignore[no-untyped-call]


def define(
    schema: str, compute: Callable[..., Any], shapes: Callable[..., Any], key: str = "CPU"
) -> None:
    """Register an operator without gradients.

    Args:
        schema: its name, arguments and results, as torch.library takes them.
        compute: the function.
        shapes: the same for tensors without values: it returns empty tensors of the right shape.
        key: torch's dispatch key of the function.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, torch.no_grad()(compute), key)
    full_name = f"autoquant::{name}"
    torch.library.register_fake(full_name, shapes, lib=_LIBRARY)
    operator = getattr(torch.ops.autoquant, name)
    torch.library.register_vmap(full_name, partial(_one_by_one, operator), lib=_LIBRARY)


def _one_by_one(
    operator: Callable[..., Any], info: Any, axes: Sequence[Any], *arguments: Any
) -> tuple[Any, Any]:
    """What torch.vmap calls: the operator for each item, and the results stacked.

    Args:
        operator: the operator.
        info: has the number of items, ``batch_size``.
        axes: for each argument the axis of the items, or None.
        arguments: of the operator.

    Returns:
        the results, and the axis of the items for each.

    Raises:
        UserError: weights differ between the items.
    """
    if any(isinstance(axis, list | tuple) and {*axis} != {None} for axis in axes):
        raise UserError("torch.vmap must not have an axis of packed weights, got one")
    results = []
    for i in range(info.batch_size):
        pairs = zip(arguments, axes, strict=True)
        results.append(
            operator(*(each.select(axis, i) if type(axis) is int else each for each, axis in pairs))
        )
    if isinstance(results[0], Tensor):
        return torch.stack(results), 0
    stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)
