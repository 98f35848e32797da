"""ProgramSampler: the default strategy of a search, as a sampler for any Optuna study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoquant.samplers.loss_model import LossModel, observations_of
from autoquant.samplers.loss_tables import LossTables
from autoquant.samplers.proposals import Proposals
from autoquant.samplers.ranges import ranges_of
from autoquant.space.search_space import Point
from autoquant.study.asking_study import NoPlanLeft
from autoquant.study.noise import pooled_deviation
from autoquant.study.trial_record import scores_of


class ProgramSampler(BaseSampler):
    """Solves an integer program over estimated losses, which the scores of trials correct.

    It samples all dimensions of the space at once, each as the index of a choice. It works with any
    study through ``study.ask`` and ``study.optimize``; the last objective is the score. A trial's
    user attribute "scores" (a list of steps, data order, score) has precedence over its value:
    then the scores of the shortest rung count, of open trials too. A proposal depends on the seed,
    the number of trials and their scores.

    Args:
        proposals: finds the points.
        tables: estimated loss increases.
    """

    def __init__(self, proposals: Proposals, tables: LossTables) -> None:
        self._proposals, self._tables = proposals, tables
        self.ranges = ranges_of(proposals.space)

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
        trials = study.get_trials(deepcopy=False)
        others = [t for t in trials if t.number != trial.number]
        points = [self._point(t) for t in others]
        taken = [point for point in points if point is not None]
        model = self._model(others, points, study.directions[-1])
        point = self._proposals.next_point(len(taken), model, frozenset(taken))
        if point is None:
            raise NoPlanLeft
        return dict(zip(self.ranges, point, strict=True))

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

    def model(self, trials: Sequence[FrozenTrial], direction: StudyDirection) -> LossModel:
        """The loss model with the scores of trials.

        Args:
            trials: of one study, open ones too.
            direction: of the score.
        """
        return self._model(trials, [self._point(trial) for trial in trials], direction)

    def _model(
        self,
        trials: Sequence[FrozenTrial],
        points: Sequence[Point | None],
        direction: StudyDirection,
    ) -> LossModel:
        """The loss model with the scores of trials.

        Args:
            trials: of one study, open ones too.
            points: of the trials.
            direction: of the score.
        """
        sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
        observed, losses = [], []
        for trial, point in zip(trials, points, strict=True):
            scores = _shortest(trial)
            if point is not None and scores and all(map(math.isfinite, scores)):
                observed.append(point)
                losses.append([sign * score for score in scores])
        deviation = pooled_deviation(losses)
        return LossModel(self._tables, observations_of(observed, losses), deviation)

    def _point(self, trial: FrozenTrial) -> Point | None:
        """The point of a trial; None where it has not all parameters."""
        values = trial.params
        try:
            return tuple([int(values[name]) for name in self.ranges])
        except KeyError:
            return None


def _shortest(trial: FrozenTrial) -> list[float]:
    """The scores of a trial on its shortest rung; else its value, of a study of another kind."""
    scores = scores_of(trial)
    if scores:
        steps = min(score[0] for score in scores)
        return [score for at, _, score in scores if at == steps]
    if trial.state == TrialState.COMPLETE and "size_bytes" not in trial.user_attrs:
        return [trial.values[-1]]
    return []
