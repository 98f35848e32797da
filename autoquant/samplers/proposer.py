"""Proposals: points of the search space, all within the budget, none twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice, product

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoquant.errors import UserError
from autoquant.plan import Plan
from autoquant.samplers.bit_allocation import Allocation
from autoquant.space.projection import Projection, even_bits
from autoquant.space.search_space import Point, SearchSpace
from autoquant.study.outcome import Outcome
from autoquant.task import Direction

ATTEMPTS = 20  # samples drawn for one proposal before the space is gone through in order
EXHAUSTIVE = 100_000  # points that are gone through at most
STARTUP = 6  # trials before a sampler models them
MIN_TRIALS_FOR_SAMPLER = (
    10  # trials before it is asked at all, where guesses by sensitivity can be had
)


def _gp_sampler(seed: int) -> BaseSampler:
    if find_spec("scipy") is None:
        raise UserError("sampler=gp must have scipy installed (pip install scipy), got none")
    return GPSampler(n_startup_trials=STARTUP, seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(n_startup_trials=STARTUP, multivariate=True, seed=seed),
    "gp": _gp_sampler,
    "random": lambda seed: RandomSampler(seed=seed),
}


@dataclass(frozen=True)
class Proposer:
    """Proposes plans within a budget.

    A proposal depends on the seed and on the trials that have ended, not on how often the search
    was stopped in between.

    Attributes:
        projection: onto the budget; it knows the space.
        sampler: name of an Optuna sampler, see SAMPLERS.
        allocation: knows which layers mind few bits; None where that is not known.
    """

    projection: Projection
    direction: Direction
    sampler: str
    seed: int
    allocation: Allocation | None = None

    @property
    def space(self) -> SearchSpace:
        return self.projection.space

    def propose(
        self, ended: Sequence[FrozenTrial], references: Sequence[Outcome], tried: Collection[Plan]
    ) -> Point | None:
        """The next point; None when every plan that fits has been tried.

        Args:
            ended: Optuna's records of the proposals so far.
            references: trained plans from which the sampler may learn as well.
            tried: plans that are not to be trained again.
        """
        evidence = [*self._as_trials(references), *self._usable(ended)]
        for point in self._candidates(evidence, len(ended)):
            if self.space.plan(point) not in tried:
                return point
        return None

    def ranges(self) -> dict[str, IntDistribution]:
        """Optuna's distributions: one ordinal index for each dimension."""
        return {d.name: IntDistribution(0, len(d.choices) - 1) for d in self.space.dimensions}

    def params(self, point: Point) -> dict[str, int]:
        """A point as Optuna's parameters."""
        return dict(zip(self.ranges(), point, strict=True))

    def _candidates(self, evidence: list[FrozenTrial], count: int) -> Iterator[Point]:
        known = self.allocation
        yield from even_bits(self.projection) if known is None else known.starts()
        for attempt in range(ATTEMPTS):
            guess = (
                len(evidence) < MIN_TRIALS_FOR_SAMPLER and attempt < ATTEMPTS // 2
            )  # then they are all tried
            point = self._drawn(evidence, (self.seed, count, attempt), guess=guess)
            if point is not None:
                yield point
        every = product(*(range(len(d.choices)) for d in self.space.dimensions))
        for point in islice(every, EXHAUSTIVE):
            if self.projection.fits(point):
                yield point

    def _drawn(
        self, evidence: list[FrozenTrial], entropy: tuple[int, ...], *, guess: bool
    ) -> Point | None:
        """A guess by sensitivity, where that can be had, or what the sampler asks for."""
        if guess and self.allocation is not None:
            return self.allocation.guess(entropy)
        return self.projection(self._sample(evidence, entropy))

    def _sample(self, evidence: list[FrozenTrial], entropy: tuple[int, ...]) -> Point:
        """Ask a throw-away study that holds what was really trained."""
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        study = optuna.create_study(direction=self.direction, sampler=SAMPLERS[self.sampler](seed))
        study.add_trials(evidence)
        trial = study.ask(fixed_distributions=dict(self.ranges()))
        return tuple(trial.params[name] for name in self.ranges())

    def _usable(self, ended: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        kept = (TrialState.COMPLETE, TrialState.PRUNED)
        return [trial for trial in ended if trial.state in kept]

    def _as_trials(self, outcomes: Sequence[Outcome]) -> list[FrozenTrial]:
        """Complete outcomes within the budget whose plan is a point of the space."""
        trials = []
        for outcome in outcomes:
            point = self.space.point(outcome.plan)
            fits = outcome.state == "complete" and self.projection.limit.holds(outcome.plan)
            if fits and point is not None:
                trials.append(
                    create_trial(
                        params=self.params(point),
                        distributions=dict(self.ranges()),
                        value=outcome.score,
                    )
                )
        return trials
