"""ChosenPlan: the plan of a study that is applied, by the name of its trial or run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoquant.errors import UserError, shown
from autoquant.plan import Plan
from autoquant.settings import INIT_FROM, Search, require
from autoquant.study.folder import Study
from autoquant.study.sweep_table import SweepTable


@dataclass(frozen=True)
class ChosenPlan:
    """The plan that is applied.

    Attributes:
        name: of its folder.
        plan: bits and widths of every layer.
        init_from: what it is trained from, one of settings.INIT_FROM.
        seed: of growth and training.
    """

    name: str
    plan: Plan
    init_from: str
    seed: int

    def initialized(self, init_from: str) -> ChosenPlan:
        """The same plan trained from something else, and then in another folder.

        Args:
            init_from: one of settings.INIT_FROM.

        Raises:
            UserError: it is none of them.
        """
        requirement = f"init_from must be {' or '.join(INIT_FROM)}"
        require(init_from in INIT_FROM, requirement, init_from)
        name = self.name if init_from == self.init_from else f"{self.name}-{init_from}"
        return replace(self, name=name, init_from=init_from)


def choose_plan(
    folder: Study, settings: Search, trial: str | None, plan: Plan | None
) -> ChosenPlan:
    """The plan to apply.

    Args:
        folder: of the study.
        settings: of the study.
        trial: the name of a trial or of a run.
        plan: a plan instead.

    Raises:
        UserError: the study has no such trial, no chosen plan, or both are given.
    """
    if plan is not None and trial is not None:
        raise UserError(f"apply takes a trial or a plan, got both (trial {trial})")
    if trial is None:
        if plan is None and folder.runs_file.is_file():
            raise UserError("trial must name a run of the sweep, or plan a file; got neither")
        plan = folder.plan() if plan is None else plan
        return ChosenPlan(f"plan-{plan.digest}", plan, INIT_FROM[0], settings.seed)
    plans = _plans_by_name(folder, settings)
    if trial not in plans:
        requirement = f"trial must be one of the study's ({_listed([*plans])})"
        raise UserError(f"{requirement}, got {shown(trial)}")
    return plans[trial]


def _listed(names: list[str], most: int = 20) -> str:
    """Names for an error; only the first ones if there are many."""
    more = f", ... {len(names)} in all" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "none"


def _plans_by_name(folder: Study, settings: Search) -> dict[str, ChosenPlan]:
    """Every plan that was tried: of a sweep's runs, or of a search's trials."""
    if folder.runs_file.is_file():
        runs = [result.run for result in SweepTable.of(folder).results()]
        return {
            run.name: ChosenPlan(f"trial-{run.name}", run.plan, run.init_from, run.seed)
            for run in runs
            if run.plan is not None
        }
    return {
        outcome.trial: ChosenPlan(
            f"trial-{outcome.trial}", outcome.plan, INIT_FROM[0], settings.seed
        )
        for outcome in folder.outcomes()
    }
