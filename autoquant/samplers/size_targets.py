"""SizeTargets: how large the proposals of a search may be, so that they spread over the front."""

from __future__ import annotations

import math
from dataclasses import dataclass

NEAREST = 0.95
"""Largest size of a smaller proposal, over the largest budget."""


@dataclass(frozen=True)
class SizeTargets:
    """The largest packed file of each proposal.

    The first proposals have the budgets, the largest first. Of the later ones a share is spread
    between the smallest plan and the largest budget, evenly on a logarithmic scale (by van der
    Corput's sequence); the others have the budgets in turn.

    Attributes:
        budgets: in bytes, the largest first.
        smallest: bytes of the smallest plan of the space.
        spread: share of the proposals that are smaller.
    """

    budgets: tuple[int, ...]
    smallest: int
    spread: float = 0.5

    @property
    def count(self) -> int:
        """Number of budgets."""
        return len(self.budgets)

    @property
    def largest(self) -> int:
        """The largest budget, in bytes."""
        return self.budgets[0]

    def size(self, number: int) -> int:
        """The largest packed file of a proposal, in bytes.

        Args:
            number: of the proposal, from 0.
        """
        if number < self.count:
            return self.budgets[number]
        position = number - self.count
        before, after = (math.floor(n * self.spread) for n in (position, position + 1))
        if after > before:
            return self._smaller(after)
        return self.budgets[(position - before) % self.count]

    def _smaller(self, index: int) -> int:
        """A size between the smallest plan and the largest budget.

        Args:
            index: of the sequence, from 1.
        """
        low, high = self.smallest, max(self.smallest, NEAREST * self.largest)
        return int(low * (high / low) ** van_der_corput(index))


def van_der_corput(index: int) -> float:
    """A number of van der Corput's sequence to base 2, in (0, 1): 1/2, 1/4, 3/4, 1/8, ...

    Args:
        index: from 1.
    """
    value, share = 0.0, 0.5
    while index:
        value += share * (index % 2)
        index, share = index // 2, share / 2
    return value
