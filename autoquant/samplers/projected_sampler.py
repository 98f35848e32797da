"""ProjectedSampler: another Optuna sampler, whose points are brought within the limits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, create_trial

from autoquant.samplers.ranges import ranges_of
from autoquant.samplers.registry import new_sampler
from autoquant.space.projection import Projection
from autoquant.space.search_space import Point
from autoquant.study.asking_study import NoPlanLeft
from autoquant.study.trial_record import scores_of

ATTEMPTS = 20
"""Points that are drawn for one proposal before the space is enumerated."""
MAX_ENUMERATED = 100_000
"""Points of the space that are tried one after the other."""


class ProjectedSampler(BaseSampler):
    """Asks another sampler, which sees the scores of the shortest rung, and projects its point.

    A proposal depends on the seed, the number of trials and their scores.

    Args:
        name: of a registered sampler, or its import path.
        projection: onto the limits.
        seed: of the other sampler.
    """

    def __init__(self, name: str, projection: Projection, seed: int) -> None:
        self._name, self._projection, self._seed = name, projection, seed
        self.ranges = ranges_of(projection.space)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions of the space.

        Args:
            study: of the trial.
            trial: that is sampled.
        """
        return dict(self.ranges)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The choices of the next plan.

        Args:
            study: with the trials so far.
            trial: that is sampled.
            search_space: all dimensions of the space.

        Raises:
            NoPlanLeft: every plan within the limits has a trial.
        """
        others = [
            t
            for t in study.get_trials(deepcopy=False)
            if t.number != trial.number and all(name in t.params for name in self.ranges)
        ]
        taken = {tuple(t.params[name] for name in self.ranges) for t in others}
        direction = study.directions[-1]
        for attempt in range(ATTEMPTS):
            entropy = (self._seed, len(others), attempt)
            point = self._projection(self._draw(others, direction, entropy))
            if point is not None and point not in taken:
                return dict(zip(self.ranges, point, strict=True))
        for point in self._every_point():
            if point not in taken and self._projection.fits(point):
                return dict(zip(self.ranges, point, strict=True))
        raise NoPlanLeft

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The lowest choice of a parameter that is not a dimension of the space.

        Args:
            study: of the trial.
            trial: that is sampled.
            param_name: of the parameter.
            param_distribution: of the parameter.
        """
        return param_distribution.to_external_repr(0)

    def _draw(
        self, trials: Sequence[FrozenTrial], direction: StudyDirection, entropy: tuple[int, ...]
    ) -> Point:
        """What the other sampler asks for, given the scores, in a study in memory.

        Args:
            trials: with parameters.
            direction: of the score.
            entropy: of the sampler's seed.
        """
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        study = optuna.create_study(direction=direction, sampler=new_sampler(self._name, seed))
        for trial in trials:
            score = _shortest_mean(trial)
            if score is not None:
                known = create_trial(params=trial.params, distributions=self.ranges, value=score)
                known.distributions = self.ranges
                study.add_trial(known)
        asked = study.ask(fixed_distributions=dict(self.ranges))
        return tuple(int(asked.params[name]) for name in self.ranges)

    def _every_point(self) -> islice[Point]:
        """The points of the space, at most MAX_ENUMERATED."""
        dimensions = self._projection.space.dimensions
        return islice(product(*(range(len(d.choices)) for d in dimensions)), MAX_ENUMERATED)


def _shortest_mean(trial: FrozenTrial) -> float | None:
    """The mean score of a trial on its shortest rung; None where it has none that is finite."""
    scores = scores_of(trial)
    steps = min((at for at, _, _ in scores), default=0)
    values = [score for at, _, score in scores if at == steps]
    mean = float(np.mean(values)) if values else float("nan")
    return mean if np.isfinite(mean) else None
