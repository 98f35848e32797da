"""ResultRow: the float model, the references, the chosen plans and the applied ones in a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autoquant.figures.labels import outcome_label
from autoquant.figures.study_data import StudyData
from autoquant.figures.sweep_data import SweepData, SweptPlan
from autoquant.plan import Plan
from autoquant.report_page.applied_results import AppliedResult
from autoquant.report_page.sweep_rows import SweptRow
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.outcome import Outcome
from autoquant.study.reference_name import reference_row
from autoquant.task import as_loss

Kind = Literal["float", "reference", "first", "chosen", "level", "applied"]


@dataclass(frozen=True)
class ResultRow:
    """A model in the table of results.

    Attributes:
        kind: what it is.
        name: for people.
        size_bytes: of its file; of the float model's tensors.
        share: the same over the float model's bytes.
        steps: training steps; None where they are not known.
        valid: score on the valid split.
        error: standard error of that; NaN where it is not known.
        test: score on the test split; None where it was not scored.
        row: id of its row in the table of plans; empty where there is none.
    """

    kind: Kind
    name: str
    size_bytes: int
    share: float
    steps: int | None
    valid: float
    error: float = math.nan
    test: float | None = None
    row: str = ""


def float_row(baseline: BaselineRecord, applied: Sequence[AppliedResult]) -> ResultRow:
    """The float model; its test score where the study or a plan that was applied has it.

    Args:
        baseline: the float model.
        applied: plans that were applied.
    """
    known = [baseline.test, *(each.float_test for each in applied)]
    test = next((score for score in known if score is not None and math.isfinite(score)), None)
    return ResultRow(
        "float",
        "float model",
        baseline.size_bytes,
        1.0,
        baseline.steps or None,
        baseline.score,
        test=test,
    )


def applied_rows(
    baseline: BaselineRecord, applied: Iterable[AppliedResult], names: Mapping[Plan, str]
) -> tuple[ResultRow, ...]:
    """The plans that were applied: trained in full, packed, and scored on the test split.

    Args:
        baseline: the float model.
        applied: plans that were applied.
        names: of the plans of the study.
    """
    return tuple(
        ResultRow(
            "applied",
            f"applied: {each.label(names)}{each.init_label}",
            each.size_bytes,
            each.size_bytes / baseline.size_bytes,
            each.steps or None,
            each.valid,
            test=each.test,
        )
        for each in applied
    )


def search_rows(
    data: StudyData, applied: Sequence[AppliedResult], rows: dict[str, str]
) -> tuple[ResultRow, ...]:
    """The results of a search.

    Args:
        data: of the search.
        applied: plans that were applied.
        rows: ids of the rows in the table of plans, by trial.
    """
    listed = [float_row(data.baseline, applied)]
    for outcome in data.references:
        listed += _rows("reference", reference_row(outcome), outcome, data, rows)
    for budget, selection in zip(data.budgets, data.selections, strict=True):
        if selection is None:
            continue
        first, chosen, smallest = selection.first, selection.chosen, selection.smallest
        within = f"within {budget.text}"
        if first is not chosen:
            listed += _rows("first", f"first plan {within}: trial {first.trial}", first, data, rows)
        same = ", the first plan" if first is chosen and first.scores else ""
        name = f"chosen plan {within}: trial {chosen.trial}{same}"
        listed += _rows("chosen", name, chosen, data, rows)
        if smallest is not chosen:
            name = f"smallest plan level with it: trial {smallest.trial}"
            listed += _rows("level", name, smallest, data, rows)
    names = {outcome.plan: outcome_label(outcome) for outcome in reversed(data.outcomes)}
    return (*listed, *applied_rows(data.baseline, applied, names))


def _rows(
    kind: Kind, name: str, outcome: Outcome, data: StudyData, rows: dict[str, str]
) -> list[ResultRow]:
    """The row of a plan that has a finite score; else none.

    Args:
        kind: of the row.
        name: of the row.
        outcome: of the plan.
        data: of the search.
        rows: ids of the rows in the table of plans, by trial.
    """
    return [
        ResultRow(
            kind,
            name,
            point.size_bytes,
            point.share,
            outcome.steps or None,
            point.score,
            point.error,
            row=rows.get(outcome.trial, ""),
        )
        for point in data.points([outcome])
    ]


def sweep_rows(
    data: SweepData, applied: Sequence[AppliedResult], swept: Iterable[SweptRow]
) -> tuple[ResultRow, ...]:
    """The float model, the best plan of a sweep, and the plans that were applied.

    Args:
        data: of the sweep.
        applied: plans that were applied.
        swept: rows of the table of plans.
    """
    best, listed, rows = best_plan(data), [float_row(data.baseline, applied)], [*swept]
    listed += [_best_row(row) for row in rows if row.plan is best]
    plans = ((row.runs[0].run.plan, row.plan.name) for row in reversed(rows))
    names = {plan: name for plan, name in plans if plan is not None}
    return (*listed, *applied_rows(data.baseline, applied, names))


def _best_row(row: SweptRow) -> ResultRow:
    plan, count = row.plan, len(row.plan.scores)
    return ResultRow(
        "chosen",
        f"best plan of the sweep: {plan.name}",
        row.size_bytes or 0,
        plan.share or math.nan,
        row.steps,
        plan.score,
        plan.deviation / math.sqrt(count) if count > 1 else math.nan,
        row.test,
        row.id,
    )


def best_plan(data: SweepData) -> SweptPlan | None:
    """The plan of a sweep with the best mean score; None where none has a score and a size.

    Args:
        data: of the sweep.
    """
    direction = data.baseline.direction
    return min(data.scored, key=lambda plan: as_loss(plan.score, direction), default=None)
