"""Which plans of a network are recorded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.costs.limit import Limit
from autoquant.samplers.bit_allocation import BitAllocation
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import Point, SearchSpace

PLANS = 600
LARGEST = 0.2
"""Share of the float model's bytes up to which plans are spread."""
NEAR = 0.95
"""Share of a budget that the plans near it have at least."""
SHARE_UNGROWN = 0.6
"""Of the layers of a random point."""

Kinds = dict[Point, tuple[str, float]]
"""For each point why it is recorded, and the budget that it was made for."""


class PlanDrawer:
    """Draws the points of a table.

    Args:
        limit: of the network's sizes; its value does not count.
        space: of the network.
        sensitivity: of the space.
        float_bytes: size of the float model.
    """

    def __init__(
        self, limit: Limit, space: SearchSpace, sensitivity: Sensitivity, float_bytes: int
    ) -> None:
        self._limit, self._space, self._float_bytes = limit, space, float_bytes
        self._sensitivity = sensitivity
        self._random = np.random.default_rng(0)

    def draw(self, budgets: tuple[float, ...], count: int = PLANS) -> Kinds:
        """Different points: a third of each kind, and what every strategy begins with.

        Args:
            budgets: shares of the float model.
            count: of the points.
        """
        points: Kinds = {}
        for budget in budgets:
            projection = self._projection(budget)
            first = BitAllocation(projection, self._sensitivity).initial_points()
            points |= dict.fromkeys(first, ("first", budget))
            points |= dict.fromkeys(even_bits(projection), ("uniform", budget))
        near, solved = count // 3 // len(budgets), count // 3 // len(budgets)
        for budget in budgets:
            self._add(points, self._near(budget), ("budget", budget), near)
            self._add(points, self._solved(budget), ("knapsack", budget), solved)
        self._add(points, self._spread(), ("spread", 0.0), count - len(points))
        numbers = self._random.permutation(len(points))
        return {[*points][number]: [*points.values()][number] for number in numbers}

    def _add(
        self, points: Kinds, drawn: Iterator[Point], kind: tuple[str, float], count: int
    ) -> None:
        """Add different points.

        Args:
            points: so far.
            drawn: points, some of which may be there already.
            kind: of these.
            count: how many are added.
        """
        target = len(points) + count
        while len(points) < target:
            points.setdefault(next(drawn), kind)

    def _spread(self) -> Iterator[Point]:
        """Points of sizes that are evenly spread on a logarithmic scale."""
        smallest = self._limit.of(self._space.plan(self._space.smallest)) / self._float_bytes
        while True:
            share = np.exp(self._random.uniform(np.log(smallest), np.log(LARGEST)))
            point = self._projection(float(share))(self._random_point())
            if point is not None:
                yield point

    def _near(self, budget: float) -> Iterator[Point]:
        """Points of at most a budget and at least NEAR of it."""
        projection = self._projection(budget)
        while True:
            point = projection(self._random_point())
            if point and projection.cost_of(point) >= NEAR * projection.limit.value:
                yield point

    def _solved(self, budget: float) -> Iterator[Point]:
        """Solutions of the knapsack with perturbed sensitivities and random activation bits."""
        allocation = BitAllocation(self._projection(budget), self._sensitivity)
        while True:
            entropy = tuple(self._random.integers(2**31, size=2).tolist())
            point = allocation.random_point(entropy)
            if point is not None:
                yield self._with_activations(point)

    def _with_activations(self, point: Point) -> Point:
        """The point with random activation bits; half of the points keep most of the largest."""
        kept = self._random.choice([0.25, 0.75])
        return tuple(
            int(self._random.integers(len(d.choices)))
            if d.field in ("activation_bits", "hidden_bits") and self._random.random() > kept
            else index
            for d, index in zip(self._space.dimensions, point, strict=True)
        )

    def _random_point(self) -> Point:
        """Any point; most layers do not grow."""
        return tuple(
            0
            if dimension.field == "width" and self._random.random() < SHARE_UNGROWN
            else int(self._random.integers(len(dimension.choices)))
            for dimension in self._space.dimensions
        )

    def _projection(self, share: float) -> Projection:
        """Onto a share of the float model."""
        value = int(share * self._float_bytes)
        limit = Limit(self._limit.cost, value, self._limit.network, self._limit.scheme)
        return Projection(self._space, limit)
