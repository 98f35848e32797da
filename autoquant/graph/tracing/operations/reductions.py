"""Operations that read all entries along some axes: sums, orders, softmax, norms."""

from __future__ import annotations

from autoquant.graph.tracing.new_units import equal
from autoquant.graph.tracing.operations.registry import argument, operation
from autoquant.graph.tracing.propagation_state import NORMALISED, PropagationState, shown
from autoquant.graph.tracing.record import Call
from autoquant.graph.tracing.units import varies
from autoquant.graph.tracing.values import Value

LAST_AXIS = ("sort", "topk", "kthvalue", "mode")
"""Operations that read along the last axis if they name none."""
LINEAR = ("sum", "mean")
"""Reductions after which new units still hold the mean of the others, or zeros."""


@operation("sum", "mean", "amax", "amin", "max", "min", "var", "std", "norm", "prod", "logsumexp")
@operation("all", "any", "argmax", "argmin", "cumsum", "cumprod", "sort", "topk", "median")
@operation("var_mean", "std_mean", "linalg_vector_norm", "count_nonzero", "nansum", "nanmedian")
@operation(
    "aminmax", "mode", "kthvalue", "cummax", "cummin", "logcumsumexp", "_fft_r2c", "_fft_c2c"
)
@operation("_fft_c2r")
def reduce(state: PropagationState, call: Call) -> Value | list[Value]:
    """One entry, or another order of entries, made of those along some axes or all.

    See ``PropagateUnits.__call__``.
    """
    value, results = state.read(call.args[0]), call.results
    if value.ids is None:
        return [Value() for _ in results] if len(results) > 1 else Value()
    axes = _reduced_axes(call, value.ids.ndim)
    kept = state.bind_across(value.ids, axes, call)
    for axis in axes:
        kept = kept.take([0], axis)
    new_units = value.new_units if call.name in LINEAR else equal(shown(call))
    kept_ids = (
        kept if len(ref.shape) == kept.ndim else kept.squeeze(tuple(axes)) for ref in results
    )
    values = [Value(ids, data=True, new_units=new_units) for ids in kept_ids]
    return values if len(values) > 1 else values[0]


def _reduced_axes(call: Call, ndim: int) -> list[int]:
    """The axes that an operation reads along, counted from the front; all if it names none."""
    position = {"linalg_vector_norm": 2, "norm": 2, "topk": 2, "kthvalue": 2}.get(call.name, 1)
    axes = argument(call, position, "dim")
    if axes is None and call.name in LAST_AXIS:
        return [ndim - 1]
    if axes is None or axes == []:
        return [*range(ndim)]
    return [axis % ndim for axis in (axes if isinstance(axes, list | tuple) else [axes])]


@operation("_softmax", "softmax", "_log_softmax", "log_softmax", "_safe_softmax")
def softmax(state: PropagationState, call: Call) -> Value:
    """Every entry depends on all entries along one axis.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    if value.ids is None:
        return Value()
    return Value(state.bind_across(value.ids, [argument(call, 1, "dim", -1)], call), data=True)


@operation("glu")
def glu(state: PropagationState, call: Call) -> Value:
    """The first half of an axis, multiplied by a gate made of the second half.

    See ``PropagateUnits.__call__``.
    """
    ids, axis = state.read(call.args[0]).ids, argument(call, 1, "dim", -1)
    if ids is None:
        return Value()
    if not varies(ids, axis):
        return Value(ids, data=True)
    half = ids.shape[axis] // 2
    first, second = (state.take_slice(ids, axis, slice(i * half, (i + 1) * half)) for i in (0, 1))
    state.units.bind(first, second)
    return Value(first, data=True)


@operation("native_layer_norm", "_fused_rms_norm", "rms_norm", "layer_norm")
def layer_norm(state: PropagationState, call: Call) -> Value | list[Value]:
    """Every entry depends on all entries along the last axes, whose sizes are given.

    See ``PropagateUnits.__call__``.
    """
    value, sizes = state.read(call.args[0]), call.args[1]
    if value.ids is None:
        return Value(data=True)
    axes = [-1 - i for i in range(len(sizes))]
    ids = state.bind_across(value.ids, axes, call, NORMALISED)
    return [Value(ids, data=True), *[Value(data=True) for _ in call.results[1:]]]
