"""Operations that combine values entry by entry, or write one into another."""

from __future__ import annotations

from autoquant.graph.tracing.operations.registry import POINTWISE, argument, operation
from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call, Ref
from autoquant.graph.tracing.units import Ids, varies
from autoquant.graph.tracing.values import Value

UNTAGGED = (
    *("hardswish", "hardtanh", "relu6", "rrelu", "rrelu_with_noise", "prelu", "_prelu_kernel"),
    *("log_sigmoid_forward", "threshold", "mish", "complex", "polar", "copy", "fill"),
    *("zero", "masked_fill"),
)
"""Pointwise operations that ATen does not tag as such, among them those that write into a value."""


@operation(POINTWISE, *UNTAGGED)
def pointwise(state: PropagationState, call: Call) -> Value:
    """Any operation entry by entry: units that meet are bound.

    See ``PropagateUnits.__call__``.
    """
    refs = call.operands
    values = [state.read(ref) for ref in refs]
    ndim = len(call.results[0].shape)
    all_ids = [
        None if v.ids is None else v.ids.reshape((1,) * (ndim - v.ids.ndim) + v.ids.shape)
        for v in values
    ]
    if all(ids is None for ids in all_ids):
        return Value(uniform=all(value.uniform for value in values))
    return Value(state.combine(call, values, all_ids, refs), data=True)


@operation("scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_reduce")
@operation("index_fill")
def write_along(state: PropagationState, call: Call) -> Value:
    """Entries of a value written to places along an axis, along which units must not change.

    See ``PropagateUnits.__call__``.
    """
    axis = argument(call, 1, "dim")
    source = argument(call, 3, "source", call.kwargs.get("src"))
    refs = [call.args[0], *([source] if isinstance(source, Ref) else [])]
    values = [state.read(ref) for ref in refs]
    all_ids = [value.ids for value in values]
    if any(ids is not None and varies(ids, axis) for ids in all_ids):
        return state.stop(call)
    if all(ids is None for ids in all_ids):
        return Value(uniform=False)
    return Value(state.combine(call, values, all_ids, refs), data=True)


@operation("index_put", "masked_scatter", "slice_scatter", "select_scatter")
def write(state: PropagationState, call: Call) -> Value:
    """Values written into another one: units along the last axis of all of them are bound.

    See ``PropagateUnits.__call__``.
    """
    units: Ids | None = None  # [entries of the last axis]
    for ref in call.operands:
        ids = state.read(ref).ids
        if ids is None:
            continue
        if any(varies(ids, axis) for axis in range(ids.ndim - 1)):
            return state.stop(call)
        last_axis = ids.reshape(-1)
        if units is not None and len(units) != len(last_axis):
            return state.stop(call)
        if units is not None:
            state.units.bind(units, last_axis)
        units = last_axis
    if units is None:
        return Value(uniform=True)
    ndim = len(call.args[0].shape)
    return Value(units.reshape((1,) * (ndim - 1) + (-1,)), data=True)
