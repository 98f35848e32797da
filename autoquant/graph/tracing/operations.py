"""How operations propagate units: one rule an operation, found by the operation's name.

A rule gets the propagation state, which knows the values of tensors, and the call. It returns the
value of the result, or None where units end there. An operation without a rule stops whatever
reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from autoquant.graph.tracing.propagation_state import PropagationState
from autoquant.graph.tracing.record import Call, refs_in
from autoquant.graph.tracing.shapes import joined, reshaped
from autoquant.graph.tracing.units import Ids
from autoquant.graph.tracing.values import Value, varies

NORMALISED = "is normalised across its units by {}"
Rule = Callable[[PropagationState, Call], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations of ATen, named without their overloads."""

    def register(function: Rule) -> Rule:
        RULES.update((f"aten.{name}", function) for name in names)
        return function

    return register


def argument(call: Call, position: int, name: str, default: Any = None) -> Any:
    """An argument given by position or by name."""
    if len(call.given) > position:
        return call.given[position]
    return call.named.get(name, default)


# --- entries that only move -----------------------------------------------------------------------


@rule("alias", "detach", "clone", "contiguous", "_to_copy", "lift_fresh", "dropout", "positive")
def same(propagation: PropagationState, call: Call) -> Value:
    return propagation.read(call.given[0])


@rule("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "bernoulli")
def like(propagation: PropagationState, call: Call) -> Value:
    return Value(propagation.read(call.given[0]).ids, uniform=True)


@rule("zeros", "ones", "full", "empty", "scalar_tensor", "new_zeros", "new_ones", "new_full")
@rule("new_empty")
def uniform(propagation: PropagationState, call: Call) -> Value:
    return Value(uniform=True)


@rule("view", "_unsafe_view", "reshape", "unflatten", "_reshape_alias", "squeeze", "unsqueeze")
def view(propagation: PropagationState, call: Call) -> Value:
    value = propagation.read(call.given[0])
    if value.ids is None:
        return value.moved(None)
    return value.moved(reshaped(value.ids, call.given[0].shape, call.result.shape))


@rule("permute", "transpose", "t", "movedim", "swapaxes")
def permute(propagation: PropagationState, call: Call) -> Value:
    value, name = propagation.read(call.given[0]), call.target.removeprefix("aten.")
    if value.ids is None:
        return value.moved(None)
    if name == "permute":
        return value.moved(value.ids.transpose(call.given[1]))
    first, second = call.given[1:3] if name != "t" else (0, -1)
    return value.moved(value.ids.swapaxes(first, second) if value.ids.ndim > 1 else value.ids)


@rule("expand", "broadcast_to")
def expand(propagation: PropagationState, call: Call) -> Value:
    value = propagation.read(call.given[0])
    if value.ids is None:
        return value.moved(None)
    lead = len(call.result.shape) - value.ids.ndim
    return value.moved(value.ids.reshape((1,) * lead + value.ids.shape))


@rule("repeat")
def repeat(propagation: PropagationState, call: Call) -> Value:
    value: Value = expand(propagation, call)
    if value.ids is None:
        return value
    times = [n if varies(value.ids, i) else 1 for i, n in enumerate(call.given[1])]
    return value.moved(np.tile(value.ids, times))


@rule("slice", "narrow", "select", "flip", "roll", "index_select", "gather", "take_along_dim")
@rule("unfold")
def pick(propagation: PropagationState, call: Call) -> Any:
    """Some entries along one axis; units must not change along it, but for slices."""
    value, name = propagation.read(call.given[0]), call.target.removeprefix("aten.")
    if value.ids is None:
        return value.moved(None)
    dim = argument(call, 1, "dim", 0)
    axes = dim if isinstance(dim, list | tuple) else [dim]
    if name == "roll":
        axes = argument(call, 2, "dims", list(range(value.ids.ndim)))
    changing = [axis for axis in axes if varies(value.ids, axis)]
    if name == "slice" and changing:
        ends = [argument(call, i, n) for i, n in ((2, "start"), (3, "end"), (4, "step"))]
        return value.moved(propagation.part(value.ids, axes[0], slice(*ends)))
    if name == "select":
        index = argument(call, 2, "index") if changing else 0
        kept = (
            propagation.part(value.ids, dim, slice(index, index + 1 or None))
            if changing
            else value.ids
        )
        return value.moved(kept.squeeze(dim))
    if changing:
        return propagation.stop(call)
    if name == "unfold":
        return value.moved(value.ids[..., None])
    return value.moved(value.ids)


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "unsafe_split")
def split(propagation: PropagationState, call: Call) -> list[Value]:
    value = propagation.read(call.given[0])
    whole = call.target == "aten.unbind"
    dim = argument(call, 1, "dim", 0) if whole else argument(call, 2, "dim", 0)
    parts, at = [], 0
    for made in call.result:
        size = 1 if whole else made.shape[dim]
        ids = value.ids
        if ids is not None and varies(ids, dim):
            ids = propagation.part(ids, dim, slice(at, at + size))
        if ids is not None and whole:
            ids = ids.squeeze(dim)
        parts.append(value.moved(ids))
        at += size
    return parts


