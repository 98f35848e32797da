"""Operations that move entries, or make a value of one number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from autoquant.graph.tracing.new_units import CONSTANT, UNKNOWN, together
from autoquant.graph.tracing.operations.registry import argument, operation
from autoquant.graph.tracing.propagation_state import PropagationState, shown
from autoquant.graph.tracing.record import Call, Ref
from autoquant.graph.tracing.shapes import Shape, joined, reshaped
from autoquant.graph.tracing.units import Ids, varies
from autoquant.graph.tracing.values import Value


@operation("alias", "detach", "clone", "contiguous", "_to_copy", "lift_fresh", "dropout")
@operation("positive")
def same(state: PropagationState, call: Call) -> Value:
    """Every entry stays where it is.

    See ``PropagateUnits.__call__``.
    """
    return state.read(call.args[0])


@operation("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "bernoulli")
def filled_like(state: PropagationState, call: Call) -> Value:
    """One number everywhere; of as many units as the value that gives the shape.

    See ``PropagateUnits.__call__``.
    """
    return Value(state.read(call.args[0]).ids, uniform=True, new_units=CONSTANT)


@operation("zeros", "ones", "full", "empty", "scalar_tensor", "new_zeros", "new_ones", "new_full")
@operation("new_empty")
def filled(state: PropagationState, call: Call) -> Value:
    """One number everywhere.

    See ``PropagateUnits.__call__``.
    """
    return Value(uniform=True)


@operation("view", "_unsafe_view", "reshape", "unflatten", "_reshape_alias", "squeeze")
@operation("unsqueeze")
def view(state: PropagationState, call: Call) -> Value:
    """The entries in the same order, in another shape.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    if value.ids is None:
        return value.with_ids(None)
    return value.with_ids(reshaped(value.ids, call.args[0].shape, call.result.shape))


@operation("permute", "transpose", "t", "movedim", "swapaxes")
def permute(state: PropagationState, call: Call) -> Value:
    """Axes in another order.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    if value.ids is None:
        return value.with_ids(None)
    if call.name == "permute":
        return value.with_ids(value.ids.transpose(call.args[1]))
    first, second = call.args[1:3] if call.name != "t" else (0, -1)
    return value.with_ids(value.ids.swapaxes(first, second) if value.ids.ndim > 1 else value.ids)


@operation("expand", "broadcast_to")
def expand(state: PropagationState, call: Call) -> Value:
    """Axes of size 1, and new ones at the front, made longer.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    if value.ids is None:
        return value.with_ids(None)
    added = len(call.result.shape) - value.ids.ndim
    return value.with_ids(value.ids.reshape((1,) * added + value.ids.shape))


@operation("repeat")
def repeat(state: PropagationState, call: Call) -> Value:
    """The whole value several times along each axis.

    See ``PropagateUnits.__call__``.
    """
    value = expand(state, call)
    if value.ids is None:
        return value
    times = [n if varies(value.ids, axis) else 1 for axis, n in enumerate(call.args[1])]
    return value.with_ids(np.tile(value.ids, times))


# --- some entries along an axis -------------------------------------------------------------------


@operation("slice")
def slice_axis(state: PropagationState, call: Call) -> Value:
    """``x[..., start:end:step]``: a slice of units may grow without the others.

    See ``PropagateUnits.__call__``.
    """
    value, axis = state.read(call.args[0]), argument(call, 1, "dim", 0)
    if value.ids is None or not varies(value.ids, axis):
        return value.with_ids(value.ids)
    start, end, step = (argument(call, i, n) for i, n in ((2, "start"), (3, "end"), (4, "step")))
    return value.with_ids(state.take_slice(value.ids, axis, slice(start, end, step)))


@operation("select")
def select(state: PropagationState, call: Call) -> Value:
    """``x[..., i]``: one entry of an axis, which is left out of the result.

    See ``PropagateUnits.__call__``.
    """
    value, axis = state.read(call.args[0]), argument(call, 1, "dim", 0)
    if value.ids is None:
        return value.with_ids(None)
    ids = value.ids
    if varies(ids, axis):
        index = argument(call, 2, "index")
        ids = state.take_slice(ids, axis, slice(index, index + 1 or None))
    return value.with_ids(ids.squeeze(axis))


