"""Operations that combine values entry by entry, or write one into another."""

from __future__ import annotations

from collections.abc import Sequence

from autoquant.graph.tracing.new_units import (
    CONSTANT,
    UNKNOWN,
    NewUnitContents,
    equal,
    product,
    through_zero,
    together,
)
from autoquant.graph.tracing.operations.registry import POINTWISE, argument, operation
from autoquant.graph.tracing.propagation_state import PropagationState, shown
from autoquant.graph.tracing.record import Call, Ref
from autoquant.graph.tracing.units import Ids, varies
from autoquant.graph.tracing.values import Value

UNTAGGED = (
    *("hardswish", "hardtanh", "relu6", "rrelu", "rrelu_with_noise", "prelu", "_prelu_kernel"),
    *("log_sigmoid_forward", "threshold", "mish", "complex", "polar", "copy", "fill"),
    *("zero", "masked_fill", "leaky_relu", "_conj_physical"),
)
"""Pointwise operations that ATen does not tag as such, or did not in older versions of torch, among
them those that write into a value."""
SUMS = ("add", "sub", "rsub", "where", "masked_fill", "copy", "fill", "zero")
"""Operations whose result holds the mean of its units where all operands do."""
ZERO_AT_ZERO = (
    *("relu", "relu6", "gelu", "silu", "elu", "celu", "selu", "leaky_relu", "mish"),
    *("hardswish", "hardtanh", "tanh", "abs", "sin", "asin", "atan", "erf", "sign", "softshrink"),
    *("square", "sqrt", "expm1", "log1p", "rrelu", "prelu", "prelu_kernel"),
)


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
    return Value(
        state.combine(call, values, all_ids, refs), data=True, new_units=_new_units(call, values)
    )


def _new_units(call: Call, values: Sequence[Value]) -> NewUnitContents:
    """What new units hold after an operation entry by entry.

    Args:
        call: the operation.
        values: of its operands; those without units are broadcast over the units of others.
    """
    name, cause = call.name.strip("_"), shown(call)
    with_units = [value.new_units for value in values if value.ids is not None]
    if name in SUMS:
        numbers = [arg for arg in call.args if isinstance(arg, int | float) and arg != 0]
        floats = [
            value.combined_new_units()
            for value, ref in zip(values, call.operands, strict=True)
            if value.ids is not None or ref.dtype.is_floating_point
        ]
        return together([*floats, *[CONSTANT] * bool(numbers)], cause)
    if name == "mul" and len(with_units) > 1:
        return product(with_units, cause)
    scales = name in ("mul", "neg") or (name == "div" and values[0].ids is not None)
    if scales and len(with_units) == 1:
        return with_units[0]
    return through_zero(with_units[0], cause) if name in ZERO_AT_ZERO else equal(cause)


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
    parts = [value.combined_new_units() for value in values]
    new_units = equal(shown(call)) if "reduce" in call.name else together(parts, shown(call))
    return Value(state.combine(call, values, all_ids, refs), data=True, new_units=new_units)


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
    values = [state.peek(ref) for ref in call.operands if ref.dtype.is_floating_point]
    parts = [v.combined_new_units() if v.uniform or v.ids is not None else UNKNOWN for v in values]
    new_units = together(parts, shown(call))
    return Value(units.reshape((1,) * (ndim - 1) + (-1,)), data=True, new_units=new_units)
