"""Allocation: the bits that fill a budget with the least rise of the loss, layer by layer.

A multiple-choice knapsack: of every dimension one choice, with sizes and rises that add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.space.projection import Projection, moved
from autoquant.space.search_space import Dimension, Point

CELLS = 20_000  # into which the room for bits is cut
MAX_LOSS_RATIO = 2.0  # growth to twice the units at most halves what rounding their weights costs
SPREAD = 0.7  # deviation of a guess's rises: half of them are off by a factor of 1.6 or more


@dataclass(frozen=True)
class Allocation:
    """Points whose bits suit a model's sensitivity.

    Activations have the widest bits of the space: no size depends on them.

    Attributes:
        projection: onto the budget; it knows the space and the sizes.
        sensitivity: of the space's dimensions.
    """

    projection: Projection
    sensitivity: Sensitivity

    def starts(self) -> list[Point]:
        """The best points that the rises know of, for each step of the widths.

        Widths at which the loss increases more than MAX_LOSS_RATIO times as much as at the best
        width are left out.
        """
        steps = range(self.projection.space.width_steps)
        found = [self._allocated((width,) * len(self._dimensions)) for width in steps]
        fitting = [each for each in found if each is not None]
        least = min((rise for _, rise in fitting), default=0.0)
        return [point for point, rise in fitting if rise <= MAX_LOSS_RATIO * least]

    def guess(self, entropy: tuple[int, ...]) -> Point | None:
        """The best point if the rises were a little other than measured, at promising widths.

        What training makes good of a rise differs between layers: a guess tries what if.
        """
        random = np.random.default_rng(np.random.SeedSequence(entropy))
        factors = np.exp(SPREAD * random.standard_normal(len(self._dimensions))).tolist()
        deepest = max(len(d.choices) for d in self._dimensions)
        widths = random.integers(0, deepest, len(self._dimensions))
        grown = random.random(len(self._dimensions)) < 0.5
        wide = self._allocated((widths * grown).tolist(), factors)
        plain = self._allocated([0] * len(self._dimensions), factors)
        if plain is None:
            return None
        return wide[0] if wide is not None and wide[1] <= MAX_LOSS_RATIO * plain[1] else plain[0]

    def _allocated(
        self, widths: Sequence[int], factors: Sequence[float] | None = None
    ) -> tuple[Point, float] | None:
        """The best point at given steps of the widths, and its rise; rises scaled by factors."""
        dimensions = self._dimensions
        held = {i for i, each in enumerate(dimensions) if not each.weighs}
        lowest = tuple(
            (min(widths[i], len(d.choices) - 1) if d.field == "width" else len(d.choices) - 1)
            if i in held
            else 0
            for i, d in enumerate(dimensions)
        )
        room = int(self.projection.limit.value - self._size(lowest))
        if room < 0:
            return None
        free = [i for i in range(len(dimensions)) if i not in held]
        rises = {i: self._rises(i) * (factors[i] if factors else 1.0) for i in free}
        chosen = knapsack([self._extras(lowest, i) for i in free], list(rises.values()), room)
        point = list(lowest)
        for i, choice in zip(free, chosen, strict=True):
            point[i] = choice
        filled = self.projection(tuple(point), frozenset(held))
        if filled is None:
            return None
        return filled, float(sum(rises[i][filled[i]] for i in free))

    def _rises(self, index: int) -> NDArray[np.float64]:
        """The rise of each choice of a dimension."""
        dimension = self._dimensions[index]
        measured = self.sensitivity.rises[dimension.name]
        return np.array([measured[choice] for choice in dimension.choices])

    def _extras(self, lowest: Point, index: int) -> NDArray[np.int64]:
        """Bytes that each choice of a dimension adds to the lowest point."""
        least = self._size(lowest)
        steps = range(len(self._dimensions[index].choices))
        return np.array([self._size(moved(lowest, index, step)) - least for step in steps])

    def _size(self, point: Point) -> int:
        return int(self.projection.cost_of(point))

    @property
    def _dimensions(self) -> Sequence[Dimension]:
        return self.projection.space.dimensions


def knapsack(
    sizes: Sequence[NDArray[np.int64]], rises: Sequence[NDArray[np.float64]], room: int
) -> list[int]:
    """One choice of every list, with the least sum of rises whose sizes add up to at most ``room``.

    Dynamic programming over cells of the room; sizes are rounded up to whole cells. The first
    choice of every list must take no room. Of choices that rise alike the earlier one is taken.
    """
    cell = max(1, -(-room // CELLS))
    cells = room // cell
    best, picks = np.zeros(cells + 1), []
    for own, rise in zip(sizes, rises, strict=True):
        sums = np.full((len(own), cells + 1), np.inf)
        for k, taken in enumerate(-(-own // cell)):
            if taken <= cells:
                sums[k, taken:] = best[: cells + 1 - taken] + rise[k]
        pick = sums.argmin(axis=0)
        best = sums[pick, np.arange(cells + 1)]
        picks.append(pick)
    chosen, left = [], cells
    for own, pick in zip(reversed(sizes), reversed(picks), strict=True):
        choice = int(pick[left])
        chosen.append(choice)
        left -= int(-(-own[choice] // cell))
    return chosen[::-1]
