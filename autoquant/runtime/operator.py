"""Torch operators of the packed layers, ``torch.ops.autoquant``: what a recorded model calls.

A module calls C directly where nothing is recorded, which is faster. Under torch.compile, export,
jit.trace and the like it calls an operator of the same function, whose arguments are tensors and
numbers. Whoever runs the recorded model must have imported autoquant, on a machine with vectors of
the same length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY: Any = torch.library.Library("autoquant", "DEF")  # type: ignore[no-untyped-call]


def define(schema: str, compute: Callable[..., Any], shapes: Callable[..., Any]) -> None:
    """Register an operator for float32 numbers on the CPU, without gradients.

    Args:
        schema: its name, arguments and results, as torch.library takes them.
        compute: the function.
        shapes: the same for tensors without values: it returns empty tensors of the right shape.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, torch.no_grad()(compute), "CPU")
    torch.library.register_fake(f"autoquant::{name}", shapes, lib=_LIBRARY)
