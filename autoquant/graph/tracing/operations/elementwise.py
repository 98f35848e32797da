"""Operations that combine values entry by entry, or write one into another."""

from __future__ import annotations

from autoquant.graph.tracing.operations.registry import POINTWISE, operation
from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call
from autoquant.graph.tracing.units import Ids, varies
from autoquant.graph.tracing.values import Value

UNTAGGED = ("hardswish", "hardswish_", "hardtanh", "hardtanh_", "relu6", "rrelu", "prelu")
"""Pointwise operations that ATen does not tag as such."""


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


@operation("copy_", "fill_", "zero_", "index_put_", "index_put", "scatter", "scatter_")
@operation("masked_scatter", "masked_fill_", "slice_scatter", "select_scatter", "index_copy_")
@operation("index_add_", "scatter_add_")
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
