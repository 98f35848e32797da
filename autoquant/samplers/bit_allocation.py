"""BitAllocation: the bits of each layer that fill a budget with the least increase of the loss.

One choice of every dimension; loss increases add up (samplers.integer_program).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.samplers.integer_program import IntegerProgram
from autoquant.space.projection import Projection
from autoquant.space.search_space import Dimension, Point

MAX_LOSS_RATIO = 2.0  # twice the units at most halve the loss increase of rounding their weights
NOISE = 0.7  # deviation of the logarithms of random factors: half are above 1.6 or below 1/1.6


@dataclass(frozen=True)
class BitAllocation:
    """Points whose weight bits follow from a model's sensitivity.

    Activations have the most bits of the space that the limits leave.

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
        last = [len(dimension.choices) - 1 for dimension in self._dimensions]
        steps = [*map(min, widths, last)]
        losses = [
            self._loss_increases(i) * (factors[i] if factors else 1.0) for i in range(len(last))
        ]
        point = self._program.solve(losses, steps)
        if point is None:
            return None
        fixed = frozenset(i for i, d in enumerate(self._dimensions) if not d.is_weight_bits)
        filled = self.projection(point, fixed) or point
        weights = (i for i, d in enumerate(self._dimensions) if d.is_weight_bits)
        return filled, float(sum(losses[i][filled[i]] for i in weights))

    @cached_property
    def _program(self) -> IntegerProgram:
        return IntegerProgram(self.projection.space, self.projection.limits, secondary=None)

    def _loss_increases(self, index: int) -> NDArray[np.float64]:
        """The loss increase of each choice of a dimension.

        Those of activations are not measured: the highest choice is taken where it is within the
        limits.
        """
        dimension = self._dimensions[index]
        if dimension.is_weight_bits:
            measured = self.sensitivity.loss_increases[dimension.name]
            return np.array([measured[choice] for choice in dimension.choices])
        steps = range(len(dimension.choices))
        return np.array([(len(steps) - 1 - step) * self._unit for step in steps])

    @cached_property
    def _unit(self) -> float:
        """A small share of the loss increases of all weights."""
        measured = self.sensitivity.loss_increases.values()
        values = (value for by_bits in measured for value in by_bits.values())
        return 1e-4 * max(filter(math.isfinite, values), default=1.0) or 1.0

    @property
    def _dimensions(self) -> Sequence[Dimension]:
        return self.projection.space.dimensions
