"""Operations that change shapes, join tensors or take parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

from autoquant.exports.c.literals import literal
from autoquant.exports.c.lowering import Loop, Lowering, Value, arguments, lowers
from autoquant.exports.c.memory import View, dense
from autoquant.exports.c.places import refused

RESHAPES = ("view", "_unsafe_view", "reshape", "view_copy")


@lowers(
    "permute", "transpose.int", "t", "expand", "select.int", "slice.Tensor", "squeeze",
    "squeeze.dim", "squeeze.dims", "unsqueeze", "alias", "detach", "split_with_sizes",
    "split.Tensor", "chunk", "unbind.int", "lift_fresh_copy", "unfold",
)  # fmt: skip
def _view(lowering: Lowering, node: Node) -> Value:
    """The same entries, seen otherwise: nothing is computed."""
    source = lowering.view(arguments(node)[0])
    if str(node.target).startswith("aten.lift_fresh"):
        return source
    made: Value = source.through(node.target, *arguments(node)[1:], **node.kwargs)
    return made


@lowers("as_strided")
def _strided(lowering: Lowering, node: Node) -> Value:
    """Entries by their places in memory, where these are the same in torch and in C."""
    values, sizes, strides, *offset = arguments(node)
    if not values.meta["val"].is_contiguous():
        raise refused(node, "its input is not contiguous")
    source = lowering.contiguous(lowering.view(values))
    first = source.offset + int(next(iter(offset), 0) or 0)
    return View(source.buffer, tuple(map(int, sizes)), tuple(map(int, strides)), first)


@lowers("clone", "contiguous")
def _clone(lowering: Lowering, node: Node) -> Value:
    """Values never change once they are written, so that none needs a copy."""
    return lowering.view(arguments(node)[0])


@lowers(*RESHAPES)
def _reshape(lowering: Lowering, node: Node) -> Value:
    source, shape = lowering.view(arguments(node)[0]), node.meta["val"].shape
    try:
        made: View = source.through(Tensor.view, tuple(shape))
        return made
    except RuntimeError:  # its entries do not lie as the shape needs
        source = lowering.contiguous(source)
    return View(source.buffer, tuple(shape), dense(shape), source.offset)


@lowers("cat")
def _cat(lowering: Lowering, node: Node) -> Value:
    parts: Sequence[Any] = arguments(node)[0]
    axis = int(arguments(node)[1]) if len(arguments(node)) > 1 else 0
    out = lowering.result(lowering.cost("cat"))
    axis %= len(out.shape)
    start = 0
    for part in (lowering.view(part) for part in parts):
        if not part.size:
            continue
        place = out.offset + start * out.strides[axis]
        lowering.each(View(out.buffer, part.shape, out.strides, place), [part], "{0}")
        start += part.shape[axis]
    return out


@lowers("constant_pad_nd")
def _pad(lowering: Lowering, node: Node) -> Value:
    """Fill with the value, then copy what remains of the input."""
    source = lowering.view(arguments(node)[0])
    pads: Sequence[int] = arguments(node)[1]
    value: Any = arguments(node)[2] if len(arguments(node)) > 2 else 0.0
    out = lowering.result(lowering.cost("pad"))
    floats = out.buffer.kind == "float"
    lowering.each(out, [], literal(float(value) if floats else int(value)))
    offset, from_offset, shape = out.offset, source.offset, [*source.shape]
    for i in range(len(pads) // 2):
        axis = len(shape) - 1 - i
        before, after = pads[2 * i], pads[2 * i + 1]
        offset += max(before, 0) * out.strides[axis]
        from_offset += max(-before, 0) * source.strides[axis]
        shape[axis] += min(before, 0) + min(after, 0)
    inside = View(source.buffer, tuple(shape), source.strides, from_offset)
    lowering.each(View(out.buffer, tuple(shape), out.strides, offset), [inside], "{0}")
    return out


@lowers("flip")
def _flip(lowering: Lowering, node: Node) -> Value:
    source = lowering.view(arguments(node)[0])
    axes: Sequence[int] = arguments(node)[1]
    strides, offset = [*source.strides], source.offset
    for axis in axes:
        offset += (source.shape[axis] - 1) * strides[axis]
        strides[axis] = -strides[axis]
    turned = View(source.buffer, source.shape, tuple(strides), offset)
    out = lowering.result(lowering.cost("flip"))
    lowering.each(out, [turned], "{0}")
    return out


@lowers("getitem", "<built-in function getitem>")
def _item(lowering: Lowering, node: Node) -> Value:
    values: Any = lowering.values[arguments(node)[0]]
    item: View = values[arguments(node)[1]]
    return item


@lowers("upsample_nearest2d.vec", "upsample_nearest1d.vec")
def _upsample(lowering: Lowering, node: Node) -> Value:
    """Whole factors only: each entry is repeated."""
    source, out = lowering.view(arguments(node)[0]), lowering.result(lowering.cost("upsample"))
    axes = range(2, len(out.shape))
    if any(out.shape[axis] % source.shape[axis] for axis in axes):
        raise refused(node, "its factor must be a whole number")
    split = [*out.shape[:2]]
    strides = [*source.strides[:2]]
    for axis in axes:
        split += [source.shape[axis], out.shape[axis] // source.shape[axis]]
        strides += [source.strides[axis], 0]
    target = View(out.buffer, tuple(split), dense(split), out.offset)
    lowering.each(target, [View(source.buffer, tuple(split), tuple(strides), source.offset)], "{0}")
    return out


def _rows(lowering: Lowering, source: View, indices: View, axis: int) -> View:
    """Chosen entries along an axis; an index counts from the end where it is negative.

    Args:
        lowering: gets the statement.
        source: that is read.
        indices: whole numbers, of any shape.
        axis: of the source.
    """
    out, indices = lowering.result(lowering.cost("gather")), lowering.contiguous(indices)
    size = source.shape[axis]
    shape = (*source.shape[:axis], indices.size, *source.shape[axis + 1 :])
    here = tuple(int(a == axis) for a in range(len(shape)))
    others = tuple(0 if a == axis else s for a, s in enumerate(source.strides))
    views = [
        View(out.buffer, shape, dense(shape), out.offset),
        View(indices.buffer, shape, here, indices.offset),
        View(source.buffer, shape, others, source.offset),
    ]
    loop = Loop.over(views, range(len(shape)), "ijklmnpq")
    target, index, base = loop.cells(views)
    lines = [
        "{",
        f"    int32_t at = {index};",
        f"    at = at < 0 ? at + {size} : at;",
        f"    at = at < 0 ? 0 : at < {size} ? at : {size - 1};",
        f"    {target} = {base.removesuffix(']')} + at * {source.strides[axis]}];",
        "}",
    ]
    lowering.emit(loop.text("\n".join(lines)), out, source, indices)
    return out


@lowers("index_select")
def _index_select(lowering: Lowering, node: Node) -> Value:
    source = lowering.view(arguments(node)[0])
    axis = int(arguments(node)[1]) % len(source.shape)
    return _rows(lowering, source, lowering.view(arguments(node)[2]), axis)


@lowers("embedding")
def _embedding(lowering: Lowering, node: Node) -> Value:
    table, indices = (lowering.view(argument) for argument in arguments(node)[:2])
    return _rows(lowering, table, indices, 0)


@lowers("index.Tensor")
def _index(lowering: Lowering, node: Node) -> Value:
    source = lowering.view(arguments(node)[0])
    indices: Sequence[Any] = arguments(node)[1]
    given = [axis for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        raise refused(node, f"one axis must be indexed, got {len(given)}")
    index = lowering.view(indices[given[0]])
    if (
        indices[given[0]].meta["val"].dtype.is_floating_point
        or str(indices[given[0]].meta["val"].dtype) == "torch.bool"
    ):
        raise refused(node, "its index must be whole numbers")
    return _rows(lowering, source, index, given[0])
