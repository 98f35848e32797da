"""PageContent: everything that the page of a study shows, and the parts that all studies have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autoquant.figures.sensitivity import sensitivity_data
from autoquant.plan import Plan
from autoquant.reading import read_json_file
from autoquant.report_page.applied_results import applied_results
from autoquant.report_page.environment import environment_facts
from autoquant.report_page.header import Header
from autoquant.report_page.layer_costs import CostCounter, ModelCosts
from autoquant.report_page.part import Part, part
from autoquant.report_page.plan_rows import PlanRow, plan_rows
from autoquant.report_page.sensitivity_table import sensitivity_table
from autoquant.report_page.settings_table import setting_rows
from autoquant.report_page.training_curves import float_training
from autoquant.report_page.trial_table import RowsOf
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.folder import Study
from autoquant.study.outcome import Outcome

MOST_SENSITIVITIES = 4000
"""Rows of the table of sensitivities, at most."""
NO_NETWORK = (
    "The study has no network.json, which searches of this version write: the bytes and operations "
    "of single layers cannot be counted."
)
NO_PLAN = "No trained plan fits the budget."


@dataclass(frozen=True)
class PageContent:
    """What the page of a study shows.

    Attributes:
        header: of the page.
        parts: by the names that the templates use.
    """

    header: Header
    parts: Mapping[str, Part[Any]]


@dataclass(frozen=True)
class PlanCosts:
    """The layers of a plan beside those of the float model.

    Attributes:
        name: of the plan.
        costs: of its layers.
    """

    name: str
    costs: ModelCosts


def shared_parts(
    study: Study, baseline: BaselineRecord, chosen: Outcome | None, seconds: float
) -> dict[str, Part[Any]]:
    """The parts that searches and sweeps have.

    Args:
        study: of a search or a sweep.
        baseline: the float model.
        chosen: the plan that is marked among the sensitivities, if any.
        seconds: of all trainings of the study, the float model's left out.
    """
    file = study.sensitivity_file
    measured = part(
        lambda: sensitivity_table(sensitivity_data(file, chosen, MOST_SENSITIVITIES)),
        "The sensitivity was not measured.",
    )
    return {
        "applied": part(lambda: applied_results(study), ""),
        "sensitivity": measured,
        "float_curve": part(
            lambda: float_training(baseline), "The float model was not trained here."
        ),
        "settings": part(lambda: setting_rows(study.config()), ""),
        "environment": part(lambda: environment_facts(study, baseline, seconds), ""),
    }


def cost_counter(study: Study) -> Part[CostCounter]:
    """What counts the bytes and operations of layers.

    Args:
        study: of a search or a sweep.
    """
    return part(lambda: CostCounter.of(study), NO_NETWORK)


def layers_part(
    counter: Part[CostCounter], plans: Iterable[tuple[str, Plan]]
) -> Part[tuple[PlanCosts, ...]]:
    """The layers of the chosen plans beside those of the float model.

    Args:
        counter: what counts them.
        plans: that are chosen, by name.
    """
    if counter.content is None:
        return Part(None, counter.missing)
    count = counter.content.of_plan
    listed = [*plans]
    return part(
        lambda: tuple(PlanCosts(name, count(plan)) for name, plan in listed) or None, NO_PLAN
    )


def rows_of_plans(study: Study, counter: CostCounter | None) -> RowsOf:
    """A function from plans to their rows.

    Args:
        study: of a search or a sweep.
        counter: gives the bytes of layers; None where the study does not tell.
    """
    weights = part(lambda: _parameters(study), "").content or {}

    def rows(plan: Plan) -> tuple[PlanRow, ...]:
        sizes = None if counter is None else part(lambda: counter.layer_bytes(plan), "").content
        return plan_rows(plan, sizes or {}, weights)

    return rows


def _parameters(study: Study) -> dict[str, float]:
    """The parameters of each layer, as the profile has them."""
    layers = read_json_file(study.profile_file)["layers"]
    return {str(layer["name"]): float(layer["parameters"]) for layer in layers}
