"""Live comparisons: whole searches, and what is applied beside the first plan and uniform bits."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoquant.applying.applied import Applied
from autoquant.commands.apply import apply
from autoquant.commands.search import search
from autoquant.plan import Plan
from autoquant.task import Task, as_loss
from benchmarks.tabular.evidence import Evidence
from benchmarks.tabular.networks import Network
from benchmarks.tabular.problem import Problem
from benchmarks.tabular.search_replay import loss_tables
from benchmarks.tabular.table import STEPS_FACTORS, append_rows, read_rows
from studies.markdown import table_of

KINDS = ("search", "first", "uniform")
"""The search's choice, its first plan, and the best uniform bits of the table."""


@dataclass(frozen=True)
class LiveRow:
    """An applied plan.

    Attributes:
        budget: share of the float model.
        seed: of the search, of the float model too.
        kind: of KINDS.
        plan: its digest.
        size_bytes: of the packed file.
        valid: loss on the valid split.
        test: loss on the test split.
        float_test: that of the float model.
        seconds: of the search.
    """

    budget: float
    seed: int
    kind: str
    plan: str
    size_bytes: int
    valid: float
    test: float
    float_test: float
    seconds: float


class LiveRows:
    """The rows of a network's live comparison; those that are there are not made again.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[LiveRow]:
        """The rows so far."""
        return read_rows(self.path, LiveRow) if self.path.exists() else []

    def append(self, rows: Sequence[LiveRow]) -> None:
        """Add the rows of one search.

        Args:
            rows: of a budget and a seed.
        """
        append_rows(self.path, rows)


def compare(network: Network, table: Path, runs: Path, seeds: Sequence[int]) -> None:
    """Search and apply for each budget and seed that has no rows yet.

    Args:
        network: of the benchmark.
        table: folder of its recorded table, where the rows are written.
        runs: folder of the studies.
        seeds: of the searches.
    """
    evidence, rows = Evidence.read(table), LiveRows(table / "live.csv")
    for seed in seeds:
        for budget in network.budgets:
            done = {(row.budget, row.seed) for row in rows.read()}
            if (budget, seed) not in done:
                study = runs / f"{network.name}-{budget}x-seed{seed}"
                rows.append([*_searched(network, Problem(evidence, budget), study, seed)])


def _searched(network: Network, problem: Problem, study: Path, seed: int) -> Iterator[LiveRow]:
    """The rows of one search.

    Args:
        network: of the benchmark.
        problem: has the budget, and the uniform plan.
        study: folder of the search.
        seed: of the search.
    """
    started, task = time.monotonic(), network.task(True)
    short, full = (network.steps * STEPS_FACTORS[rung] for rung in ("short", "full"))
    given = network.settings
    settings = given.changed(
        budget=f"{problem.budget}x",
        seed=seed,
        device="cpu",
        threads=1,
        references=(8,),
        qat=given.qat.changed(steps=short),
        final=given.qat.changed(steps=full),
    )
    found = search(task, settings, study=study, progress=False)
    seconds = time.monotonic() - started
    selection = found.selections[0]
    assert selection is not None
    uniform = problem.first_of("uniform")
    assert uniform is not None
    plans: dict[str, Plan] = {
        "search": selection.chosen.plan,
        "first": selection.first.plan,
        "uniform": loss_tables(problem.evidence, "alone").space.plan(
            problem.evidence.plans[uniform].indices
        ),
    }
    for kind, plan in plans.items():
        applied = apply(study, task, plan=plan, progress=False)
        yield _row(task, problem.budget, seed, kind, applied, seconds)


def _row(
    task: Task, budget: float, seed: int, kind: str, applied: Applied, seconds: float
) -> LiveRow:
    """The row of an applied plan.

    Args:
        task: whose score is a loss, or a perplexity.
        budget: share of the float model.
        seed: of the search.
        kind: of KINDS.
        applied: the plan.
        seconds: of the search.
    """
    scores = (applied.valid, applied.test, applied.baseline_test)
    losses = [_loss(task, math.nan if value is None else value) for value in scores]
    return LiveRow(budget, seed, kind, applied.plan.digest, applied.size_bytes, *losses, seconds)


def _loss(task: Task, value: float) -> float:
    """A score as a loss in nats."""
    return math.log(value) if task.metric == "perplexity" else as_loss(value, task.direction)


def live_table(rows: Sequence[LiveRow]) -> str:
    """By budget the mean test losses and the paired differences with their standard errors.

    Args:
        rows: of all searches.
    """
    head = ["budget", "seeds", "float", *KINDS, "search - first", "search - uniform"]
    head += ["other plans than the first", "seconds of a search"]
    lines = []
    for budget in sorted({row.budget for row in rows}):
        of_budget = [row for row in rows if row.budget == budget]
        losses = {
            kind: np.array([row.test for row in of_budget if row.kind == kind]) for kind in KINDS
        }
        floats = np.mean([row.float_test for row in of_budget])
        plans = [[r.plan for r in of_budget if r.kind == kind] for kind in ("search", "first")]
        others = sum(a != b for a, b in zip(*plans, strict=True))
        cells = [f"{budget}x", str(len(losses["search"])), f"{floats:.4f}"]
        cells += [f"{losses[kind].mean():.4f}" for kind in KINDS]
        cells += [difference(losses["search"] - losses[kind]) for kind in ("first", "uniform")]
        cells += [str(others), f"{np.mean([row.seconds for row in of_budget]):.0f}"]
        lines.append(cells)
    return table_of(head, lines)


def difference(values: np.ndarray) -> str:
    """A mean of paired differences and its standard error."""
    if len(values) < 2:
        return f"{values.mean():+.4f}"
    return f"{values.mean():+.4f} ± {values.std(ddof=1) / math.sqrt(len(values)):.4f}"
