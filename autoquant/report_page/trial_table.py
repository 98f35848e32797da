"""TrialRow: every plan of a search in a table, with what it decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoquant.figures.labels import outcome_label
from autoquant.figures.study_data import StudyData
from autoquant.plan import Plan
from autoquant.report_page.plan_rows import PlanRow
from autoquant.study.outcome import Outcome

MOST_PLANS = 400
"""Plans that are shown layer by layer: those with a score on the longest rungs first."""

RowsOf = Callable[[Plan], tuple[PlanRow, ...]]
"""A plan -> its rows."""


@dataclass(frozen=True)
class TrialRow:
    """A plan of a search.

    Attributes:
        id: of the row in the page.
        name: of the plan.
        state: of its trial.
        size_bytes: of its file.
        share: the same over the float model's bytes.
        steps: training steps of its last rung.
        score: on that; None where there is none.
        error: standard error of the score; NaN where it is not known.
        split: of the score: "valid", or "probe" in studies of earlier versions; None without one.
        reason: why it did not complete; empty where it did.
        plan: what it decides; empty where there are too many plans.
    """

    id: str
    name: str
    state: str
    size_bytes: int
    share: float
    steps: int
    score: float | None
    error: float
    split: str | None
    reason: str
    plan: tuple[PlanRow, ...]


def row_ids(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The id of each plan's row, by its trial.

    Args:
        outcomes: of a search.
    """
    return {outcome.trial: f"plan-{number}" for number, outcome in enumerate(outcomes)}


def trial_rows(data: StudyData, rows_of: RowsOf) -> tuple[TrialRow, ...]:
    """Every plan of a search, in order.

    Args:
        data: of the search.
        rows_of: gives the rows of a plan.
    """
    ids, baseline = row_ids(data.outcomes), data.baseline
    errors = {
        outcome.trial: point.error for outcome in data.outcomes for point in data.points([outcome])
    }
    ranked = sorted(data.outcomes, key=lambda o: (o.score is None, -o.steps))
    shown = {outcome.trial for outcome in ranked[:MOST_PLANS]}
    return tuple(
        TrialRow(
            id=ids[outcome.trial],
            name=outcome_label(outcome),
            state=outcome.state,
            size_bytes=outcome.size_bytes,
            share=outcome.size_bytes / baseline.size_bytes,
            steps=outcome.steps,
            score=outcome.score,
            error=errors.get(outcome.trial, math.nan),
            split=outcome.split,
            reason=outcome.reason,
            plan=rows_of(outcome.plan) if outcome.trial in shown else (),
        )
        for outcome in data.outcomes
    )
