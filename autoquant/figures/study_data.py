"""What the figures share as data: the study as read, its points, and the view of the scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from autoquant.budget import Budget
from autoquant.errors import UserError
from autoquant.study.folder import Baseline, Study
from autoquant.study.outcome import Outcome, best, complete
from autoquant.task import Direction

Pair = tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """What a study says, read once."""

    baseline: Baseline
    outcomes: tuple[Outcome, ...]
    budget: str
    budget_bytes: int

    @property
    def scored(self) -> list[Outcome]:
        """The complete outcomes whose score is a number."""
        return [each for each in complete(self.outcomes) if finite(each)]

    @property
    def chosen(self) -> Outcome | None:
        """The best of them within the budget, references included."""
        return best(self.scored, self.budget_bytes, self.baseline.direction)


def read_facts(study: Study) -> Facts:
    """Read what the figures need.

    Raises:
        UserError: the study has no outcomes.
    """
    outcomes = tuple(study.outcomes())
    if not outcomes:
        raise UserError(f"a study must have outcomes to report, got none in '{study.path}'")
    baseline = study.baseline()
    budget = Budget.parse(str(study.config().get("budget")))
    size = budget.value(float_cost=baseline.size_bytes, parameters=baseline.parameters)
    return Facts(baseline, outcomes, str(budget), size)


def finite(outcome: Outcome) -> bool:
    """Whether an outcome has a score that is a number."""
    return outcome.score is not None and math.isfinite(outcome.score)


@dataclass(frozen=True)
class Point:
    """An outcome in the plane of size (over the float model's) and score."""

    name: str
    size_bytes: int
    share: float
    score: float

    @property
    def at(self) -> Pair:
        return self.share, self.score


def points_of(outcomes: Iterable[Outcome], baseline: Baseline) -> tuple[Point, ...]:
    """The points of the outcomes whose score is a number."""
    return tuple(
        Point(label_of(o), o.size_bytes, o.size_bytes / baseline.size_bytes, o.score)
        for o in outcomes
        if o.score is not None and finite(o)
    )


@dataclass(frozen=True)
class View:
    """The part of the score axis that is shown, and how many scores lie beyond it."""

    low: float
    high: float
    log: bool
    beyond: int


def view_of(scores: Sequence[float], direction: Direction, keep: Sequence[float] = ()) -> View:
    """A view in which no terrible score flattens the rest.

    The best three quarters of the scores take at least a tenth of the axis; what would shrink them
    further lies beyond it. The axis is logarithmic when low scores are good and those in view span
    more than a factor of 10 (where high ones are good, it would give the worst ones most room).
    ``keep`` are scores that must be in view.
    """
    every = np.array([*scores, *keep])
    log = bool(direction == "minimize" and every.min() > 0 and every.max() > 10 * every.min())
    losses = np.log(every) if log else every if direction == "minimize" else -every
    ranked = np.sort(losses)
    least = math.log(1.05) if log else 0.05 * abs(ranked[0])
    room = 10 * max(ranked[int(0.75 * (len(ranked) - 1))] - ranked[0], least)
    limit = ranked[0] + room if room and len(ranked) > 2 else math.inf
    inside = every[(losses <= limit) | (np.arange(len(every)) >= len(scores))]
    low, high = float(inside.min()), float(inside.max())
    log = log and high > 10 * low
    low, high = _padded(low, high, log, direction)
    return View(low, high, log, int(np.sum((every < low) | (every > high))))


def _padded(low: float, high: float, log: bool, direction: Direction) -> Pair:
    """Limits with some air, more of it on the good side, where texts are."""
    below, above = (0.14, 0.08) if direction == "minimize" else (0.08, 0.14)
    if log:
        return low * (low / high) ** below, high * (high / low) ** above
    span = high - low or 0.1 * abs(high) or 1.0
    return low - below * span, high + above * span


def number(score: float) -> str:
    """A score for people.

    >>> number(12345.6), number(38.123)
    ('12,346', '38.12')
    """
    return f"{score:,.0f}" if 1000 <= abs(score) < 1e7 else f"{score:.4g}"


def label_of(outcome: Outcome) -> str:
    """An outcome's name for people: "w4" is the uniform 4-bit reference."""
    bits = outcome.trial.removeprefix("w")
    uniform = outcome.role == "reference" and bits.replace(".", "").isdigit()  # 4, 1.6
    return f"{bits}-bit" if uniform else f"trial {outcome.trial}"


def times(width: float) -> str:
    """A neuron multiplier as it is written in figures: x1.5."""
    return f"x{width:.4g}"


def shortened(text: str, most: int = 36) -> str:
    """A text with its middle left out where it is long."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
