"""Proposals: the next plan of a search, from the sensitivity and the scores so far."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoquant.samplers.integer_program import IntegerProgram
from autoquant.samplers.loss_model import LossModel
from autoquant.samplers.loss_tables import Floats
from autoquant.samplers.size_targets import SizeTargets, van_der_corput
from autoquant.space.search_space import Point, SearchSpace

PRICE = 0.1
"""What all bit operations between the most and the fewest bits are worth, as a share of the loss
increase: activations take no bytes, and would have the most bits otherwise."""
DRAWN = 0.3
"""How far the drawn losses are from the expected ones, over their deviation: with a few dozen
trainings whole deviations find worse plans (`studies/tabular-*`)."""
MIN_DISTANCE = 0.02
"""Share of the dimensions in which a proposal differs from all earlier ones."""
GAP = 5e-3
"""Share of the least loss increase by which a later proposal may be above it: estimates have larger
errors, and the exact solution takes several times as long."""
AROUND = 0.3
"""Range of the sizes around that of an allowed loss, over that size."""
BISECTIONS = 6
"""Halvings of the range of sizes: to 1/64 of its logarithm."""


@dataclass(frozen=True)
class Proposals:
    """Proposes points within all limits; none comes twice.

    The first plan of each budget minimizes the expected loss increase without growth. Later ones
    minimize losses that are drawn from what the scores leave open (Thompson sampling with narrower
    draws: Russo et al. 2018, section 4), at sizes up to the largest budget.

    Attributes:
        program: finds the best bits at given widths.
        targets: sizes of the proposals.
        seed: of the draws.
        allowed: increase of the loss over that of the most bits everywhere, where the smallest plan
            within it is looked for: then proposals have sizes around the one at which it is
            expected; None: sizes are spread.
    """

    program: IntegerProgram
    targets: SizeTargets
    seed: int
    allowed: float | None = None

    @property
    def space(self) -> SearchSpace:
        """The space of the points."""
        return self.program.space

    def next_point(self, number: int, model: LossModel, taken: Collection[Point]) -> Point | None:
        """The next point; None where every point within the limits has been taken.

        Args:
            number: of the proposal, from 0.
            model: of the losses, with the scores so far.
            taken: points that are not to be proposed again.
        """
        size = self._size(number, model)
        if number < self.targets.count:
            point = self._solve(model.expected(), self._assignments[0], model, size, taken, 1)
            if point is not None:
                return point
        random = np.random.default_rng([self.seed, number, len(model.observations)])
        coefficients = model.sample(random, DRAWN)
        distance = max(1, round(MIN_DISTANCE * len(self.space.dimensions)))
        for least in sorted({distance, 1}, reverse=True):
            for bound in sorted({size, self.targets.largest}):
                options = self._options(number, random)
                points = [
                    self._solve(coefficients, widths, model, bound, taken, least)
                    for widths in options
                ]
                best = self._best([p for p in points if p is not None], coefficients, model)
                if best is not None:
                    return best
        return self._any_left(model, taken)

    def _size(self, number: int, model: LossModel) -> int:
        """The largest packed file of a proposal, in bytes.

        Args:
            number: of the proposal.
            model: of the losses.
        """
        if self.allowed is None or number < self.targets.count or not model.observations:
            return self.targets.size(number)
        expected = self._size_within(model)
        factor = 1 + AROUND * (van_der_corput(number) - 0.5)
        return round(min(self.targets.largest, max(self.targets.smallest, factor * expected)))

    def _size_within(self, model: LossModel) -> float:
        """The size at which the expected loss is the one that is allowed, by bisection."""
        assert self.allowed is not None
        coefficients, widths = model.expected(), self._assignments[0]
        losses = model.losses(coefficients, widths)
        low, high = float(self.targets.smallest), float(self.targets.largest)
        for _ in range(BISECTIONS):
            middle = (low * high) ** 0.5
            point = self.program.solve(losses, widths, size=int(middle))
            increase = math.inf
            if point is not None:
                tables = zip(losses, point, strict=True)
                increase = sum(float(table[choice]) for table, choice in tables)
            low, high = (low, middle) if increase <= self.allowed else (middle, high)
        return high

    def _options(self, number: int, random: np.random.Generator) -> list[Point]:
        """Assignments of widths that a proposal chooses from.

        Each assignment in which all layers grow alike is proposed once by itself; later proposals
        choose between no growth and one other assignment.

        Args:
            number: of the proposal.
            random: draws the other assignment.
        """
        alike = self.space.width_steps - 1
        position = number - self.targets.count
        if position % 2 == 0 and position // 2 < alike:
            return [self._assignments[1 + position // 2]]
        if len(self._assignments) == 1:
            return [self._assignments[0]]
        other = 1 + int(random.integers(len(self._assignments) - 1))
        return [self._assignments[0], self._assignments[other]]

    @cached_property
    def _assignments(self) -> list[Point]:
        """Points with the widths that are tried: none grows, all grow alike, one grows alone."""
        dimensions = self.space.dimensions
        grown = [i for i, dimension in enumerate(dimensions) if dimension.field == "width"]
        steps = range(1, self.space.width_steps)
        alike = [self._with_widths(dict.fromkeys(grown, step)) for step in steps]
        alone = [self._with_widths({i: step}) for step in steps for i in grown]
        return list(dict.fromkeys([self.space.smallest, *alike, *alone]))

    def _with_widths(self, steps: dict[int, int]) -> Point:
        """The smallest point with steps of some widths; the last one where there are fewer."""
        dimensions = self.space.dimensions
        return tuple(
            min(steps.get(i, 0), len(dimension.choices) - 1)
            for i, dimension in enumerate(dimensions)
        )

    def _solve(
        self,
        coefficients: Floats,
        widths: Point,
        model: LossModel,
        size: int,
        taken: Collection[Point],
        distance: int,
    ) -> Point | None:
        """The best point at given widths; None where there is none.

        Args:
            coefficients: of the loss model.
            widths: a point, of which only the widths count.
            model: gives the loss increases.
            size: the largest packed file, in bytes.
            taken: points that the solution differs from.
            distance: in at least how many dimensions.
        """
        losses = model.losses(coefficients, widths)
        apart = [point for point in taken if self._same_widths(point, widths)]
        return self.program.solve(
            losses,
            widths,
            price=PRICE,
            apart_from=apart,
            distance=distance,
            size=size,
            gap=GAP if apart else 0.0,
        )

    def _same_widths(self, one: Sequence[int], other: Sequence[int]) -> bool:
        """Whether two points have the same widths."""
        dimensions = enumerate(self.space.dimensions)
        return all(one[i] == other[i] for i, d in dimensions if d.field == "width")

    def _best(self, points: list[Point], coefficients: Floats, model: LossModel) -> Point | None:
        """The point with the least loss under given coefficients; None where there is no point.

        Args:
            points: to choose from.
            coefficients: of the loss model.
            model: gives the losses.
        """

        def loss(point: Point) -> float:
            tables = model.losses(coefficients, point)
            bits = sum(float(table[i]) for table, i in zip(tables, point, strict=True))
            return bits + model.width_effect(coefficients, point)

        return min(points, key=loss, default=None)

    def _any_left(self, model: LossModel, taken: Collection[Point]) -> Point | None:
        """A point that has not been taken, at any of the assignments of widths; None where none is.

        Args:
            model: gives the loss increases.
            taken: points that are left out.
        """
        for widths in self._assignments:
            point = self._solve(model.expected(), widths, model, self.targets.largest, taken, 1)
            if point is not None:
                return point
        return None
