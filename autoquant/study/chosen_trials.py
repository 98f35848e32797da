"""The trials that a search chose: one for each of its budgets, and for any other one."""

from __future__ import annotations

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.plan import Plan
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome, loss_of
from autoquant.study.selection import select


def chosen_within(study: Study, budget: str) -> Outcome:
    """The trial that is chosen within a budget.

    Of plans that were trained for equally long the one that ``select`` takes; without a finalist
    the best of those that were trained for longest.

    Args:
        study: of a search.
        budget: as it was written.

    Raises:
        UserError: no trained plan is within the budget.
    """
    record, outcomes = study.baseline(), study.outcomes()
    parsed = Budget.parse(str(budget))
    most = parsed.value(float_cost=record.size_bytes, parameters=record.parameters)
    selection = select(outcomes, int(most), record.direction)
    if selection is not None:
        return selection.chosen
    scored = [o for o in outcomes if o.score is not None and o.role == "search"]
    fitting = [o for o in scored if o.size_bytes <= most]
    if not fitting:
        smallest = min((o.size_bytes for o in scored), default=None)
        least = "none is" if smallest is None else f"the smallest has {smallest} bytes"
        raise UserError(
            f"budget must be at least the size of a plan that the search proposed ({least}), "
            f"got {budget} = {most} bytes (autoquant solve gives a plan for any budget)"
        )
    return min(fitting, key=lambda o: (-o.steps, loss_of(o, record.direction)))


def chosen_plans(study: Study) -> dict[str, Plan]:
    """The plans that a search chose, by name: that of its folder, and of each of several budgets.

    Args:
        study: of a search.

    Raises:
        UserError: none was chosen.
    """
    name, budgets = study.path.name, study.goal_settings().budgets
    if len(budgets) == 1:
        return {name: study.plan()}
    return {f"{name}-{budget}": chosen_within(study, budget).plan for budget in budgets}
