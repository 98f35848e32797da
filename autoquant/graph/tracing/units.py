"""Units: which entries of which axes can only grow together.

Every entry of a layer's output is a unit with a number. Units are bound where one cannot be
duplicated without the other: two that are added to each other, or all those of an attention head.
Bound units form an equivalence class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoquant.graph.tracing.disjoint_sets import NONE, DisjointSets

Ids = NDArray[np.int64]
"""Numbers of units along some axes of a value; NONE where an entry is no unit. Broadcasts against
the value's shape: axes along which the unit does not change have size 1."""

__all__ = ["NONE", "Ids", "Units", "varies"]


def varies(ids: Ids, axis: int) -> bool:
    """Whether units change along an axis.

    Args:
        ids: the units of a value.
        axis: counted from either end.
    """
    return bool(ids.shape[axis] > 1)


class Units:
    """All units of a model, which of them are bound, and why some cannot grow."""

    def __init__(self) -> None:
        self._bound = DisjointSets()
        self._frozen: dict[int, str] = {}  # the reason of each unit that cannot grow

    def add(self, count: int) -> Ids:
        """Numbers of new units, [count].

        Args:
            count: how many.
        """
        return self._bound.add(count)

    def bind(self, first: Ids, second: Ids) -> None:
        """Bind units pair by pair.

        Args:
            first: one unit of each pair; pairs with NONE are left out.
            second: the other one; the shapes broadcast.
        """
        self._bound.join(*np.broadcast_arrays(first, second))

    def bind_lines(self, lines: Ids) -> None:
        """Bind all units of each line.

        Args:
            lines: [..., units of a line]; NONE is left out.
        """
        units = np.where(lines == NONE, lines.max(-1, keepdims=True), lines)
        self.bind(units, units[..., :1])

    def freeze(self, ids: Any, reason: str) -> None:
        """Say why units cannot grow; the first reason counts.

        Args:
            ids: of any shape; NONE is left out.
            reason: follows a layer's name in messages ("feeds the model's output").
        """
        for unit in np.unique(ids).tolist():
            if unit != NONE:
                self._frozen.setdefault(unit, reason)

    def frozen(self) -> Iterator[tuple[int, str]]:
        """Equivalence classes that cannot grow, and why, first reasons first."""
        for unit, reason in self._frozen.items():
            yield self._bound.smallest_of(unit), reason

    def classes(self, ids: Ids) -> Ids:
        """The equivalence class of each unit, which can only be duplicated as a whole.

        Args:
            ids: of any shape; NONE stays NONE.

        Returns:
            The smallest unit of each class.
        """
        return self._bound.smallest(ids)
