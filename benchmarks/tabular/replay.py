"""Replaying strategies on a table: how far each one's choice is from the best plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from benchmarks.tabular.evidence import Evidence, Floats
from benchmarks.tabular.problem import MEDIUM, Oracle, Problem
from benchmarks.tabular.strategies import Strategy
from benchmarks.tabular.table import RUNGS

SHARE_OF_STEPS = 0.05
"""Of the table's steps, that a replay may take."""


@dataclass(frozen=True)
class Replay:
    """One replay of a strategy.

    Attributes:
        choice: index of the chosen plan.
        regret: 0 for the best plan, 1 for the median of the plans near the budget.
        is_worse: whether the choice is worse than trial 0 by more than a standard error.
        trained: indices of the plans that were scored.
        steps: that were taken.
    """

    choice: int
    regret: float
    is_worse: bool
    trained: tuple[int, ...]
    steps: int


def replay(problem: Problem, strategy: Strategy, seed: int) -> Replay:
    """Replay a strategy once.

    Args:
        problem: the table.
        strategy: what chooses.
        seed: of what it draws.
    """
    steps = round(SHARE_OF_STEPS * problem.evidence.steps)
    oracle = Oracle(problem, steps)
    choice = strategy.run(problem, oracle, seed)
    used = frozenset(oracle.orders.get(choice, ()))
    loss = problem.mean_loss(choice, used)
    regret = (loss - problem.best) / (problem.median - problem.best)
    is_worse = _is_worse(problem, choice, loss, used)
    return Replay(choice, regret, is_worse, tuple(oracle.orders), steps - oracle.left)


def _is_worse(problem: Problem, choice: int, loss: float, used: frozenset[int]) -> bool:
    """Whether a choice is worse than trial 0 by more than a standard error.

    Args:
        problem: the table.
        choice: index of the plan.
        loss: its mean over the orders that it was not chosen by.
        used: the orders that it was chosen by.
    """
    first = problem.first_of("first")
    if first is None or first == choice:
        return False
    losses = problem.evidence.losses[:, :, MEDIUM]
    known = ~np.isnan(losses)
    of_first = int(known[first].sum())
    of_choice = sum(bool(k) for order, k in enumerate(known[choice]) if order not in used)
    of_choice = of_choice or int(known[choice].sum())
    error = problem.evidence.noise("medium") * np.sqrt(1 / of_first + 1 / of_choice)
    return bool(loss - problem.mean_loss(first) > error)


def is_decidable(problem: Problem) -> bool:
    """Whether best and median differ by at least two standard errors of a held-out mean.

    Args:
        problem: the table.
    """
    return bool(problem.median - problem.best >= 2 * problem.evidence.noise("medium"))


def hypervolume_share(problem: Problem, trained: Sequence[int]) -> float:
    """The hypervolume of plans over that of the table; of sizes and mean losses.

    The reference point is the largest size and the median loss of all plans.

    Args:
        problem: with the largest budget.
        trained: indices of the plans.
    """
    evidence = problem.evidence
    losses = np.array([problem.mean_loss(row) for row in range(len(evidence.plans))])
    reference = float(evidence.sizes[problem.rows].max()), float(np.median(losses[problem.rows]))
    everything = hypervolume(evidence.sizes[problem.rows], losses[problem.rows], reference)
    rows = [row for row in trained if row in set(problem.rows.tolist())]
    return hypervolume(evidence.sizes[rows], losses[rows], reference) / everything


def hypervolume(sizes: Floats, losses: Floats, reference: tuple[float, float]) -> float:
    """The area that is dominated by points, up to a reference point.

    Args:
        sizes: of the plans.
        losses: of the plans.
        reference: the largest size and loss that count.
    """
    area, lowest = 0.0, reference[1]
    for index in np.argsort(sizes, kind="stable"):
        if losses[index] < lowest and sizes[index] <= reference[0]:
            area += (reference[0] - sizes[index]) * (lowest - losses[index])
            lowest = losses[index]
    return float(area)


def rung_agreement(evidence: Evidence, rows: Sequence[int] | None = None) -> dict[str, float]:
    """Kendall's tau between the scores of rungs, in the first data order where it has both.

    Args:
        evidence: the table.
        rows: indices of plans; all when None.
    """
    losses = evidence.losses if rows is None else evidence.losses[list(rows)]
    taus = {}
    for lower, upper in ((0, 1), (1, 2), (0, 2)):
        order = 0 if upper == 1 else 1
        if order >= losses.shape[1]:
            continue
        first, second = losses[:, order, lower], losses[:, order, upper]
        known = ~np.isnan(first) & ~np.isnan(second)
        if known.sum() >= 5:
            tau = kendalltau(first[known], second[known])[0]
            taus[f"{RUNGS[lower]} to {RUNGS[upper]}"] = float(tau)
    return taus
