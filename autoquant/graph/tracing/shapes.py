"""Units through operations that only move entries: views and concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoquant.graph.tracing.units import NONE, Ids, varies

Shape = tuple[int, ...]


def without_units(ndim: int) -> Ids:
    """Ids of a value that holds no units.

    Args:
        ndim: number of the value's axes.
    """
    return np.full((1,) * ndim, NONE, dtype=np.int64)


def narrow(ids: Ids) -> Ids:
    """The same units with size 1 along every axis along which nothing changes.

    Args:
        ids: the units of a value.
    """
    for axis in range(ids.ndim):
        first = ids.take([0], axis) if varies(ids, axis) else ids
        if varies(ids, axis) and bool((ids == first).all()):
            ids = first
    return ids


def reshaped(ids: Ids, old: Shape, new: Shape) -> Ids:
    """Units of a value after it was viewed in another shape.

    The axes of both shapes are cut into stretches with equally many entries, as short as possible.
    Only stretches along which units change are written out entry by entry: the others, such as
    the batch, may be long.

    >>> reshaped(np.array([[[0, 1]]]), old=(8, 3, 2), new=(24, 2)).tolist()  # [B, T, C] -> [B*T, C]
    [[0, 1]]

    Args:
        ids: units, as many axes as ``old``.
        old: shape of the value before.
        new: shape of the value after, of as many entries.

    Returns:
        Units, as many axes as ``new``.
    """
    if 0 in old:
        return without_units(len(new))
    old_stretches, new_stretches = _stretches(old, new)
    changing = {stretch for axis, stretch in enumerate(old_stretches) if varies(ids, axis)}
    before = [n if s in changing else 1 for n, s in zip(old, old_stretches, strict=True)]
    after = [n if s in changing else 1 for n, s in zip(new, new_stretches, strict=True)]
    return narrow(np.broadcast_to(ids, before).reshape(after))


def _stretches(old: Shape, new: Shape) -> tuple[list[int], list[int]]:
    """For each axis of two shapes with equally many entries, the number of its stretch.

    A stretch ends where both shapes have the same product of sizes so far.

    >>> _stretches((2, 12, 5), (4, 6, 5))  # products 2, 24, 120 and 4, 24, 120
    ([0, 0, 1], [0, 0, 1])
    """
    old_products = np.cumprod(old, dtype=np.int64)
    new_products = np.cumprod(new, dtype=np.int64)
    ends = np.intersect1d(old_products, new_products)
    in_old, in_new = np.searchsorted(ends, old_products), np.searchsorted(ends, new_products)
    return in_old.tolist(), in_new.tolist()


def joined(all_ids: Sequence[Ids | None], shapes: Sequence[Shape], axis: int) -> Ids:
    """Units of values that are concatenated.

    Args:
        all_ids: units of each value; None where it has none, but not for all.
        shapes: shape of each value, all with the same number of axes.
        axis: along which they are concatenated, counted from the front.

    Returns:
        Units of the result.
    """
    present = [ids for ids in all_ids if ids is not None]
    around = np.broadcast_shapes(*(_with_size(ids.shape, axis, 1) for ids in present))
    parts = []
    for ids, shape in zip(all_ids, shapes, strict=True):
        part = without_units(len(shape)) if ids is None else ids
        parts.append(np.broadcast_to(part, _with_size(around, axis, shape[axis])))
    return narrow(np.concatenate(parts, axis))


def _with_size(shape: Shape, axis: int, size: int) -> Shape:
    """A shape with another size along one axis.

    Args:
        shape: of any number of axes.
        axis: which, counted from the front.
        size: the new one.
    """
    return (*shape[:axis], size, *shape[axis + 1 :])


def along(ids: Ids, axes: Sequence[int]) -> Ids:
    """Units with some axes flattened into the last one.

    Args:
        ids: the units of a value.
        axes: which, counted from either end.

    Returns:
        [entries of the other axes, entries of ``axes``].
    """
    axes = [axis % ids.ndim for axis in axes]
    rest = [axis for axis in range(ids.ndim) if axis not in axes]
    count = math.prod(ids.shape[axis] for axis in axes)
    return ids.transpose([*rest, *axes]).reshape(-1, count)
