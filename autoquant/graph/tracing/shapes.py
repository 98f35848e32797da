"""Units through operations that only move entries: views, slices, concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoquant.graph.tracing.units import NONE, Ids

Shape = tuple[int, ...]


def spread(ids: Ids, shape: Shape) -> Ids:
    """Units at every entry of a value."""
    return np.broadcast_to(ids, shape)


def narrow(ids: Ids) -> Ids:
    """The same with size 1 along every axis along which nothing changes."""
    for axis in range(ids.ndim):
        first = ids.take([0], axis) if ids.shape[axis] > 1 else ids
        if ids.shape[axis] > 1 and bool((ids == first).all()):
            ids = first
    return ids


def reshaped(ids: Ids, old: Shape, new: Shape) -> Ids:
    """Units of a value of shape ``old`` after it was viewed as ``new``.

    Both shapes are cut into the smallest stretches of axes with equally many entries; only where
    units stand is a stretch spread out.
    """
    if 0 in old:
        return np.full((1,) * len(new), NONE, dtype=np.int64)
    parts: list[tuple[Shape, Shape]] = []  # per stretch: shape of the units before and after
    i = j = 0
    while i < len(old) or j < len(new):
        first, last, a, b = i, j, 1, 1
        while True:
            if a <= b and i < len(old):
                a, i = a * old[i], i + 1
            elif j < len(new):
                b, j = b * new[j], j + 1
            if a == b and (a > 1 or (i == len(old)) == (j == len(new)) or i > first):
                break
        whole = all(size == 1 for size in ids.shape[first:i])
        before = ids.shape[first:i] if whole else old[first:i]
        after = (1,) * (j - last) if whole else new[last:j]
        parts.append((before, after))
    before = tuple(size for part, _ in parts for size in part)
    after = tuple(size for _, part in parts for size in part)
    return narrow(np.broadcast_to(ids, before).reshape(after))


def joined(all_ids: Sequence[Ids | None], shapes: Sequence[Shape], axis: int) -> Ids:
    """Units of values that stand behind one another along an axis."""
    spread_out = []
    others = [ids for ids in all_ids if ids is not None]
    lead = np.broadcast_shapes(*(_without(ids.shape, axis) for ids in others))
    for ids, shape in zip(all_ids, shapes, strict=True):
        wanted = (*lead[:axis], shape[axis], *lead[axis + 1 :])
        given = np.full((1,) * len(shape), NONE, dtype=np.int64) if ids is None else ids
        spread_out.append(np.broadcast_to(given, wanted))
    return narrow(np.concatenate(spread_out, axis))


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def along(ids: Ids, axes: Sequence[int]) -> Ids:
    """Units with some axes flattened into a last one: [others, entries along the axes]."""
    axes = [axis % ids.ndim for axis in axes]
    rest = [axis for axis in range(ids.ndim) if axis not in axes]
    moved = ids.transpose([*rest, *axes])
    count = math.prod(ids.shape[axis] for axis in axes)
    return moved.reshape(-1, count)
