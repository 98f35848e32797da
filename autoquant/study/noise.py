"""Noise: how much a score depends on the order of the data, and what differences mean beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoquant.study.outcome import Outcome


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a score over data orders, on one rung.

    Attributes:
        deviation: of one training of a plan, in the metric's unit.
        degrees: degrees of freedom behind it; 0 where no plan has two data orders.
    """

    deviation: float
    degrees: int

    def error(self, trainings: int) -> float:
        """The standard error of a mean score.

        Args:
            trainings: number of data orders of the mean.
        """
        return self.deviation / math.sqrt(trainings) if self.degrees else math.nan


def noise_of(outcomes: Iterable[Outcome], steps: int) -> Noise:
    """The noise on one rung, pooled over the plans that have several data orders there.

    Args:
        outcomes: of one study.
        steps: of the rung.
    """
    groups = [[*outcome.by_order(steps).values()] for outcome in outcomes]
    degrees = sum(len(group) - 1 for group in groups if group)
    return Noise(pooled_deviation(groups) if degrees else math.nan, degrees)


def pooled_deviation(groups: Iterable[Sequence[float]]) -> float:
    """The standard deviation within groups of numbers, pooled; 0.0 where no group has two.

    Args:
        groups: for each plan the scores of its data orders.
    """
    repeated = [np.array(group) for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in repeated)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in repeated)
    return math.sqrt(squares / degrees) if degrees else 0.0


@dataclass(frozen=True)
class Difference:
    """The difference between the mean scores of two plans.

    Attributes:
        value: of the one minus that of the other, in the metric's unit; NaN where they cannot be
            compared yet.
        error: its standard error; NaN where it is not known.
    """

    value: float
    error: float

    def exceeds(self, errors: float) -> bool:
        """Whether it is above a number of standard errors; above 0 where these are not known.

        Args:
            errors: the number.
        """
        return self.value > (0.0 if math.isnan(self.error) else errors * self.error)


def paired_difference(
    one: Mapping[int, float], other: Mapping[int, float], spread: float
) -> Difference:
    """The mean difference of two plans over the data orders that both have.

    Equal data orders have equal batches, so that part of the noise is the same in both scores.

    Args:
        one: scores by data order.
        other: the same of another plan; where no order is in both, as while several workers train
            them, nothing is known.
        spread: standard deviation of the difference on one data order.
    """
    orders = one.keys() & other.keys()
    if not orders:
        return Difference(math.nan, math.nan)
    value = float(np.mean([one[order] - other[order] for order in orders]))
    return Difference(value, spread / math.sqrt(len(orders)))


def difference_spread(plans: Sequence[Mapping[int, float]]) -> float:
    """The standard deviation, on one data order, of the difference between two plans.

    What remains of the scores after the means of the plans and of the orders (two-way analysis of
    variance, without interaction) has half the variance of a difference.

    Args:
        plans: for each plan its scores by data order.

    Returns:
        the deviation; NaN where there are fewer than two plans or two orders in common.
    """
    if len(plans) < 2:
        return math.nan
    orders = sorted(set.intersection(*({*scores} for scores in plans)))
    if len(orders) < 2:
        return math.nan
    table = np.array([[scores[order] for order in orders] for scores in plans])
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    degrees = (len(plans) - 1) * (len(orders) - 1)
    return math.sqrt(2 * float((rest**2).sum()) / degrees)
