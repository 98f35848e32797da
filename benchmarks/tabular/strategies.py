"""Strategies that are compared: each chooses a plan of a table from the scores that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.tabular.optuna_search import optuna_search
from benchmarks.tabular.problem import Oracle, Problem, Spent, predicted
from benchmarks.tabular.search_replay import Rules, SearchReplay

Choice = int
Run = Callable[[Problem, Oracle, int], Choice]
"""(problem, oracle, seed) -> index of the chosen plan."""


@dataclass(frozen=True)
class Strategy:
    """A strategy by name.

    Attributes:
        name: in the report.
        run: the strategy.
        seeds: replays.
        compared: whether it is in the report's main table; the others are variants.
    """

    name: str
    run: Run
    seeds: int = 50
    compared: bool = True


def best_scored(oracle: Oracle, rows: Iterable[int]) -> Choice:
    """The plan with the lowest medium score in the first data order, until the steps are spent.

    Args:
        oracle: gives the scores.
        rows: indices of plans, in the order in which they are trained.
    """
    scores: dict[int, float] = {}
    try:
        for row in rows:
            scores[row] = oracle.score(row, "medium")
    except Spent:
        pass
    return min(scores, key=scores.__getitem__)


def random_search(problem: Problem, oracle: Oracle, seed: int) -> Choice:
    """Any plans within the budget.

    Args:
        problem: the table.
        oracle: gives scores.
        seed: of the order.
    """
    rows = np.random.default_rng(seed).permutation(problem.rows)
    return best_scored(oracle, rows.tolist())


def named(kind: str, problem: Problem, oracle: Oracle, seed: int) -> Choice:
    """The plan of a kind that was made for the budget; nothing is trained.

    Args:
        kind: "first", the first solution of the knapsack, or "uniform".
        problem: the table.
        oracle: not used.
        seed: not used.
    """
    row = problem.first_of(kind)
    return int(problem.rows[0]) if row is None else row


def by_prediction(kind: str, trained: bool, problem: Problem, oracle: Oracle, seed: int) -> Choice:
    """The plans with the least predicted loss increase; the best one that was trained.

    Args:
        kind: of the predictors.
        trained: whether plans are trained until the steps are spent; else the first one is taken.
        problem: the table.
        oracle: gives scores.
        seed: not used.
    """
    increases = predicted(problem.evidence, kind).sum(1)[problem.rows]
    rows = problem.rows[np.argsort(increases, kind="stable")].tolist()
    return best_scored(oracle, rows) if trained else rows[0]


def search(**options: Any) -> Run:
    """The default search, or a variant of it.

    Args:
        options: of ``Rules``.
    """
    rules = Rules(**options)

    def run(problem: Problem, oracle: Oracle, seed: int) -> Choice:
        return SearchReplay(problem, oracle, seed, rules).run()

    return run


STRATEGIES = (
    Strategy("random", random_search),
    Strategy("uniform bits", partial(named, "uniform"), 1),
    Strategy("knapsack alone (trial 0)", partial(named, "first"), 1),
    Strategy("k best by measured sensitivity", partial(by_prediction, "alone", True), 1),
    Strategy("k best by sensitivity near the budget", partial(by_prediction, "near", True), 1),
    Strategy("gradient score and a linear program", partial(by_prediction, "gradient", False), 1),
    Strategy("TPE", partial(optuna_search, "tpe")),
    Strategy("GP", partial(optuna_search, "gp"), 10),
    Strategy("NSGA-II", partial(optuna_search, "nsga2")),
    Strategy("search", search()),
    Strategy("draws as wide as their deviation", search(drawn=1.0), compared=False),
    Strategy("no draws", search(drawn=0.0), compared=False),
    Strategy("scores correct nothing", search(corrects=False), compared=False),
    Strategy("sensitivity near the budget", search(kind="near"), compared=False),
    Strategy("half of the plans reach the medium rung", search(promoted=0.5), compared=False),
    Strategy("6 finalists", search(finalists=6), compared=False),
    Strategy("2 data orders", search(orders=2), compared=False),
    Strategy("a quarter has smaller sizes", search(spread=0.25), compared=False),
    Strategy("the first plan must be beaten by 2 errors", search(errors=2.0), compared=False),
    Strategy("the first plan has no advantage", search(errors=0.0), compared=False),
    Strategy("only data orders that did not choose count", search(fresh=True), compared=False),
)
