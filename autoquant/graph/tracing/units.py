"""Units: which entries of which axes are one and the same unit, and which only grow together.

Every entry of a layer's output is a unit with a number. Adding two values makes their units one.
Some units can only be duplicated together, as all of an attention head's: they are bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
"""Numbers of units along some axes of a value; NONE where an entry is no unit. Broadcasts against
the value's shape: axes along which the unit does not change have size 1."""

NONE = -1


class _Forest:
    """Disjoint sets of whole numbers; each is known by its smallest member."""

    def __init__(self) -> None:
        self.parents = np.empty(0, dtype=np.int64)

    def grow(self, count: int) -> None:
        self.parents = np.concatenate(
            [self.parents, np.arange(len(self.parents), len(self.parents) + count)]
        )

    def roots(self, ids: Ids) -> Ids:
        """The set of each; NONE stays NONE."""
        at = np.where(ids == NONE, 0, ids)
        while len(self.parents) and not np.array_equal(up := self.parents[at], at):
            at = up
        return np.where(ids == NONE, NONE, at)

    def join(self, one: Ids, other: Ids) -> None:
        """Make pairs of members one set each."""
        pairs = np.stack([self.roots(one), self.roots(other)], -1).reshape(-1, 2)
        pairs = np.unique(pairs[(pairs[:, 0] != pairs[:, 1]) & (pairs >= 0).all(1)], axis=0)
        for first, second in pairs.tolist():
            low, high = sorted((self._root(first), self._root(second)))
            self.parents[high] = low

    def _root(self, member: int) -> int:
        parents = self.parents
        while (up := int(parents[member])) != member:
            parents[member] = parents[up]
            member = up
        return member


class Units:
    """All units of a model, and why some of them cannot grow."""

    def __init__(self) -> None:
        self._same = _Forest()
        self._bound = _Forest()
        self._frozen: dict[int, str] = {}

    def fresh(self, count: int) -> Ids:
        """Numbers of new units."""
        first = len(self._same.parents)
        self._same.grow(count)
        self._bound.grow(count)
        return np.arange(first, first + count)

    def unite(self, one: Ids, other: Ids) -> None:
        """Make units one, pair by pair; the shapes broadcast."""
        first, second = np.broadcast_arrays(one, other)
        self._same.join(first, second)
        self._bound.join(first, second)

    def bind(self, lines: Ids) -> None:
        """Let the units of each line (the last axis) only grow together."""
        known = np.where(lines == NONE, lines.max(-1, keepdims=True), lines)
        self._bound.join(known, np.broadcast_to(known[..., :1], known.shape))

    def bind_pairs(self, one: Ids, other: Ids) -> None:
        """Let pairs of units only grow together; the shapes broadcast."""
        self._bound.join(*np.broadcast_arrays(one, other))

    def freeze(self, ids: Any, reason: str) -> None:
        """Say why units cannot grow; the first reason counts."""
        for unit in np.unique(ids).tolist():
            if unit != NONE:
                self._frozen.setdefault(unit, reason)

    def frozen(self) -> Iterator[tuple[int, str]]:
        """Bound sets that cannot grow, and why, first reasons first."""
        for unit, reason in self._frozen.items():
            yield int(self.atoms(np.array([unit]))[0]), reason

    def atoms(self, ids: Ids) -> Ids:
        """The bound set of each unit: what can only be duplicated as a whole."""
        return self._bound.roots(ids)
