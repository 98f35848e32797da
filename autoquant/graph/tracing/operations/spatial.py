"""Operations on images and sequences: pooling, resampling and padding along the last axes."""

from __future__ import annotations

from dataclasses import replace

from autoquant.graph.tracing.new_units import CONSTANT, equal, together
from autoquant.graph.tracing.operations.registry import PropagateUnits, argument, operation
from autoquant.graph.tracing.propagation_state import PropagationState, shown
from autoquant.graph.tracing.record import Call
from autoquant.graph.tracing.units import varies
from autoquant.graph.tracing.values import Value

BY_DIMENSION = (  # {}: number of spatial axes
    *("max_pool{}d_with_indices", "max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d"),
    *("_adaptive_avg_pool{}d", "adaptive_max_pool{}d", "reflection_pad{}d", "max_unpool{}d"),
    *("replication_pad{}d", "upsample_nearest{}d", "_upsample_nearest_exact{}d"),
    "fractional_max_pool{}d",
)
OF_DIMENSION = {
    1: ("upsample_linear1d",),
    2: ("upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "grid_sampler_2d"),
    3: ("upsample_trilinear3d",),
}


def spatial(dimensions: int) -> PropagateUnits:
    """The function for operations along the last axes, along which units must not change.

    Args:
        dimensions: how many axes.
    """

    def propagate(state: PropagationState, call: Call) -> Value | list[Value]:
        value, results = state.read(call.args[0]), call.results
        ids = value.ids
        if ids is not None and any(varies(ids, -1 - i) for i in range(dimensions)):
            return state.stop(call)
        new_units = equal(shown(call)) if "max" in call.name else value.new_units
        values = [replace(value.with_ids(ids), new_units=new_units) for _ in results]
        return values if len(values) > 1 else values[0]

    return propagate


for _dimensions, _names in OF_DIMENSION.items():
    _common = (name.format(_dimensions) for name in BY_DIMENSION)
    operation(*_common, *_names)(spatial(_dimensions))


@operation("constant_pad_nd", "pad")
def pad(state: PropagationState, call: Call) -> Value:
    """Entries added at the ends of axes along which units must not change.

    See ``PropagateUnits.__call__``.
    """
    value, sizes = state.read(call.args[0]), call.args[1]  # two sizes an axis, last axis first
    padded = [-1 - i // 2 for i, size in enumerate(sizes) if size]
    if value.ids is not None and any(varies(value.ids, axis) for axis in padded):
        return state.stop(call)
    parts = [value.new_units, *[CONSTANT] * bool(argument(call, 2, "value", 0))]
    new_units = together(parts, shown(call))
    return replace(value, uniform=False, state=False, new_units=new_units)
