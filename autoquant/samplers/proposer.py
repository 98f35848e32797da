"""Proposer: the next point of a search. All points are within the budget, and none comes twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoquant.plan import Plan
from autoquant.samplers.bit_allocation import BitAllocation
from autoquant.samplers.registry import new_sampler
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import Point, SearchSpace
from autoquant.study.outcome import Outcome
from autoquant.task import Direction

ATTEMPTS = 20  # points drawn for one proposal before the space is enumerated
MAX_ENUMERATED = 100_000  # points of the space
MIN_TRIALS_FOR_SAMPLER = 10  # with a bit allocation; before that its random points are proposed


@dataclass(frozen=True)
class Proposer:
    """Proposes points whose plans are within a budget.

    A proposal depends on the seed and on the trials that have ended, so that a search that was
    stopped in between proposes the same.

    Attributes:
        projection: onto the budget; it has the space.
        direction: whether low or high scores are good.
        sampler: a sampler's name or import path (samplers.registry).
        seed: of the sampler and of the allocation's random factors.
        allocation: of bits by sensitivity; None where the sensitivity was not measured.
    """

    projection: Projection
    direction: Direction
    sampler: str
    seed: int
    allocation: BitAllocation | None = None

    @property
    def space(self) -> SearchSpace:
        """The space of the projection."""
        return self.projection.space

    def propose(
        self, ended: Sequence[FrozenTrial], references: Sequence[Outcome], tried: Collection[Plan]
    ) -> Point | None:
        """The next point; None when every plan that fits has been tried.

        Args:
            ended: Optuna's records of the proposals so far.
            references: trained plans that the sampler may learn from as well.
            tried: plans that are not to be trained again.
        """
        evidence = [*self._as_trials(references), *self._usable(ended)]
        for point in self._candidates(evidence, len(ended)):
            if self.space.plan(point) not in tried:
                return point
        return None

    def ranges(self) -> dict[str, IntDistribution]:
        """Optuna's distributions by the dimensions' names: the index of a choice."""
        return {d.name: IntDistribution(0, len(d.choices) - 1) for d in self.space.dimensions}

    def params(self, point: Point) -> dict[str, int]:
        """A point as Optuna's parameters.

        Args:
            point: of the space.
        """
        return dict(zip(self.ranges(), point, strict=True))

    def params_of(self, plan: Plan) -> dict[str, int] | None:
        """A plan as Optuna's parameters; None where it is not in the space.

        Args:
            plan: for all layers of the space.
        """
        if {*plan.choices} != {*self.space.layers}:
            return None
        point = self.space.point(plan)
        return None if point is None else self.params(point)

    def _candidates(self, evidence: list[FrozenTrial], count: int) -> Iterator[Point]:
        """Points in the order of preference: initial ones, drawn ones, the whole space.

        Args:
            evidence: trials that the sampler models.
            count: of the proposals that have ended.
        """
        if self.allocation is None:
            yield from even_bits(self.projection)
        else:
            yield from self.allocation.initial_points()
        for attempt in range(ATTEMPTS):
            point = self._draw(evidence, (self.seed, count, attempt))
            if point is not None:
                yield point
        every = product(*(range(len(d.choices)) for d in self.space.dimensions))
        for point in islice(every, MAX_ENUMERATED):
            if self.projection.fits(point):
                yield point

    def _draw(self, evidence: list[FrozenTrial], entropy: tuple[int, int, int]) -> Point | None:
        """A random point of the allocation, while there are few trials; else one of the sampler.

        Args:
            evidence: trials that the sampler models.
            entropy: seed, number of ended proposals, attempt. The sampler has half of the attempts
                in any case, for the allocation may have no other points.
        """
        few = len(evidence) < MIN_TRIALS_FOR_SAMPLER and entropy[-1] < ATTEMPTS // 2
        if few and self.allocation is not None:
            return self.allocation.random_point(entropy)
        return self.projection(self._sample(evidence, entropy))

    def _sample(self, evidence: list[FrozenTrial], entropy: tuple[int, ...]) -> Point:
        """What the sampler asks for, given the evidence, in a study in memory."""
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        sampler = new_sampler(self.sampler, seed)
        study = optuna.create_study(direction=self.direction, sampler=sampler)
        study.add_trials(evidence)
        trial = study.ask(fixed_distributions=dict(self.ranges()))
        return tuple(trial.params[name] for name in self.ranges())

    def _usable(self, ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that have a score."""
        scored = (TrialState.COMPLETE, TrialState.PRUNED)
        return [trial for trial in ended if trial.state in scored]

    def _as_trials(self, outcomes: Sequence[Outcome]) -> list[FrozenTrial]:
        """Complete outcomes within the budget whose plan is a point of the space."""
        points = [
            (self.space.point(outcome.plan), outcome.score)
            for outcome in outcomes
            if outcome.state == "complete" and self.projection.limits.holds(outcome.plan)
        ]
        return [
            create_trial(params=self.params(point), distributions=dict(self.ranges()), value=score)
            for point, score in points
            if point is not None
        ]
