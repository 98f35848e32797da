"""Front: the plans that no other one is better than in size and score, with their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoquant.study.noise import noise_of
from autoquant.study.outcome import Outcome, hypervolume, loss_of, pareto_front
from autoquant.study.selection import MIN_ERRORS, Comparison
from autoquant.task import Direction, as_loss


@dataclass(frozen=True)
class FrontPoint:
    """A plan of the front.

    Attributes:
        outcome: of the plan.
        error: standard error of its score; NaN where the noise is not known.
    """

    outcome: Outcome
    error: float


@dataclass(frozen=True)
class Front:
    """The Pareto front of the proposals that were trained on the last rung.

    Attributes:
        points: the smallest file first.
        hypervolume: area that the front dominates, as a share of the rectangle between it and the
            reference: the float model's size, and the worst score of all plans on the rung.
        knee: the smallest plan that is level with the best of the front: its score is within
            MIN_ERRORS standard errors of it; None where there is no front.
    """

    points: tuple[FrontPoint, ...]
    hypervolume: float
    knee: FrontPoint | None


def front_of(outcomes: Iterable[Outcome], direction: Direction, float_bytes: int) -> Front:
    """The front of a study.

    Args:
        outcomes: of the study; of the proposals the complete ones on the longest rung count.
        direction: whether low or high scores are good.
        float_bytes: size of the float model.
    """
    outcomes = [*outcomes]
    proposals = [o for o in outcomes if o.role == "search" and o.state == "complete"]
    longest = max((o.steps for o in proposals), default=0)
    last = [o for o in proposals if o.steps == longest]
    noise = noise_of(outcomes, longest)  # of all plans: one number for each rung
    points = tuple(
        FrontPoint(outcome, noise.error(max(1, len(outcome.by_order()))))
        for outcome in pareto_front(last, direction)
    )
    volume = _hypervolume(last, direction, float_bytes)
    return Front(points, volume, _knee(points, direction, Comparison(last, direction)))


def _hypervolume(outcomes: Sequence[Outcome], direction: Direction, float_bytes: int) -> float:
    """The dominated share of the rectangle up to the float model's size and the worst score.

    Args:
        outcomes: on one rung.
        direction: whether low or high scores are good.
        float_bytes: size of the float model.
    """
    if len(outcomes) < 2:
        return 0.0
    pairs = [(float(o.size_bytes), loss_of(o, direction)) for o in outcomes]
    worst, best = max(loss for _, loss in pairs), min(loss for _, loss in pairs)
    smallest = min(size for size, _ in pairs)
    area = (float_bytes - smallest) * (worst - best)
    return hypervolume(pairs, (float(float_bytes), worst)) / area if area > 0 else 0.0


def _knee(
    points: Sequence[FrontPoint], direction: Direction, comparison: Comparison
) -> FrontPoint | None:
    """The smallest plan that is level with the best one.

    Args:
        points: of the front, the smallest file first.
        direction: whether low or high scores are good.
        comparison: of the plans on the rung; it also finds those that are level with a chosen one.
    """
    if not points:
        return None
    best = min(points, key=lambda point: loss_of(point.outcome, direction))
    for point in points:
        paired = comparison.gain(point.outcome, best.outcome)
        gap, error = -paired.value, paired.error
        if math.isnan(error):  # they have no data orders in common, or one each
            gap = loss_of(point.outcome, direction) - loss_of(best.outcome, direction)
            error = math.hypot(point.error, best.error)
        if point is best or gap <= MIN_ERRORS * error:
            return point
    return best


def smallest_level_with(
    front: Front, score: float, direction: Direction, tolerance: float = 0.0
) -> FrontPoint | None:
    """The smallest plan of a front that loses no more than a tolerance against a score.

    Args:
        front: of a study.
        score: that plans are compared with, such as the float model's.
        direction: whether low or high scores are good.
        tolerance: that may be lost, in the metric's unit.

    Returns:
        the point; None where no plan of the front reaches the score.
    """
    bound = as_loss(score, direction) + tolerance
    for point in front.points:
        if loss_of(point.outcome, direction) <= bound:
            return point
    return None
