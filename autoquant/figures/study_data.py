"""StudyData: what a search's study holds, read once for all of its figures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.figures.labels import outcome_label
from autoquant.study.folder import BaselineRecord, Study
from autoquant.study.outcome import Outcome, best, complete

Pair = tuple[float, float]
"""A position in a figure (x, y), or the two ends of an axis (low, high)."""


@dataclass(frozen=True)
class StudyData:
    """What the figures of a search are drawn from.

    Attributes:
        baseline: the float model.
        outcomes: every plan that was tried, references first.
        budget: as it was written: "0.15x".
        budget_bytes: the same in bytes of the packed file.
    """

    baseline: BaselineRecord
    outcomes: tuple[Outcome, ...]
    budget: str
    budget_bytes: int

    @property
    def scored(self) -> list[Outcome]:
        """The complete outcomes whose score is a finite number."""
        return [outcome for outcome in complete(self.outcomes) if has_finite_score(outcome)]

    @property
    def chosen(self) -> Outcome | None:
        """The best of them within the budget, references included."""
        return best(self.scored, self.budget_bytes, self.baseline.direction)


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
    budget = Budget.parse(str(study.config().get("budget")))
    value = budget.value(float_cost=baseline.size_bytes, parameters=baseline.parameters)
    return StudyData(baseline, outcomes, str(budget), int(value))


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