@rule("cat", "concat", "stack")
def cat(propagation: PropagationState, call: Call) -> Any:
    refs, dim = call.given[0], argument(call, 1, "dim", 0)
    values = [propagation.read(ref) for ref in refs]
    kept = [(v, r) for v, r in zip(values, refs, strict=True) if r.shape != (0,)]
    known = [value for value, _ in kept if value.ids is not None]
    if not known:
        return Value(uniform=all(value.uniform for value in values))
    stacked = call.target == "aten.stack"
    axis = dim % len(call.result.shape)
    shapes = [r.shape[:axis] + (1,) * stacked + r.shape[axis:] for _, r in kept]
    given = [
        np.expand_dims(v.ids, axis) if stacked and v.ids is not None else v.ids for v, _ in kept
    ]
    units = [ids for ids in given if ids is not None]
    if not any(varies(ids, axis) for ids in units):
        return Value(
            propagation.together(call, [v for v, _ in kept], given, [r for _, r in kept]), data=True
        )
    ids = joined(given, shapes, axis)
    propagation.cover(ids, given, axis, call)
    return Value(ids, data=True, dropout=min(value.dropout for value in known))


@rule("index")
def index(propagation: PropagationState, call: Call) -> Any:
    """Entries picked by tensors of indices, along axes along which units do not change."""
    value, indices = propagation.read(call.given[0]), call.given[1]
    if value.ids is None:
        return value.moved(None)
    axes, count = [], 0
    for each in indices:
        width = len(each.shape) if each is not None and "bool" in str(each.dtype) else 1
        axes += [*range(count, count + width)] if each is not None else []
        count += width
    if any(varies(value.ids, axis) for axis in axes) or axes != [*range(axes[0], axes[-1] + 1)]:
        return propagation.stop(call)
    ids = value.ids.squeeze(tuple(axes))
    lead = len(call.result.shape) - ids.ndim
    shape = (*ids.shape[: axes[0]], *(1,) * lead, *ids.shape[axes[0] :])
    return value.moved(ids.reshape(shape))


@rule("_pack_padded_sequence")
def pack(propagation: PropagationState, call: Call) -> list[Value]:
    value = propagation.read(call.given[0])
    ids = value.ids
    if ids is not None and (varies(ids, 0) or varies(ids, 1)):
        propagation.stop(call)
        ids = None
    return [value.moved(ids if ids is None else ids[0]), Value()]


@rule("_pad_packed_sequence")
def pad_packed(propagation: PropagationState, call: Call) -> list[Value]:
    value = propagation.read(call.given[0])
    return [value.moved(None if value.ids is None else value.ids[None]), Value()]


# --- numbers that are combined --------------------------------------------------------------------


