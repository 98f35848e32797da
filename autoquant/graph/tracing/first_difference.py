"""Where two models that should do the same begin to do something else."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from torch import nn

from autoquant.graph.plain_modules import TORCH_MODULES
from autoquant.graph.tracing.record import Call, record
from autoquant.layers import kind_of


def first_difference(
    first: nn.Module, second: nn.Module, inputs: tuple[Any, ...], keywords: Mapping[str, Any]
) -> str:
    """The user's line where the second model's forward pass takes another way than the first's.

    Args:
        first: a float model.
        second: the same model with other modules in place of its layers.
        inputs: positional arguments of one forward pass; they are recorded, and may be changed.
        keywords: its arguments by name.

    Returns:
        the line as "model.py:12"; empty where both do the same operations.
    """
    layers = [
        name
        for name, module in first.named_modules()
        if kind_of(module) is not None or isinstance(module, TORCH_MODULES)
    ]
    calls = [
        record(model, inputs, {name: model.get_submodule(name) for name in layers}, keywords).calls
        for model in (first, second)
    ]
    for before, after in zip_longest(*calls):
        if before is None or after is None or _operation(before) != _operation(after):
            differing = (call for call in (after, before) if call is not None)
            return next((call.where for call in differing if call.where), "")
    return ""


def _operation(call: Call) -> tuple[str, tuple[int, ...] | None]:
    """What a call does, and the shape of its first result."""
    return call.target, next((ref.shape for ref in call.results), None)
