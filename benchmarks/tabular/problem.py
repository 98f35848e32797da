"""Problem: find the best plan within a budget; the oracle gives scores and counts steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.tabular.evidence import Evidence, Floats
from benchmarks.tabular.table import RUNGS

TOLERANCE = 1.005
"""Largest size over the budget: activation scales of a few bytes were added to solutions."""
NEAR = 0.95
"""Least size over the budget of the plans that the median is of."""
ORDER_0, MEDIUM = 0, RUNGS.index("medium")


class Spent(Exception):
    """The steps of a replay are used up."""


@dataclass(frozen=True)
class Problem:
    """One budget of a table.

    Attributes:
        evidence: the table.
        budget: share of the float model.
    """

    evidence: Evidence
    budget: float

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Indices of the plans within the budget."""
        limit = TOLERANCE * self.budget * self.evidence.facts["float_bytes"]
        return np.flatnonzero(self.evidence.sizes <= limit)

    @cached_property
    def near(self) -> NDArray[np.int64]:
        """Indices of the plans within the budget and within 5% of it."""
        least = NEAR * self.budget * self.evidence.facts["float_bytes"]
        return self.rows[self.evidence.sizes[self.rows] >= least]

    def first_of(self, kind: str) -> int | None:
        """The index of the best plan of a kind that was made for this budget, by its own score.

        Args:
            kind: "first" or "uniform". Of the latter there is one for each width; the float model's
                is taken.
        """
        plans = self.evidence.plans
        found = [i for i, p in enumerate(plans) if (p.kind, p.budget) == (kind, self.budget)]
        widths = [i for i, d in enumerate(self.evidence.dimensions) if d["field"] == "width"]
        found.sort(key=lambda i: self.evidence.points[i, widths].sum())
        return found[0] if found else None

    def mean_loss(self, row: int, without: frozenset[int] = frozenset()) -> float:
        """The mean medium loss of a plan over data orders; of all where no other ones are left.

        Args:
            row: index of the plan.
            without: data orders that do not count, for the plan was chosen by them.
        """
        losses = self.evidence.losses[row, :, MEDIUM]
        others = [loss for order, loss in enumerate(losses) if order not in without]
        known = [loss for loss in others if not np.isnan(loss)]
        return float(np.mean(known)) if known else float(np.nanmean(losses))

    @cached_property
    def best(self) -> float:
        """The loss that one whole data order of the table finds: the mean held-out loss.

        The plan with the lowest loss in each of the first two orders counts by its other orders:
        the lowest of hundreds of noisy means would be lower than any plan is.
        """
        losses = self.evidence.losses[self.rows, :2, MEDIUM]
        known = self.rows[~np.isnan(losses).any(1)]
        found = [known[self.evidence.losses[known, order, MEDIUM].argmin()] for order in (0, 1)]
        held_out = [self.mean_loss(int(row), frozenset({i})) for i, row in enumerate(found)]
        return float(np.mean(held_out))

    @cached_property
    def median(self) -> float:
        """The median loss of the plans near the budget."""
        return float(np.median([self.mean_loss(row) for row in self.near]))


class Oracle:
    """Gives recorded scores and counts the steps that they would have taken.

    Args:
        problem: whose plans are scored.
        steps: that may be taken.

    Attributes:
        left: steps that may still be taken.
        orders: by plan, the data orders in which it was scored.
    """

    def __init__(self, problem: Problem, steps: int) -> None:
        self._evidence = problem.evidence
        self.left = steps
        self.orders: dict[int, set[int]] = {}
        self._reached: dict[tuple[int, int], str] = {}

    def has(self, row: int, order: int, rung: str = "medium") -> bool:
        """Whether a score was recorded.

        Args:
            row: index of the plan.
            order: number of the data order.
            rung: its name.
        """
        orders = self._evidence.losses.shape[1]
        return order < orders and not np.isnan(self._loss(row, order, rung))

    def cost(self, row: int, rung: str, order: int = 0) -> int:
        """Steps that a score takes now.

        Args:
            row: index of the plan.
            rung: its name.
            order: number of the data order.
        """
        return self._evidence.cost(rung, self._reached.get((row, order)))

    def score(self, row: int, rung: str, order: int = 0) -> float:
        """A recorded loss.

        Args:
            row: index of the plan.
            rung: its name.
            order: number of the data order.

        Raises:
            Spent: it would take more steps than are left.
        """
        cost = self.cost(row, rung, order)
        if cost > self.left:
            raise Spent
        self.left -= cost
        self._reached[row, order] = rung
        self.orders.setdefault(row, set()).add(order)
        return self._loss(row, order, rung)

    def _loss(self, row: int, order: int, rung: str) -> float:
        return float(self._evidence.losses[row, order, RUNGS.index(rung)])


def predicted(evidence: Evidence, kind: str, power: float = 1.0) -> Floats:
    """Loss increases of each plan by dimension of bits, [plans, dimensions], before training.

    Args:
        evidence: the table.
        kind: of the predictors: "alone", "near" or "gradient". What a kind lacks (activations) is
            taken from "alone".
        power: of the loss increases.
    """
    columns = []
    for index, dimension in enumerate(evidence.dimensions):
        if dimension["field"] != "width":
            name = f"{dimension['layer']}.{dimension['field']}"
            columns.append((falling(evidence, kind, name) ** power)[evidence.points[:, index]])
    return np.array(columns).T


def falling(evidence: Evidence, kind: str, name: str) -> Floats:
    """Loss increases of the choices of a dimension, [choices], which do not rise with the bits.

    Args:
        evidence: the table.
        kind: as for ``predicted``.
        name: of the dimension.
    """
    scores = evidence.predictors[kind].get(name, evidence.predictors["alone"][name])
    return np.maximum.accumulate(np.maximum(scores, 0.0)[::-1])[::-1]


def widths(evidence: Evidence) -> Floats:
    """Logarithms of each plan's widths, [plans, layers that may grow].

    Args:
        evidence: the table.
    """
    columns = [
        np.log2(np.array(dimension["choices"]))[evidence.points[:, index]]
        for index, dimension in enumerate(evidence.dimensions)
        if dimension["field"] == "width"
    ]
    return np.array(columns).T.reshape(len(evidence.plans), -1)