def pointwise(propagation: PropagationState, call: Call) -> Value:
    """Any operation entry by entry: units that meet become one."""
    refs = refs_in((call.given, dict(call.named)))
    values = [propagation.read(ref) for ref in refs]
    ndim = len(refs_in(call.result)[0].shape)
    given = [
        None if v.ids is None else v.ids.reshape((1,) * (ndim - v.ids.ndim) + v.ids.shape)
        for v in values
    ]
    if all(ids is None for ids in given):
        return Value(uniform=all(value.uniform for value in values))
    return Value(propagation.together(call, values, given, refs), data=True)


@rule("copy_", "fill_", "zero_", "index_put_", "index_put", "scatter", "scatter_", "masked_scatter")
@rule(
    "masked_fill_", "slice_scatter", "select_scatter", "index_copy_", "index_add_", "scatter_add_"
)
def write(propagation: PropagationState, call: Call) -> Any:
    """Values written into another one: the last axis says what they are made of."""
    ids: Ids | None = None
    for ref in refs_in((call.given, dict(call.named))):
        given = propagation.read(ref).ids
        if given is None:
            continue
        if any(varies(given, axis) for axis in range(given.ndim - 1)):
            return propagation.stop(call)
        line = given.reshape(-1)
        if ids is not None and len(ids) != len(line):
            return propagation.stop(call)
        if ids is not None:
            propagation.units.unite(ids, line)
        ids = line
    ndim = len(call.given[0].shape)
    return (
        Value(uniform=True)
        if ids is None
        else Value(ids.reshape((1,) * (ndim - 1) + (-1,)), data=True)
    )


@rule("sum", "mean", "amax", "amin", "max", "min", "var", "std", "norm", "prod", "logsumexp", "all")
@rule(
    "any", "argmax", "argmin", "cumsum", "cumprod", "sort", "topk", "median", "var_mean", "std_mean"
)
@rule("linalg_vector_norm", "count_nonzero")
def reduce(propagation: PropagationState, call: Call) -> Any:
    value = propagation.read(call.given[0])
    results = refs_in(call.result)
    if value.ids is None:
        return [Value() for _ in results] if len(results) > 1 else Value()
    position = {"linalg_vector_norm": 2, "norm": 2, "topk": 2}.get(call.target[5:], 1)
    dim = argument(call, position, "dim")
    axes = [*range(value.ids.ndim)] if dim is None or dim == [] else dim
    axes = [axis % value.ids.ndim for axis in (axes if isinstance(axes, list | tuple) else [axes])]
    kept, made = propagation.pin(value.ids, axes, call), []
    for axis in axes:
        kept = kept.take([0], axis)
    for ref in results:
        ids = kept if len(ref.shape) == kept.ndim else kept.squeeze(tuple(axes))
        made.append(Value(ids, data=True))
    return made if len(made) > 1 else made[0]


@rule("_softmax", "softmax", "_log_softmax", "log_softmax", "_safe_softmax", "glu")
def softmax(propagation: PropagationState, call: Call) -> Any:
    value, dim = propagation.read(call.given[0]), argument(call, 1, "dim", -1)
    if value.ids is None:
        return Value()
    if call.target == "aten.glu":
        return glu(propagation, value.ids, dim)
    return Value(propagation.pin(value.ids, [dim], call), data=True)


def glu(propagation: PropagationState, ids: Ids, dim: int) -> Value:
    if not varies(ids, dim):
        return Value(ids, data=True)
    half = ids.shape[dim] // 2
    first, second = (propagation.part(ids, dim, slice(i * half, (i + 1) * half)) for i in (0, 1))
    propagation.units.unite(first, second)
    return Value(first, data=True)


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm", "layer_norm")
def layer_norm(propagation: PropagationState, call: Call) -> Any:
    value, shape = propagation.read(call.given[0]), call.given[1]
    if value.ids is None:
        return Value(data=True)
    ids = propagation.pin(value.ids, [-1 - i for i in range(len(shape))], call, NORMALISED)
    return [Value(ids, data=True), *[Value(data=True) for _ in refs_in(call.result)[1:]]]


