"""Disjoint sets of whole numbers (union-find: Tarjan 1975)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Members = NDArray[np.int64]
NONE = -1  # in an array of members: an entry that is none


class DisjointSets:
    """Sets of the numbers 0, 1, 2, ...; each set is named by its smallest member.

    Args:
        count: how many members there are at first, each in a set of its own.
    """

    def __init__(self, count: int = 0) -> None:
        self._parents = np.arange(count)  # [members]; a smaller member of the set, or itself

    def __len__(self) -> int:
        return len(self._parents)

    def add(self, count: int) -> Members:
        """Add members, each in a set of its own, and return them.

        Args:
            count: how many.
        """
        added = np.arange(len(self), len(self) + count)
        self._parents = np.concatenate([self._parents, added])
        return added

    def smallest(self, members: Members) -> Members:
        """The name of the set that each member is in.

        Args:
            members: of any shape; NONE stays NONE.
        """
        at = np.where(members == NONE, 0, members)
        while len(self) and not np.array_equal(parents := self._parents[at], at):
            at = parents
        return np.where(members == NONE, NONE, at)

    def smallest_of(self, member: int) -> int:
        """The name of the set that one member is in.

        Args:
            member: its number.
        """
        parents = self._parents
        while (parent := int(parents[member])) != member:
            parents[member] = parents[parent]
            member = parent
        return member

    def join(self, first: Members, second: Members) -> None:
        """Make one set of the two sets of each pair of members.

        Args:
            first: one member of each pair; pairs with NONE are left out.
            second: the other one, of the same shape.
        """
        pairs = np.stack([self.smallest(first), self.smallest(second)], -1).reshape(-1, 2)
        different = (pairs[:, 0] != pairs[:, 1]) & (pairs >= 0).all(1)
        for one, other in np.unique(pairs[different], axis=0).tolist():
            self.join_pair(one, other)

    def join_pair(self, one: int, other: int) -> None:
        """Make one set of the sets of two members.

        Args:
            one: a member.
            other: another one, or the same.
        """
        low, high = sorted((self.smallest_of(one), self.smallest_of(other)))
        self._parents[high] = low
