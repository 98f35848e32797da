"""RungPrediction: what a plan would score on the last rung, from its loss on the shortest one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoquant.samplers.loss_model import LossModel, Observation
from autoquant.samplers.loss_tables import LossTables
from autoquant.space.search_space import Point
from autoquant.study.noise import pooled_deviation
from autoquant.study.outcome import Outcome
from autoquant.task import Direction, as_loss

MIN_PAIRS = 3
"""Plans on both rungs below which only the mean difference is used."""


@dataclass(frozen=True)
class RungPrediction:
    """A loss model on the shortest rung, and a straight line from there to the last one.

    Attributes:
        model: of losses on the shortest rung.
        direction: whether low or high scores are good.
        slope: of the line.
        intercept: of the line.
        residual: standard deviation of the losses on the last rung around the line.
        steps: of the last rung; 0 where no plan was trained.
    """

    model: LossModel
    direction: Direction
    slope: float
    intercept: float
    residual: float
    steps: int

    @classmethod
    def of(
        cls, tables: LossTables, outcomes: Iterable[Outcome], direction: Direction
    ) -> RungPrediction:
        """The prediction from the trials of a study.

        Args:
            tables: estimated loss increases.
            outcomes: of the study; plans that the space does not have are left out.
            direction: whether low or high scores are good.
        """
        scored = [o for o in outcomes if o.scores]
        rungs = sorted({steps for o in scored for steps, _, _ in o.scores})
        if not rungs:
            return cls(LossModel(tables), direction, 1.0, 0.0, 0.0, 0)
        model = _model_on(rungs[0], tables, scored, direction)
        pairs = [
            (means[rungs[0]], means[rungs[-1]])
            for means in (dict(outcome.history) for outcome in scored)
            if rungs[0] in means and rungs[-1] in means
        ]
        losses = [(as_loss(a, direction), as_loss(b, direction)) for a, b in pairs]
        return cls(model, direction, *_line(losses), rungs[-1])

    def score(self, point: Point) -> tuple[float, float]:
        """The expected score on the last rung, and its standard deviation.

        Args:
            point: of the plan.
        """
        loss, deviation = self.model.predict(point)
        mean = self.intercept + self.slope * loss
        spread = float(np.hypot(abs(self.slope) * deviation, self.residual))
        return as_loss(mean, self.direction), spread


def _model_on(
    steps: int, tables: LossTables, outcomes: Sequence[Outcome], direction: Direction
) -> LossModel:
    """The loss model of one rung.

    Args:
        steps: of the rung.
        tables: estimated loss increases.
        outcomes: with scores.
        direction: whether low or high scores are good.
    """
    observations, groups = [], []
    for outcome in outcomes:
        losses = [as_loss(score, direction) for score in outcome.by_order(steps).values()]
        point = tables.space.point(outcome.plan)
        if losses and point is not None:
            observations.append(Observation(point, float(np.mean(losses)), len(losses)))
            groups.append(losses)
    return LossModel(tables, tuple(observations), pooled_deviation(groups))


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Slope, intercept and residual deviation of a line through pairs of losses.

    Args:
        pairs: on the shortest and on the last rung.
    """
    if not pairs:
        return 1.0, 0.0, 0.0
    short, last = np.array(pairs).T
    if len(pairs) < MIN_PAIRS or np.ptp(short) <= 0:
        shift = float((last - short).mean())
        return 1.0, shift, float((last - short).std())
    slope, intercept = np.polyfit(short, last, 1)
    residual = last - (slope * short + intercept)
    deviation = float(np.sqrt((residual**2).sum() / (len(pairs) - 2)))
    return float(slope), float(intercept), deviation
