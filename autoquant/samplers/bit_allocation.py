"""BitAllocation: the bits of each layer that fill a budget with the least increase of the loss.

A multiple-choice knapsack: one choice of every dimension; costs and loss increases add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.space.projection import Projection, moved
from autoquant.space.search_space import Dimension, Point

KNAPSACK_BINS = 20_000  # into which the slack is divided
MAX_LOSS_RATIO = 2.0  # twice the units at most halve the loss increase of rounding their weights
NOISE = 0.7  # deviation of the logarithms of random factors: half are above 1.6 or below 1/1.6


@dataclass(frozen=True)
class BitAllocation:
    """Points whose weight bits follow from a model's sensitivity.

    Activations have the most bits of the space: no size depends on them.

    Attributes:
        projection: onto the budget; it has the space and the sizes.
        sensitivity: of the space's dimensions.
    """

    projection: Projection
    sensitivity: Sensitivity

    def initial_points(self) -> list[Point]:
        """The point with the least loss increase at each step of the widths.

        Widths at which the loss increase is more than MAX_LOSS_RATIO times that of the best width
        are left out, and those at which nothing fits.
        """
        steps = range(self.projection.space.width_steps)
        allocated = [self._allocate((width,) * len(self._dimensions)) for width in steps]
        fitting = [candidate for candidate in allocated if candidate is not None]
        least = min((increase for _, increase in fitting), default=0.0)
        return [point for point, increase in fitting if increase <= MAX_LOSS_RATIO * least]

    def random_point(self, entropy: tuple[int, ...]) -> Point | None:
        """The point with the least loss increase, after random factors on all loss increases.

        How much of a loss increase training removes differs between layers, so that other points
        than the first may be the best. Widths are random too; no layer grows where the random ones
        exceed MAX_LOSS_RATIO.

        Args:
            entropy: of the random numbers: equal entropy gives equal points.

        Returns:
            the point, or None where nothing fits without growth.
        """
        random = np.random.default_rng(np.random.SeedSequence(entropy))
        count = len(self._dimensions)
        factors = np.exp(NOISE * random.standard_normal(count)).tolist()
        most_choices = max(len(dimension.choices) for dimension in self._dimensions)
        widths = random.integers(0, most_choices, count)
        grown = random.random(count) < 0.5
        wide = self._allocate((widths * grown).tolist(), factors)
        plain = self._allocate([0] * count, factors)
        if plain is None:
            return None
        return wide[0] if wide is not None and wide[1] <= MAX_LOSS_RATIO * plain[1] else plain[0]

    def _allocate(
        self, widths: Sequence[int], factors: Sequence[float] | None = None
    ) -> tuple[Point, float] | None:
        """The best point at given widths, and its loss increase; None where nothing fits.

        Args:
            widths: for each dimension a step of the widths; the last one where it has fewer.
            factors: for each dimension, of its loss increases.
        """
        free = [i for i, dimension in enumerate(self._dimensions) if dimension.is_weight_bits]
        lowest = self._lowest(widths)
        slack = int(self.projection.limit.value - self._cost(lowest))
        if slack < 0:
            return None
        increases = {i: self._loss_increases(i) * (factors[i] if factors else 1.0) for i in free}
        costs = [self._added_cost(lowest, i) for i in free]
        point = list(lowest)
        for i, choice in zip(free, knapsack(costs, list(increases.values()), slack), strict=True):
            point[i] = choice
        fixed = frozenset(range(len(point))) - frozenset(free)
        filled = self.projection(tuple(point), fixed)
        if filled is None:
            return None
        return filled, float(sum(increases[i][filled[i]] for i in free))

    def _lowest(self, widths: Sequence[int]) -> Point:
        """The fewest weight bits and the most activation bits, at steps of the widths."""

        def choice(index: int, dimension: Dimension) -> int:
            if dimension.is_weight_bits:
                return 0
            last = len(dimension.choices) - 1
            return min(widths[index], last) if dimension.field == "width" else last

        return tuple(choice(i, dimension) for i, dimension in enumerate(self._dimensions))

    def _loss_increases(self, index: int) -> NDArray[np.float64]:
        """The loss increase of each choice of a dimension."""
        dimension = self._dimensions[index]
        measured = self.sensitivity.loss_increases[dimension.name]
        return np.array([measured[choice] for choice in dimension.choices])

    def _added_cost(self, lowest: Point, index: int) -> NDArray[np.int64]:
        """What each choice of a dimension adds to the cost of the lowest point."""
        least = self._cost(lowest)
        steps = range(len(self._dimensions[index].choices))
        return np.array([self._cost(moved(lowest, index, step)) - least for step in steps])

    def _cost(self, point: Point) -> int:
        """The cost of a point, in whole units."""
        return int(self.projection.cost_of(point))

    @property
    def _dimensions(self) -> Sequence[Dimension]:
        return self.projection.space.dimensions


def knapsack(
    costs: Sequence[NDArray[np.int64]],
    loss_increases: Sequence[NDArray[np.float64]],
    slack: int,
) -> list[int]:
    """One choice of every dimension, with the least total loss increase that fits the slack.

    Dynamic programming over bins of the slack (multiple-choice knapsack: Kellerer, Pferschy and
    Pisinger 2004, chapter 11); costs are rounded up to whole bins. Of choices with equal loss
    increases the earlier one is taken.

    Args:
        costs: for each dimension those of its choices, [choices]; the first must be 0.
        loss_increases: for each dimension those of its choices, [choices].
        slack: what the chosen costs may add up to, in the same unit.

    Returns:
        for each dimension the index of its choice.
    """
    bin_size = max(1, -(-slack // KNAPSACK_BINS))
    bins = slack // bin_size
    best, picks = np.zeros(bins + 1), []
    for added, increases in zip(costs, loss_increases, strict=True):
        sums = np.full((len(added), bins + 1), np.inf)
        for k, taken in enumerate(-(-added // bin_size)):
            if taken <= bins:
                sums[k, taken:] = best[: bins + 1 - taken] + increases[k]
        pick = sums.argmin(axis=0)
        best = sums[pick, np.arange(bins + 1)]
        picks.append(pick)
    chosen, left = [], bins
    for added, pick in zip(reversed(costs), reversed(picks), strict=True):
        choice = int(pick[left])
        chosen.append(choice)
        left -= int(-(-added[choice] // bin_size))
    return chosen[::-1]
