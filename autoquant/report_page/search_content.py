"""What the page of a search shows."""

from __future__ import annotations

from autoquant.budget import readable
from autoquant.figures.labels import format_score, outcome_label
from autoquant.figures.pareto_points import pareto_data
from autoquant.figures.study_data import StudyData, read_study_data
from autoquant.plan import Plan
from autoquant.report_page.content import (
    PageContent,
    cost_counter,
    layers_part,
    rows_of_plans,
    shared_parts,
)
from autoquant.report_page.header import header
from autoquant.report_page.next_commands import after_search
from autoquant.report_page.pareto_chart import pareto_chart
from autoquant.report_page.part import Part, part
from autoquant.report_page.results import search_rows
from autoquant.report_page.training_curves import trial_curves
from autoquant.report_page.trial_table import row_ids, trial_rows
from autoquant.study.folder import Study
from autoquant.study.summary import search_tables
from autoquant.task import as_loss


def search_content(study: Study) -> PageContent:
    """Read what the page of a search shows.

    Args:
        study: of a search.

    Raises:
        UserError: the study has no outcomes, or one of its main files is not what it should be.
    """
    data = read_study_data(study)
    ids = row_ids(data.outcomes)
    names = {outcome_label(outcome): ids[outcome.trial] for outcome in data.outcomes}
    seconds = sum(outcome.seconds for outcome in data.outcomes)
    shared = shared_parts(study, data.baseline, data.chosen, seconds)
    applied = shared["applied"].content or ()
    rows = search_rows(data, applied, ids)
    counter = cost_counter(study)
    rows_of = rows_of_plans(study, counter.content)
    return PageContent(
        header(study, "search", data.baseline, _goal(data), rows),
        {
            **shared,
            "results": Part(rows),
            "notes": part(lambda: _notes(data), ""),
            "pareto": part(lambda: pareto_chart(pareto_data(data), names), ""),
            "trials": part(lambda: trial_rows(data, rows_of), ""),
            "layers": layers_part(counter, _chosen(data)),
            "curves": part(lambda: trial_curves(data, ids), "No trial has a score."),
            "next": part(lambda: after_search(study, data, applied), ""),
        },
    )


def _goal(data: StudyData) -> tuple[str, ...]:
    """What was looked for, in words."""
    budgets = [f"{budget.text} = {readable(budget.size_bytes)}" for budget in data.budgets]
    noun = "budget" if len(budgets) == 1 else "budgets"
    goal = [f"{noun} {', '.join(budgets)}"]
    if data.bound is not None:
        score = format_score(as_loss(data.bound, data.baseline.direction))
        goal.append(f"the smallest plan with {data.baseline.metric} {score} or better")
    return (*goal, f"{len(data.search)} trials")


def _notes(data: StudyData) -> tuple[str, ...]:
    """What a search prints below its table, without indents."""
    budgets = [budget.size_bytes for budget in data.budgets]
    tables = search_tables(data.baseline, data.outcomes, budgets, data.selections, bound=data.bound)
    return tuple(note.strip() for table in tables for note in table.notes)


def _chosen(data: StudyData) -> list[tuple[str, Plan]]:
    """The plans that are chosen, each once, by name."""
    plans: dict[Plan, str] = {}
    for budget, selection in zip(data.budgets, data.selections, strict=True):
        if selection is not None:
            name = f"{outcome_label(selection.chosen)}, chosen within {budget.text}"
            plans.setdefault(selection.chosen.plan, name)
    return [(name, plan) for plan, name in plans.items()]