@operation("narrow", "flip", "roll", "index_select", "gather", "take_along_dim", "unfold")
def pick(state: PropagationState, call: Call) -> Value:
    """Entries picked or reordered along axes along which units must not change.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    if value.ids is None:
        return value.with_ids(None)
    axes = argument(call, 1, "dim", 0)
    if call.name == "roll":
        axes = argument(call, 2, "dims", list(range(value.ids.ndim)))
    axes = axes if isinstance(axes, list | tuple) else [axes]
    if any(varies(value.ids, axis) for axis in axes):
        return state.stop(call)
    return value.with_ids(value.ids[..., None] if call.name == "unfold" else value.ids)


@operation("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "unsafe_split")
def split(state: PropagationState, call: Call) -> list[Value]:
    """An axis cut into consecutive slices; ``unbind`` into single entries without the axis.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    unbind = call.name == "unbind"
    axis = argument(call, 1 if unbind else 2, "dim", 0)
    parts, start = [], 0
    for result in call.result:
        end = start + (1 if unbind else result.shape[axis])
        ids = value.ids
        if ids is not None and varies(ids, axis):
            ids = state.take_slice(ids, axis, slice(start, end))
        if ids is not None and unbind:
            ids = ids.squeeze(axis)
        parts.append(value.with_ids(ids))
        start = end
    return parts


@operation("index")
def index(state: PropagationState, call: Call) -> Value:
    """``x[:, rows, columns]``: entries picked by tensors, along axes where units do not change.

    See ``PropagateUnits.__call__``.
    """
    value, indices = state.read(call.args[0]), call.args[1]
    if value.ids is None:
        return value.with_ids(None)
    axes = _indexed_axes(indices)
    first, last = axes[0], axes[-1]
    if axes != [*range(first, last + 1)] or any(varies(value.ids, axis) for axis in axes):
        return state.stop(call)
    before, after = value.ids.shape[:first], value.ids.shape[last + 1 :]
    picked = len(call.result.shape) - len(before) - len(after)  # axes in place of the indexed ones
    return value.with_ids(value.ids.reshape((*before, *(1,) * picked, *after)))


def _indexed_axes(indices: Sequence[Ref | None]) -> list[int]:
    """The axes that tensors of indices pick from; None passes over one, a mask covers several."""
    axes: list[int] = []
    axis = 0
    for tensor in indices:
        covered = 1 if tensor is None or tensor.dtype != torch.bool else len(tensor.shape)
        if tensor is not None:
            axes += range(axis, axis + covered)
        axis += covered
    return axes


@operation("embedding")
def embedding(state: PropagationState, call: Call) -> Value:
    """Rows of a table [rows, C] that is no layer's, picked by indices [...].

    See ``PropagateUnits.__call__``.
    """
    value, indices = state.read(call.args[0]), call.args[1]
    if value.ids is None:
        return value.with_ids(None)
    if varies(value.ids, 0):
        return state.stop(call)
    return value.with_ids(value.ids.reshape(*(1,) * len(indices.shape), -1))


