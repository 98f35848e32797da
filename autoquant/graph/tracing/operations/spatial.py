"""Operations on images and sequences: pooling, resampling and padding along the last axes."""

from __future__ import annotations

from dataclasses import replace

from autoquant.graph.tracing.new_units import CONSTANT, equal, together
from autoquant.graph.tracing.operations.registry import PropagateUnits, argument, operation
from autoquant.graph.tracing.propagation_state import COMBINED, PropagationState, shown
from autoquant.graph.tracing.record import Call, refs_in
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


# --- channels that are made of positions, and the other way round ---------------------------------


@operation("pixel_unshuffle", "im2col")
def positions_to_channels(state: PropagationState, call: Call) -> Value:
    """[..., C, H, W] -> [..., C * N, ...]: each channel becomes N that follow one another.

    See ``PropagateUnits.__call__``.
    """
    value, spatial_axes = state.read(call.args[0]), len(call.result.shape) - 1 - _channels(call)
    ids = value.ids
    if ids is None:
        return value.with_ids(None)
    if varies(ids, -1) or varies(ids, -2):
        return state.stop(call)
    run = call.result.shape[_channels(call)] // call.args[0].shape[-3]
    repeated = ids[..., 0, 0].repeat(run, -1) if varies(ids, -3) else ids[..., 0, 0]
    return value.with_ids(repeated.reshape(*repeated.shape, *(1,) * spatial_axes))


@operation("pixel_shuffle", "col2im")
def channels_to_positions(state: PropagationState, call: Call) -> Value:
    """[..., C * N, ...] -> [..., C, H, W]: N channels that follow one another become one.

    See ``PropagateUnits.__call__``.
    """
    value, axis = state.read(call.args[0]), _channels(call)
    ids = value.ids
    if ids is None:
        return value.with_ids(None)
    if any(varies(ids, other) for other in range(ids.ndim) if other != axis):
        return state.stop(call)
    blocks = ids.reshape(-1, 1)
    if varies(ids, axis):
        blocks = ids.reshape(call.result.shape[-3], -1)
        state.units.bind_lines(blocks)
    return value.with_ids(blocks[:, 0].reshape(*(1,) * (len(call.result.shape) - 3), -1, 1, 1))


def _channels(call: Call) -> int:
    """The axis, from the front, of the channels that hold positions: of the input or the result."""
    ref = call.args[0] if call.name in ("pixel_shuffle", "col2im") else call.result
    return len(ref.shape) - (3 if "pixel" in call.name else 2)


@operation("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(state: PropagationState, call: Call) -> Value:
    """[B, G * N, ...] -> [B, N * G, ...]: the channels of G groups in turn.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    ids = value.ids
    if ids is None or not varies(ids, 1):
        return value.with_ids(ids)
    if ids.size != ids.shape[1]:
        return state.stop(call)
    groups = ids.reshape(argument(call, 1, "groups"), -1)
    return value.with_ids(groups.T.reshape(ids.shape))


@operation("convolution")
def convolution(state: PropagationState, call: Call) -> Value:
    """A convolution that is no layer: read across channels, unless each has a filter of its own.

    See ``PropagateUnits.__call__``.
    """
    (ref, weight), groups = call.args[:2], call.args[8]
    ids, channels = state.read(ref).ids, 1 - len(weight.shape)
    if ids is None and state.read(weight).ids is None:
        return Value(data=True)
    if ids is None or state.read(weight).ids is not None:
        return state.stop(call)
    if any(varies(ids, axis) for axis in range(channels + 1, 0)):
        return state.stop(call)
    if groups == ref.shape[channels] == call.result.shape[channels]:
        return Value(ids, data=True)
    state.bind_across(ids, [channels], call)
    return Value(data=True)


@operation("native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm")
def batch_norm(state: PropagationState, call: Call) -> list[Value]:
    """A norm of each channel that is no layer; with parameters, their number is fixed.

    See ``PropagateUnits.__call__``.
    """
    value, parameters = state.read(call.args[0]), refs_in((call.args[1:], dict(call.kwargs)))
    if value.ids is not None and parameters:
        state.bind_across(value.ids, [1], call, COMBINED)
    return [Value(value.ids, data=True), *[Value(data=True) for _ in call.results[1:]]]
