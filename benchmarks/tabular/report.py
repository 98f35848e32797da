"""The README of a table: what it holds, how noisy it is, and what the strategies choose in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.tabular.evidence import Evidence
from benchmarks.tabular.problem import Problem
from benchmarks.tabular.replay import (
    SHARE_OF_STEPS,
    Replay,
    hypervolume_share,
    is_decidable,
    replay,
    rung_agreement,
)
from benchmarks.tabular.strategies import Strategy
from benchmarks.tabular.table import RUNGS
from studies.markdown import table_of


@dataclass(frozen=True)
class Result:
    """The replays of a strategy on a table.

    Attributes:
        strategy: what chose.
        regrets: by budget the regret of each replay.
        worse: share of the replays whose choice is worse than trial 0 by a standard error.
        hypervolume: mean share of the table's; NaN where nothing was trained.
        steps: mean share of the table's steps.
    """

    strategy: Strategy
    regrets: dict[float, tuple[float, ...]]
    worse: float
    hypervolume: float
    steps: float


def results(evidence: Evidence, strategies: Sequence[Strategy]) -> Iterator[Result]:
    """Replay strategies on every budget of a table.

    Args:
        evidence: the table.
        strategies: what is replayed.
    """
    problems = [Problem(evidence, budget) for budget in evidence.facts["budgets"]]
    for strategy in strategies:
        replays = {
            problem.budget: [replay(problem, strategy, seed) for seed in range(strategy.seeds)]
            for problem in problems
        }
        every = [one for of_budget in replays.values() for one in of_budget]
        yield Result(
            strategy,
            {budget: tuple(one.regret for one in ones) for budget, ones in replays.items()},
            float(np.mean([one.is_worse for one in every])),
            _hypervolume(problems[-1], [*replays.values()]),
            float(np.mean([one.steps for one in every])) / evidence.steps,
        )


def _hypervolume(largest: Problem, replays: Sequence[Sequence[Replay]]) -> float:
    """The mean hypervolume share of what the replays of one seed trained for all budgets.

    Args:
        largest: the problem of the largest budget.
        replays: by budget those of each seed.
    """
    trained = [[row for one in seed for row in one.trained] for seed in zip(*replays, strict=True)]
    if not all(trained):
        return float("nan")
    return float(np.mean([hypervolume_share(largest, rows) for rows in trained]))


def facts_table(evidence: Evidence) -> str:
    """The budgets of a table, in Markdown.

    Args:
        evidence: the table.
    """
    rows = []
    noise = evidence.noise("medium")
    for budget in evidence.facts["budgets"]:
        problem = Problem(evidence, budget)
        kinds = {kind: problem.first_of(kind) for kind in ("first", "uniform")}
        losses = ["-" if row is None else f"{problem.mean_loss(row):.4f}" for row in kinds.values()]
        decides = "yes" if is_decidable(problem) else "no"
        taus = rung_agreement(evidence, problem.near.tolist())
        tau = taus.get("short to medium", float("nan"))
        cells = [f"{budget}x", str(len(problem.rows)), str(len(problem.near))]
        cells += [f"{problem.best:.4f}", f"{problem.median:.4f}", *losses, decides, f"{tau:.2f}"]
        rows.append(cells)
    head = ["budget", "plans within", "within 5%", "best", "median", "trial 0", "uniform bits"]
    head += ["decides", "tau short to medium"]
    taus = rung_agreement(evidence)
    agreement = ", ".join(f"{name} {tau:.2f}" for name, tau in taus.items())
    known = [f"{int((~np.isnan(evidence.losses[:, :, i])).sum())} {r}" for i, r in enumerate(RUNGS)]
    return (
        f"{len(evidence.plans)} plans; scores: {', '.join(known)}. Validation log loss of the "
        f"float model {evidence.facts['float_loss']:.4f}; deviation of a score between data orders "
        f"{evidence.noise('short'):.4f} short, {noise:.4f} medium. Kendall's tau over all plans: "
        f"{agreement}.\n\n{table_of(head, rows)}"
    )


def strategies_table(evidence: Evidence, found: Sequence[Result]) -> str:
    """The regrets of strategies, in Markdown.

    Args:
        evidence: the table.
        found: of the strategies.
    """
    budgets = evidence.facts["budgets"]
    decidable = [b for b in budgets if is_decidable(Problem(evidence, b))]
    head = ["strategy", *(f"regret at {b}x" for b in budgets), "mean where it decides"]
    head += ["worse than trial 0", "hypervolume", "steps", "seeds"]
    rows = []
    for result in found:
        regrets = {b: f"{np.mean(result.regrets[b]):.3f}" for b in decidable}
        means = [regrets.get(b, "-") for b in budgets]
        decided = [np.mean(result.regrets[b]) for b in decidable]
        overall = f"{np.mean(decided):.3f}" if decided else "-"
        area = "-" if np.isnan(result.hypervolume) else f"{result.hypervolume:.3f}"
        shares = [f"{result.worse:.0%}", area, f"{result.steps:.1%}", str(result.strategy.seeds)]
        rows.append([result.strategy.name, *means, overall, *shares])
    return table_of(head, rows)


def report(evidence: Evidence, strategies: Sequence[Strategy]) -> str:
    """The generated part of a table's README.

    Args:
        evidence: the table.
        strategies: what is replayed.
    """
    found = [*results(evidence, strategies)]
    compared = [result for result in found if result.strategy.compared]
    variants = [result for result in found if not result.strategy.compared]
    text = facts_table(evidence)
    text += (
        f"\nAfter {SHARE_OF_STEPS:.0%} of the table's steps. A regret of 0 is the held-out loss of "
        "the plan that a whole data order of the table finds, and 1 the median of the plans near "
        "the budget; where these two differ by less than two standard errors of a score, the table "
        "cannot decide:\n\n"
    )
    text += strategies_table(evidence, compared)
    if variants:
        text += f"\nVariants of the search:\n\n{strategies_table(evidence, variants)}"
    return text
