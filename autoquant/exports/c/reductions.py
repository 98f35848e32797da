"""Operations that compute an entry from many: sums, means, products of matrices, normalizations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from autoquant.exports.c.literals import literal
from autoquant.exports.c.lowering import (
    Loop,
    Lowering,
    Value,
    arguments,
    broadcast,
    lowers,
    name_of,
)
from autoquant.exports.c.memory import View, dense, product
from autoquant.exports.c.places import refused


def _axes(node: Node, shape: Sequence[int], position: int = 1) -> list[int]:
    """The axes that an operation names, or all.

    Args:
        node: the operation.
        shape: of its input.
        position: of the argument that names them.
    """
    given: Any = arguments(node)[position] if len(arguments(node)) > position else None
    if given is None or given == []:
        return [*range(len(shape))]
    axes = given if isinstance(given, list | tuple) else [given]
    return sorted(axis % len(shape) for axis in axes)


def _reduced(
    lowering: Lowering, node: Node, start: str, step: str, end: str, source: View | None = None
) -> View:
    """A tensor reduced over the axes that an operation names.

    Args:
        lowering: gets the statement.
        node: the operation.
        start: see ``Lowering.reduce``.
        step: as there.
        end: as there; {n} is the number of entries that are reduced.
        source: the tensor; None for the first argument.
    """
    source = source or lowering.view(arguments(node)[0])
    axes = _axes(node, source.shape)
    value = node.meta["val"]
    value = value[0] if isinstance(value, tuple | list) else value
    out = lowering.new(value.shape, lowering.kind(value.dtype), lowering.cost(_short(node)))
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(source.shape))
    count = product([source.shape[axis] for axis in axes])
    wide = View(out.buffer, kept, dense(kept))
    lowering.reduce(wide, [source], axes, start, step, end.replace("{n}", literal(float(count))))
    return out


def _short(node: Node) -> str:
    return name_of(node).partition(".")[0].strip("_")


@lowers("mean", "mean.dim")
def _mean(lowering: Lowering, node: Node) -> Value:
    return _reduced(lowering, node, "0", "r += {0};", "r / {n}")


@lowers("sum", "sum.dim_IntList")
def _sum(lowering: Lowering, node: Node) -> Value:
    return _reduced(lowering, node, "0", "r += {0};", "r")


@lowers("prod", "prod.dim_int")
def _prod(lowering: Lowering, node: Node) -> Value:
    return _reduced(lowering, node, "1", "r *= {0};", "r")


@lowers("any", "any.dim", "any.dims")
def _any(lowering: Lowering, node: Node) -> Value:
    return _reduced(lowering, node, "0", "r = r || {0};", "r")


@lowers("all", "all.dim")
def _all(lowering: Lowering, node: Node) -> Value:
    return _reduced(lowering, node, "1", "r = r && {0};", "r")


@lowers("amax", "amin", "max", "min", "max.dim", "min.dim")
def _extreme(lowering: Lowering, node: Node) -> Value:
    sign, name = (">", "max") if "max" in name_of(node) else ("<", "min")
    start = "-INFINITY" if name == "max" else "INFINITY"
    if lowering.view(arguments(node)[0]).buffer.kind != "float":
        start = "INT32_MIN" if name == "max" else "INT32_MAX"
    out = _reduced(lowering, node, start, f"r = {{0}} {sign} r ? {{0}} : r;", "r")
    return (out,) if name_of(node).endswith(".dim") else out


@lowers("linalg_vector_norm")
def _norm(lowering: Lowering, node: Node) -> Value:
    order: Any = arguments(node)[1] if len(arguments(node)) > 1 else 2
    if order != 2:
        raise refused(node, f"its order must be 2, got {order}")
    source = lowering.view(arguments(node)[0])
    axes = _axes(node, source.shape, 2)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(source.shape))
    out = lowering.result(lowering.cost("norm"))
    wide = View(out.buffer, kept, dense(kept))
    lowering.reduce(wide, [source], axes, "0", "r += {0} * {0};", "sqrtf(r)")
    return out


@lowers("var.correction")
def _variance(lowering: Lowering, node: Node) -> Value:
    source = lowering.view(arguments(node)[0])
    axes = _axes(node, source.shape)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(source.shape))
    count = product([source.shape[axis] for axis in axes])
    correction: Any = node.kwargs.get("correction")
    mean, out = lowering.new(kept), lowering.result(lowering.cost("var"))
    lowering.reduce(mean, [source], axes, "0", "r += {0};", f"r / {literal(float(count))}")
    divisor = literal(float(count - (1 if correction is None else correction)))
    step = "r += ({0} - {1}) * ({0} - {1});"
    wide = View(out.buffer, kept, dense(kept))
    views = [source, broadcast(mean, source.shape)]
    lowering.reduce(wide, views, axes, "0", step, f"r / {divisor}")
    return out


@lowers("argmax", "argmin")
def _arg(lowering: Lowering, node: Node) -> Value:
    """The first of the largest entries along one axis, or of all."""
    source = lowering.view(arguments(node)[0])
    axis: Any = arguments(node)[1] if len(arguments(node)) > 1 else None
    if axis is None:
        source = lowering.contiguous(source)
        source, axis = View(source.buffer, (source.size,), (1,), source.offset), 0
    axis %= len(source.shape)
    out = lowering.result(lowering.cost(name_of(node)))
    kept = tuple(1 if a == axis else size for a, size in enumerate(source.shape))
    wide = broadcast(View(out.buffer, kept, dense(kept)), source.shape)
    line = View(source.buffer, source.shape, source.strides, source.offset)
    outer = Loop.over([wide, line], [a for a in range(len(kept)) if a != axis], "ijklmn")
    target, first = outer.cells([wide, line])
    base = first.removesuffix("]")
    sign, step = (">" if name_of(node) == "argmax" else "<"), source.strides[axis]
    test = f"{base} + a * {step}] {sign} {base} + r * {step}]"
    body = ["{", "    int32_t r = 0;", f"    for (int32_t a = 1; a < {source.shape[axis]}; a++)"]
    body += [f"        if ({test}) r = a;", f"    {target} = r;", "}"]
    lowering.emit(outer.text("\n".join(body)), out, source)
    return out


def _matmul(lowering: Lowering, out: View, a: View, b: View, end: str = "r") -> View:
    """out[..., i, j] = sum over k of a[..., i, k] * b[..., k, j].

    Args:
        lowering: gets the statement.
        out: that is written.
        a: the first factor.
        b: the second factor.
        end: expression of the result.
    """
    *lead, rows, inner = a.shape
    shape = (*lead, rows, b.shape[-1], inner)
    first = View(a.buffer, shape, (*a.strides[:-1], 0, a.strides[-1]), a.offset)
    second = View(b.buffer, shape, (*b.strides[:-2], 0, b.strides[-1], b.strides[-2]), b.offset)
    wide = View(out.buffer, (*shape[:-1], 1), (*out.strides, 0), out.offset)
    axes = [len(shape) - 1]
    lowering.reduce(wide, [first, second], axes, "0", "r += {0} * {1};", end)
    return out


@lowers("mm", "bmm", "mv", "dot")
def _product(lowering: Lowering, node: Node) -> Value:
    a, b = (lowering.view(argument) for argument in arguments(node)[:2])
    out = lowering.result(lowering.cost("matmul"))
    _note(lowering, node)
    if name_of(node) in ("mm", "bmm"):
        return _matmul(lowering, out, a, b)
    column = View(b.buffer, (*b.shape, 1), (*b.strides, 0), b.offset)
    row = a if len(a.shape) == 2 else View(a.buffer, (1, *a.shape), (0, *a.strides), a.offset)
    shape = (row.shape[0], 1)
    return _filled_as(out, _matmul(lowering, View(out.buffer, shape, dense(shape)), row, column))


def _filled_as(out: View, made: View) -> View:
    assert made.buffer is out.buffer
    return out


@lowers("addmm", "baddbmm")
def _addmm(lowering: Lowering, node: Node) -> Value:
    bias, a, b = (lowering.view(argument) for argument in arguments(node)[:3])
    made = lowering.new(node.meta["val"].shape, cost=lowering.cost("matmul"))
    _matmul(lowering, made, a, b)
    given: dict[str, Any] = {**node.kwargs}
    beta, alpha = (float(given.get(key, 1)) for key in ("beta", "alpha"))
    text = "{0}" if alpha == 1 else f"{literal(alpha)} * {{0}}"
    text += " + {1}" if beta == 1 else f" + {literal(beta)} * {{1}}"
    out = lowering.result(lowering.cost("matmul"))
    lowering.each(out, [made, bias], text)
    _note(lowering, node)
    return out


def _note(lowering: Lowering, node: Node) -> None:
    name = f"{lowering.layer}: {_short(node)}"
    lowering.floats.setdefault(name, "no factor of it is a quantized weight")


@lowers("_softmax", "_log_softmax")
def _softmax(lowering: Lowering, node: Node) -> Value:
    source = lowering.contiguous(lowering.view(arguments(node)[0]))
    axis = int(arguments(node)[1]) % max(len(source.shape), 1)
    out = lowering.result(lowering.cost(_short(node)))
    step, size = source.strides[axis], source.shape[axis]
    x, y = source.buffer.name, out.buffer.name
    loop = Loop.over([source, out], [a for a in range(len(source.shape)) if a != axis], "ijklmn")
    here, there = (
        " + ".join([*t, *o])
        for t, o in zip(
            loop.terms, ([str(source.offset)] if source.offset else [], []), strict=True
        )
    )
    call = f"{_short(node)}({x} + {here or 0}, {size}, {step}, {y} + {there or 0});"
    lowering.emit(loop.text(call), source, out)
    return out


@lowers("native_layer_norm", "native_group_norm")
def _normalized(lowering: Lowering, node: Node) -> Value:
    source = lowering.contiguous(lowering.view(arguments(node)[0]))
    if name_of(node) == "native_layer_norm":
        shape: Any = arguments(node)[1]
        gain, shift, epsilon = arguments(node)[2:5]
        size, run, period = product(shape), 1, 1
    else:
        gain, shift = arguments(node)[1:3]
        batch, channels, spatial, groups, epsilon = arguments(node)[3:8]
        del batch
        period, run = int(groups), int(spatial)
        size = int(channels) // period * run
    out = lowering.result(lowering.cost(_short(node)), 0)
    gains, shifts = (None if v is None else lowering.view(v) for v in (gain, shift))
    per_group = size // run if period > 1 else 0
    texts = [
        "NULL" if v is None else v.pointer + (f" + i % {period} * {per_group}" if per_group else "")
        for v in (gains, shifts)
    ]
    rows = source.size // size
    at = f"i * {size}"
    call = f"normalize({source.pointer} + {at}, {size}, {run}, {texts[0]}, {texts[1]}, "
    call += f"{literal(float(epsilon))}, {out.pointer} + {at});"
    text = f"for (int32_t i = 0; i < {rows}; i++)\n    {call}"
    lowering.emit(text, source, out, gains, shifts)
    return (out,)
