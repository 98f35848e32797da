"""StudyData: what a search's study holds, read once for all of its figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.figures.labels import outcome_label
from autoquant.study.bound import loss_bound
from autoquant.study.folder import BaselineRecord, Study
from autoquant.study.outcome import Outcome, complete
from autoquant.study.selection import select

Pair = tuple[float, float]
"""A position in a figure (x, y), or the two ends of an axis (low, high)."""


@dataclass(frozen=True)
class StudyData:
    """What the figures of a search are drawn from.

    Attributes:
        baseline: the float model.
        outcomes: every plan that was tried, references first.
        budget: as it was written: "0.15x"; of several ones the largest.
        budget_bytes: the same in bytes of the packed file.
        bound: the largest accepted loss, where the smallest such plan was looked for.
    """

    baseline: BaselineRecord
    outcomes: tuple[Outcome, ...]
    budget: str
    budget_bytes: int
    bound: float | None = None

    @property
    def scored(self) -> list[Outcome]:
        """The complete outcomes whose score is a finite number."""
        return [outcome for outcome in complete(self.outcomes) if has_finite_score(outcome)]

    @property
    def chosen(self) -> Outcome | None:
        """The outcome that is chosen for the budget (see ``study.selection``)."""
        direction = self.baseline.direction
        selection = select(self.outcomes, self.budget_bytes, direction, self.bound)
        return None if selection is None else selection.chosen


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
    settings = study.search_settings()
    cost, parameters = baseline.size_bytes, baseline.parameters
    sizes = {
        text: int(Budget.parse(text).value(float_cost=cost, parameters=parameters))
        for text in settings.budgets
    }
    largest = max(sizes, key=lambda text: sizes[text])
    bound = loss_bound(settings, baseline)
    return StudyData(baseline, outcomes, largest, sizes[largest], bound)


def has_finite_score(outcome: Outcome) -> bool:
    """Whether an outcome has a score, and it is a finite number.

    Args:
        outcome: in any state.
    """
    return outcome.score is not None and math.isfinite(outcome.score)


@dataclass(frozen=True)
class OutcomePoint:
    """An outcome as a point in a figure of size and score.

    Attributes:
        name: of the outcome, for people.
        size_bytes: of the packed file.
        share: the same over the float model's bytes.
        score: on the valid split; of a pruned trial, on the probe split.
    """

    name: str
    size_bytes: int
    share: float
    score: float

    @property
    def at(self) -> Pair:
        """Its position: share and score."""
        return self.share, self.score


def points_of(outcomes: Iterable[Outcome], baseline: BaselineRecord) -> tuple[OutcomePoint, ...]:
    """The points of the outcomes that have a finite score.

    Args:
        outcomes: in any state.
        baseline: the float model, whose bytes the shares are of.
    """
    return tuple(
        OutcomePoint(
            outcome_label(outcome),
            outcome.size_bytes,
            outcome.size_bytes / baseline.size_bytes,
            outcome.score,
        )
        for outcome in outcomes
        if outcome.score is not None and has_finite_score(outcome)
    )
