"""SweptRow: every plan of a sweep in a table, with its seeds and with what it decides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from autoquant.figures.sweep_data import SweepData, SweptPlan
from autoquant.report_page.plan_rows import PlanRow
from autoquant.report_page.trial_table import MOST_PLANS, RowsOf
from autoquant.study.sweep_table import SweepRunResult

DIGITS = 4
"""Significant digits of the largest score of a table; the others have as many decimals."""


@dataclass(frozen=True)
class SweptRow:
    """A plan of a sweep with all of its seeds.

    Attributes:
        id: of the row in the page.
        plan: with its scores.
        runs: one for each seed.
        rows: what the plan decides.
        decimals: of the scores in the table.
    """

    id: str
    plan: SweptPlan
    runs: tuple[SweepRunResult, ...]
    rows: tuple[PlanRow, ...]
    decimals: int

    @property
    def size_bytes(self) -> int | None:
        """Of its file; None where no plan fits its budget."""
        return self.runs[0].size_bytes

    @property
    def steps(self) -> int | None:
        """Training steps; None where it was not trained."""
        return max(run.steps for run in self.runs) or None

    @property
    def test(self) -> float | None:
        """The mean score on the test split; None where it was not scored."""
        scores = [run.test for run in self.runs if run.test is not None]
        return fmean(scores) if scores else None

    @property
    def valid_text(self) -> str:
        """The mean score on the valid split and its deviation; else how the plan ended."""
        plan = self.plan
        failed = f" ({len(plan.failures)} {plan.failures[0]})" if plan.failures else ""
        if not plan.scores:
            return plan.failures[0]
        spread = f" ± {self.text_of(plan.deviation)}" if len(plan.scores) > 1 else ""
        return f"{self.text_of(plan.score)}{spread}{failed}"

    @property
    def test_text(self) -> str:
        """The mean score on the test split; empty where it was not scored."""
        return self.text_of(self.test)

    def text_of(self, score: float | None) -> str:
        """A score with the decimals of the table; empty where there is none.

        Args:
            score: of a run, or a mean.
        """
        return "" if score is None else f"{score:,.{self.decimals}f}"


def swept_rows(
    data: SweepData, results: Sequence[SweepRunResult], rows_of: RowsOf
) -> tuple[SweptRow, ...]:
    """Every plan of a sweep, in the order in which its first run ended.

    Args:
        data: of the sweep.
        results: of its runs.
        rows_of: gives the rows of a plan.
    """
    by_plan: dict[str, list[SweepRunResult]] = {}
    for result in results:
        by_plan.setdefault(result.run.group, []).append(result)
    ids, decimals = swept_ids(data), decimals_of(plan.score for plan in data.plans)
    rows = []
    for number, plan in enumerate(data.plans):
        runs = by_plan[plan.name]
        shown = runs[0].run.plan if number < MOST_PLANS else None
        rows_of_plan = () if shown is None else rows_of(shown)
        rows.append(SweptRow(ids[plan.name], plan, tuple(runs), rows_of_plan, decimals))
    return tuple(rows)


def swept_ids(data: SweepData) -> dict[str, str]:
    """The id of each plan's row, by its name.

    Args:
        data: of the sweep.
    """
    return {plan.name: f"plan-{number}" for number, plan in enumerate(data.plans)}


def decimals_of(scores: Iterable[float]) -> int:
    """Decimals with which the largest of some scores has DIGITS significant digits.

    Args:
        scores: of a table; those that are not finite do not count.

    >>> decimals_of([94.99, 114.98]), decimals_of([0.9432])
    (1, 4)
    """
    largest = max((abs(score) for score in scores if math.isfinite(score)), default=0.0)
    return max(0, DIGITS - 1 - math.floor(math.log10(largest))) if largest else DIGITS - 1