# --- products -------------------------------------------------------------------------------------


@rule("mm", "bmm", "matmul", "baddbmm", "addmm", "mv", "dot", "addmv")
def product(propagation: PropagationState, call: Call) -> Any:
    added = call.target[5:] in ("baddbmm", "addmm", "addmv")
    first, second = call.given[1:3] if added else call.given[:2]
    if len(first.shape) < 2 or len(second.shape) < 2:
        return propagation.stop(call)
    if added and propagation.read(call.given[0]).ids is not None:
        return propagation.stop(call)
    one, other = propagation.read(first).ids, propagation.read(second).ids
    one = propagation.pin(one, [-1], call) if one is not None else None
    other = propagation.pin(other, [-2], call) if other is not None else None
    return Value(propagation.outer(one, other, call), data=True)


def attention(propagation: PropagationState, call: Call) -> Any:
    """softmax(q k^T) v: heads, if units are heads, stay heads; nothing within one may change."""
    refs = call.given[:3]
    ids = [propagation.read(ref).ids for ref in refs]
    pinned = [None if each is None else propagation.pin(each, [-1], call) for each in ids]
    heads = propagation.heads(pinned, call)
    results = refs_in(call.result)
    return [Value(heads, data=True), *[Value(data=True) for _ in results[1:]]]


# --- images ---------------------------------------------------------------------------------------


def spatial(axes: int) -> Rule:
    """Pooling, resampling and padding along the last axes."""

    def follow(propagation: PropagationState, call: Call) -> Any:
        value, results = propagation.read(call.given[0]), refs_in(call.result)
        ids = value.ids
        if ids is not None and any(varies(ids, -1 - i) for i in range(axes)):
            return propagation.stop(call)
        made = [value.moved(ids) for _ in results]
        return made if len(made) > 1 else made[0]

    return follow


for _axes in (1, 2, 3):
    for _name in (
        *("max_pool{}d_with_indices", "max_pool{}d", "avg_pool{}d", "adaptive_avg_pool{}d"),
        *("_adaptive_avg_pool{}d", "adaptive_max_pool{}d", "reflection_pad{}d", "max_unpool{}d"),
        *("replication_pad{}d", "upsample_nearest{}d", "_upsample_nearest_exact{}d"),
        *("fractional_max_pool{}d",),
    ):
        RULES["aten." + _name.format(_axes)] = spatial(_axes)
for _name in (
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "grid_sampler_2d",
):
    RULES[f"aten.{_name}"] = spatial(2)
RULES["aten.upsample_linear1d"] = spatial(1)
RULES["aten.upsample_trilinear3d"] = spatial(3)


@rule("constant_pad_nd", "pad")
def pad(propagation: PropagationState, call: Call) -> Any:
    """Padding counts from the last axis; one of nothing is none."""
    value, sizes = propagation.read(call.given[0]), call.given[1]
    padded = [-1 - i // 2 for i, size in enumerate(sizes) if size]
    if value.ids is not None and any(varies(value.ids, axis) for axis in padded):
        return propagation.stop(call)
    return replace(value, uniform=False, state=False)


UNTAGGED = {
    f"aten.{name}"
    for name in ("hardswish", "hardswish_", "hardtanh", "hardtanh_", "relu6", "rrelu", "prelu")
}
"""Pointwise operations that ATen does not tag as such."""


def rule_of(call: Call) -> Rule | None:
    """The rule of an operation, or None where it is not followed."""
    if (
        call.target.startswith("aten._scaled_dot_product")
        or call.target == "aten.scaled_dot_product_attention"
    ):
        return attention
    found = RULES.get(call.target)
    return found or (pointwise if call.pointwise or call.target in UNTAGGED else None)


__all__ = ["argument", "rule", "rule_of"]
