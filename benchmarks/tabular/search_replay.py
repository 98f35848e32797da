"""SearchReplay: the default search's own model and rules, with a table's plans to choose from.

The loss model, its draws, the sizes and the comparison of finalists are those of the package. Left
out are the integer program (every plan of the table is looked at instead) and the full rung.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autoquant.rounds.halving import size_group
from autoquant.samplers.loss_model import LossModel, observations_of
from autoquant.samplers.loss_tables import LossTables
from autoquant.samplers.proposals import DRAWN
from autoquant.samplers.size_targets import SizeTargets
from autoquant.settings import Rounds
from autoquant.space.search_space import Dimension, SearchSpace
from autoquant.study.noise import difference_spread, paired_difference, pooled_deviation
from autoquant.study.selection import BEATEN
from benchmarks.tabular.evidence import Evidence, Floats
from benchmarks.tabular.problem import Oracle, Problem, Spent, falling, widths


@dataclass(frozen=True)
class Rules:
    """How a search spends its steps and chooses; the defaults are those of the package.

    Attributes:
        batch: proposals of a round.
        promoted: share of the proposals that reach the medium rung.
        finalists: plans that are compared at the end, besides the first one.
        orders: data orders in which the first plan and the finalists are trained.
        errors: standard errors by which the first plan must be beaten.
        fresh: whether only data orders count that the finalists were not chosen by.
        drawn: how far drawn losses are from the expected ones, over their deviation; 0:
            the lowest expected losses are proposed.
        corrects: whether scores correct the sensitivity.
        kind: of the predictors.
        spread: share of the proposals that have smaller sizes than the budget.
    """

    batch: int = Rounds().size
    promoted: float = Rounds().promoted
    finalists: int = Rounds().finalists
    orders: int = Rounds().orders
    errors: float = BEATEN
    fresh: bool = False
    drawn: float = DRAWN
    corrects: bool = True
    kind: str = "alone"
    spread: float = Rounds().spread


def loss_tables(evidence: Evidence, kind: str) -> LossTables:
    """The loss increases of a table, as a search has them.

    Args:
        evidence: the table.
        kind: of the predictors; what it lacks is taken from "alone".
    """
    dimensions = tuple(
        Dimension(each["layer"], each["field"], tuple(each["choices"]))
        for each in evidence.dimensions
    )
    layers = tuple(dict.fromkeys(each.layer for each in dimensions))
    space = SearchSpace(dimensions, layers, {layer: layer for layer in layers})
    none = tuple(np.zeros(len(each.choices)) for each in dimensions)
    increases = tuple(
        zeros if each.field == "width" else falling(evidence, kind, each.name)
        for each, zeros in zip(dimensions, none, strict=True)
    )
    return LossTables(space, increases, none)


class SearchReplay:
    """One search within a budget.

    Args:
        problem: the table and the budget.
        oracle: gives scores.
        seed: of the draws.
        rules: of the search.
    """

    def __init__(self, problem: Problem, oracle: Oracle, seed: int, rules: Rules) -> None:
        self._problem, self._oracle, self._rules = problem, oracle, rules
        self._random = np.random.default_rng(seed)
        self._tables = loss_tables(problem.evidence, rules.kind)
        points = [tuple(map(int, point)) for point in problem.evidence.points]
        self._points = points
        self._features = np.array([self._tables.features(point) for point in points])
        self._widths = widths(problem.evidence)
        sizes = problem.evidence.sizes[problem.rows]
        self._targets = SizeTargets((int(sizes.max()),), int(sizes.min()), rules.spread)
        self._short: dict[int, dict[int, float]] = {}
        self._medium: dict[int, dict[int, float]] = {}
        first = problem.first_of("first")
        self._first = int(problem.rows[0]) if first is None else first

    def run(self) -> int:
        """The chosen plan."""
        try:
            for order in range(self._rules.orders):
                self._score(self._first, "short", order)
            while self._affords(self._rules.batch):
                if not (rows := self._proposals()):
                    break
                for row in rows:
                    self._score(row, "short")
            longer = self._problem.evidence.cost("medium", "short")
            for row in self._promoted():
                if self._oracle.left - longer >= self._reserve:
                    self._score(row, "medium")
            self._repeat(self._finalists())
        except Spent:
            pass
        return self._choice()

    def _affords(self, more: int) -> bool:
        """Whether there are steps for more proposals, and for all that follows from them.

        Args:
            more: proposals.
        """
        evidence, count = self._problem.evidence, len(self._short) + more
        promoted = math.ceil(self._rules.promoted * count)
        longer = promoted * evidence.cost("medium", "short")
        return more * evidence.cost("short") + longer + self._reserve <= self._oracle.left

    @property
    def _reserve(self) -> int:
        """Steps of the finalists' further data orders."""
        rules = self._rules
        again = (1 + rules.finalists) * (rules.orders - 1)
        return again * self._problem.evidence.cost("medium")

    def _score(self, row: int, rung: str, order: int = 0) -> None:
        """Ask for a score where it was recorded, and keep it.

        Args:
            row: index of the plan.
            rung: its name.
            order: number of the data order.
        """
        if self._oracle.has(row, order, rung):
            kept = self._short if rung == "short" else self._medium
            kept.setdefault(row, {})[order] = self._oracle.score(row, rung, order)

    def _model(self) -> LossModel:
        """The loss model of the short rung, as the search fits it."""
        if not self._rules.corrects:
            return LossModel(self._tables)
        losses = [[*scores.values()] for scores in self._short.values()]
        observed = observations_of([self._points[row] for row in self._short], losses)
        return LossModel(self._tables, observed, pooled_deviation(losses))

    def _losses(self, coefficients: Floats) -> Floats:
        """Losses of all plans, [plans], without the intercept.

        Args:
            coefficients: of the loss model.
        """
        count = self._features.shape[1]
        factors = np.maximum(coefficients[1 : 1 + count], 0.0)
        losses: Floats = self._features @ factors + self._widths @ coefficients[1 + count :]
        return losses

    def _proposals(self) -> list[int]:
        """Untried plans with the lowest drawn losses, one for each draw."""
        model, rows = self._model(), list[int]()
        for number in range(len(self._short), len(self._short) + self._rules.batch):
            left = self._untried(number, rows)
            if left:
                scale = self._rules.drawn if self._rules.corrects else 0.0
                coefficients = model.sample(self._random, scale)
                rows.append(left[int(self._losses(coefficients)[left].argmin())])
        return rows

    def _untried(self, number: int, without: list[int]) -> list[int]:
        """Indices of the plans that a proposal chooses from.

        Args:
            number: of the proposal.
            without: plans of the same round.
        """
        rows, sizes = self._problem.rows, self._problem.evidence.sizes
        fitting = rows[sizes[rows] <= self._targets.size(number)].tolist()
        return [row for row in fitting if row not in self._short and row not in without]

    def _promoted(self) -> list[int]:
        """The best plans of the short rung, and the best one of each assignment of widths."""
        ranked = sorted(self._short, key=lambda row: self._short[row][0])
        sizes, targets = self._problem.evidence.sizes, self._targets
        groups: dict[tuple[str, int], list[int]] = {}
        for row in ranked:
            group = size_group(int(sizes[row]), targets.budgets, targets.smallest)
            groups.setdefault(group, []).append(row)
        share = self._rules.promoted
        kept = [row for rows in groups.values() for row in rows[: math.ceil(share * len(rows))]]
        best = {tuple(self._widths[row]): row for row in reversed(ranked)}
        return [*dict.fromkeys([self._first, *kept, *best.values()])]

    def _finalists(self) -> list[int]:
        """The first plan and the best others of the medium rung."""
        others = sorted(self._medium, key=lambda row: self._medium[row].get(0, math.inf))
        others = [row for row in others if row != self._first]
        return [self._first, *others[: self._rules.finalists]]

    def _repeat(self, rows: list[int]) -> None:
        """Train plans in further data orders, as far as these were recorded."""
        for order in range(1, self._rules.orders):
            for row in rows:
                self._score(row, "medium", order)

    def _choice(self) -> int:
        """The best finalist, if it beats the first plan by enough standard errors."""
        rows = [row for row in self._finalists() if len(self._medium.get(row, {})) > 1]
        if self._first not in rows:
            return self._first
        begin = 1 if self._rules.fresh else 0
        scores = {
            row: {order: loss for order, loss in self._medium[row].items() if order >= begin}
            for row in rows
        }
        spread = difference_spread([self._medium[row] for row in rows])
        first = scores[self._first]
        gains = {row: paired_difference(first, scores[row], spread) for row in rows}
        best = max(gains, key=lambda row: gains[row].value)
        return best if gains[best].exceeds(self._rules.errors) else self._first