@operation("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(state: PropagationState, call: Call) -> list[Value]:
    """Sums of rows of a table [rows, C], a sum for each bag: [bags, C].

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    ids = value.ids
    if ids is not None and varies(ids, 0):
        state.stop(call)
        ids = None
    is_max = argument(call, 4, "mode", 0) == 2
    bags = replace(value.with_ids(ids), new_units=UNKNOWN) if is_max else value.with_ids(ids)
    return [bags, *[Value() for _ in call.results[1:]]]


@operation("segment_reduce")
def segment_reduce(state: PropagationState, call: Call) -> Value:
    """Entries along an axis, reduced segment by segment.

    See ``PropagateUnits.__call__``.
    """
    value, axis = state.read(call.args[0]), argument(call, 5, "axis", 0)
    if value.ids is not None and varies(value.ids, axis):
        return state.stop(call)
    is_linear = argument(call, 1, "reduce") in ("sum", "mean")
    return value if is_linear else replace(value, new_units=UNKNOWN)


@operation("view_as_real")
def view_as_real(state: PropagationState, call: Call) -> Value:
    """A complex value as one with an axis of two parts.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    return value.with_ids(None if value.ids is None else value.ids[..., None])


@operation("view_as_complex")
def view_as_complex(state: PropagationState, call: Call) -> Value:
    """Two parts along the last axis as one complex entry: parts are bound.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    if value.ids is None:
        return value.with_ids(None)
    state.units.bind_lines(value.ids)
    return value.with_ids(value.ids[..., 0])


# --- values one after the other ------------------------------------------------------------------


class _Part(NamedTuple):
    """One of the values that are concatenated.

    Attributes:
        ref: its tensor.
        value: what is known of it.
        ids: its units, as many axes as the result; None where it has none.
        shape: its shape, as many axes as the result.
    """

    ref: Ref
    value: Value
    ids: Ids | None
    shape: Shape


@operation("cat", "concat", "stack")
def concatenate(state: PropagationState, call: Call) -> Value:
    """Values one after the other along an axis; ``stack`` gives each a new axis of size 1 first.

    See ``PropagateUnits.__call__``.
    """
    refs = call.args[0]
    axis = argument(call, 1, "dim", 0) % len(call.result.shape)
    values = [state.read(ref) for ref in refs]
    new_axis = axis if call.name == "stack" else None
    parts = [
        _part(ref, value, new_axis)
        for ref, value in zip(refs, values, strict=True)
        if ref.shape != (0,)  # torch lets an empty tensor be concatenated with any other
    ]
    all_ids = [part.ids for part in parts]
    present = [ids for ids in all_ids if ids is not None]
    if not present:
        return Value(uniform=all(value.uniform for value in values))
    if not any(varies(ids, axis) for ids in present):  # the same units in each value
        ids = state.combine(call, [p.value for p in parts], all_ids, [p.ref for p in parts])
        new_units = together([p.value.combined_new_units() for p in parts], shown(call))
        return Value(ids, data=True, new_units=new_units)
    joined_ids = joined(all_ids, [part.shape for part in parts], axis)
    state.freeze_if_along_others(joined_ids, all_ids, axis, call)
    dropout = min(part.value.dropout for part in parts if part.ids is not None)
    new_units = together([p.value.new_units for p in parts if p.ids is not None], shown(call))
    return Value(joined_ids, data=True, dropout=dropout, new_units=new_units)


def _part(ref: Ref, value: Value, new_axis: int | None) -> _Part:
    """A value that is concatenated.

    Args:
        ref: its tensor.
        value: what is known of it.
        new_axis: where ``stack`` inserts an axis of size 1; None for ``cat``.
    """
    if new_axis is None:
        return _Part(ref, value, value.ids, ref.shape)
    ids = None if value.ids is None else np.expand_dims(value.ids, new_axis)
    return _Part(ref, value, ids, (*ref.shape[:new_axis], 1, *ref.shape[new_axis:]))


@operation("_pack_padded_sequence")
def pack(state: PropagationState, call: Call) -> list[Value]:
    """[T, B, W] -> data [steps of all sequences, W] and batch sizes.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    ids = value.ids
    if ids is not None and (varies(ids, 0) or varies(ids, 1)):
        state.stop(call)
        ids = None
    return [value.with_ids(None if ids is None else ids[0]), Value()]


@operation("_pad_packed_sequence")
def pad_packed(state: PropagationState, call: Call) -> list[Value]:
    """Data [steps of all sequences, W] -> [T, B, W] and lengths.

    See ``PropagateUnits.__call__``.
    """
    value = state.read(call.args[0])
    return [value.with_ids(None if value.ids is None else value.ids[None]), Value()]
