"""StudyData: what a search's study holds, read once for all of its figures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.figures.labels import outcome_label
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.bound import loss_bound
from autoquant.study.folder import Study
from autoquant.study.noise import Noise, noise_of
from autoquant.study.outcome import Outcome, complete
from autoquant.study.selection import Selection, select

Pair = tuple[float, float]
"""A position in a figure (x, y), or the two ends of an axis (low, high)."""

_NUMBER = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class SizeBudget:
    """A budget of a study.

    Attributes:
        text: as it was written: "0.15x".
        size_bytes: the same in bytes of the packed file.
    """

    text: str
    size_bytes: int


@dataclass(frozen=True)
class OutcomePoint:
    """An outcome as a point in a figure of size and score.

    Attributes:
        name: of the outcome, for people.
        size_bytes: of the packed file.
        share: the same over the float model's bytes.
        score: on the valid split; of a pruned trial of an earlier version, on the probe split.
        error: standard error of the score; NaN where it is not known.
    """

    name: str
    size_bytes: int
    share: float
    score: float
    error: float = math.nan

    @property
    def at(self) -> Pair:
        """Its position: share and score."""
        return self.share, self.score


@dataclass(frozen=True)
class StudyData:
    """What the figures of a search are drawn from.

    Attributes:
        baseline: the float model.
        outcomes: every plan that was tried, references first.
        budgets: the largest first.
        bound: the largest accepted loss, where the smallest such plan was looked for.
    """

    baseline: BaselineRecord
    outcomes: tuple[Outcome, ...]
    budgets: tuple[SizeBudget, ...]
    bound: float | None = None

    @property
    def scored(self) -> list[Outcome]:
        """The complete outcomes whose score is a finite number."""
        return [outcome for outcome in complete(self.outcomes) if has_finite_score(outcome)]

    @property
    def search(self) -> list[Outcome]:
        """The proposals, in order."""
        return [outcome for outcome in self.outcomes if outcome.role == "search"]

    @property
    def references(self) -> list[Outcome]:
        """The uniform plans that have a score."""
        return [
            outcome
            for outcome in self.outcomes
            if outcome.role == "reference"
            and outcome.state in ("complete", "scored")
            and has_finite_score(outcome)
        ]

    @property
    def selections(self) -> tuple[Selection | None, ...]:
        """For each budget what is chosen (see ``study.selection``)."""
        direction = self.baseline.direction
        finite = [outcome for outcome in self.outcomes if has_finite_score(outcome)]
        return tuple(
            select(finite, budget.size_bytes, direction, self.bound) for budget in self.budgets
        )

    @property
    def chosen(self) -> Outcome | None:
        """The outcome that is chosen for the largest budget."""
        selection = self.selections[0]
        return None if selection is None else selection.chosen

    @property
    def chosen_label(self) -> str:
        """What is chosen, for a legend: it says so where no plan was better than the first one."""
        found = [selection for selection in self.selections if selection is not None]
        first = all(selection.chosen is selection.first for selection in found)
        known = self.has_rungs and self.bound is None
        return "chosen plan: the first one" if first and known else "chosen plan"

    @property
    def has_rungs(self) -> bool:
        """Whether the scores of single trainings are known; those of earlier versions are not."""
        return any(outcome.scores for outcome in self.outcomes)

    @property
    def last_rung(self) -> int:
        """Training steps of the proposals that are complete, or else have been trained longest."""
        scored = [outcome for outcome in self.search if has_finite_score(outcome)]
        finalists = [outcome for outcome in scored if outcome.state == "complete"]
        return max((outcome.steps for outcome in finalists or scored), default=0)

    def noise(self, steps: int) -> Noise:
        """The noise of the scores on one rung.

        Args:
            steps: of the rung.
        """
        return noise_of(self.outcomes, steps)

    def by_number(self) -> dict[int, Outcome]:
        """The proposals by trial number; one without a number has its place in order."""
        return {
            int(outcome.trial) if _NUMBER.fullmatch(outcome.trial) else i: outcome
            for i, outcome in enumerate(self.search)
        }

    def points(self, outcomes: Iterable[Outcome]) -> tuple[OutcomePoint, ...]:
        """The points of the outcomes that have a finite score.

        Args:
            outcomes: in any state.
        """
        noises: dict[int, Noise] = {}
        points = []
        for outcome in outcomes:
            steps, score = outcome.steps, outcome.score
            if score is not None and has_finite_score(outcome):
                if steps not in noises:
                    noises[steps] = self.noise(steps)
                error = noises[steps].error(max(1, len(outcome.by_order())))
                share = outcome.size_bytes / self.baseline.size_bytes
                name = outcome_label(outcome)
                points.append(OutcomePoint(name, outcome.size_bytes, share, score, error))
        return tuple(points)


def read_study_data(study: Study) -> StudyData:
    """Read what the figures of a search need.

    Args:
        study: of a search.

    Raises:
        UserError: the study has no outcomes.
    """
    outcomes = tuple(study.outcomes())
    if not outcomes:
        raise UserError(f"a study must have outcomes to report, got none in '{study.path}'")
    baseline = study.baseline()
    settings = study.goal_settings()
    cost, parameters = baseline.size_bytes, baseline.parameters
    budgets = (
        SizeBudget(text, int(Budget.parse(text).value(float_cost=cost, parameters=parameters)))
        for text in settings.budgets
    )
    ordered = tuple(sorted(budgets, key=lambda budget: -budget.size_bytes))
    return StudyData(baseline, outcomes, ordered, loss_bound(settings, baseline))


def has_finite_score(outcome: Outcome) -> bool:
    """Whether an outcome has a score, and it is a finite number.

    Args:
        outcome: in any state.
    """
    return outcome.score is not None and math.isfinite(outcome.score)
