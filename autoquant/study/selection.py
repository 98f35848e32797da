"""Selection: which of the finalists of a budget is chosen, and which are level with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autoquant.study.noise import (
    Difference,
    difference_spread,
    paired_difference,
)
from autoquant.study.outcome import Outcome, loss_of
from autoquant.task import Direction

MIN_ERRORS = 2.0
"""Standard errors below which two plans are level."""
BEATEN = 1.0
"""Standard errors by which a plan must beat the first one to be chosen instead of it. With 2, more
replays of `studies/tabular-*` kept a first plan that was worse; neither chose worse plans often."""


@dataclass(frozen=True)
class Selection:
    """The choice among the plans within one budget.

    Attributes:
        chosen: the first plan, or the one that beats it by BEATEN standard errors.
        first: the first plan that was proposed for the budget.
        level: finalists that are within MIN_ERRORS standard errors of the chosen one, the chosen
            one included, the smallest file first.
        gain: what the chosen plan's loss (lower is better) is below that of the first one.
    """

    chosen: Outcome
    first: Outcome
    level: tuple[Outcome, ...]
    gain: Difference

    @property
    def smallest(self) -> Outcome:
        """The smallest file among those that are level."""
        return self.level[0]


def select(
    outcomes: Iterable[Outcome], budget: int, direction: Direction, bound: float | None = None
) -> Selection | None:
    """Choose among the proposals within a budget that were trained for longest.

    The first plan follows from the sensitivity alone. Another one is chosen only where its mean
    score, over the same data orders, is better by BEATEN standard errors: the best of several
    noisy scores looks better than it is. Plans of earlier versions, whose noise is not known, are
    compared by their scores.

    Args:
        outcomes: of one study.
        budget: the largest packed file, in bytes.
        direction: whether low or high scores are good.
        bound: the largest accepted loss, where the smallest such plan is looked for.

    Returns:
        the selection; None where no plan within the budget has a finite score, or one within the
        bound.
    """
    finalists = _finalists(outcomes, budget)
    if bound is not None:
        return _smallest_within(finalists, bound, direction)
    if not finalists:
        return None
    first = min(finalists, key=_number)
    ranked = sorted(finalists, key=lambda o: (loss_of(o, direction), o.size_bytes))
    if not first.scores:
        none = Difference(loss_of(first, direction) - loss_of(ranked[0], direction), 0.0)
        return Selection(ranked[0], first, (ranked[0],), none)
    comparison = Comparison(finalists, direction)
    gain = comparison.gain(ranked[0], first)
    chosen = ranked[0] if gain.exceeds(BEATEN) else first
    level = [o for o in finalists if o is chosen or comparison.is_level(o, chosen)]
    ordered = tuple(sorted(level, key=lambda o: (o.size_bytes, loss_of(o, direction))))
    return Selection(chosen, first, ordered, comparison.gain(chosen, first))


def _smallest_within(
    finalists: Sequence[Outcome], bound: float, direction: Direction
) -> Selection | None:
    """The smallest plan whose mean score is within a bound; None where there is none.

    Args:
        finalists: on one rung.
        bound: the largest accepted loss.
        direction: whether low or high scores are good.
    """
    within = [o for o in finalists if loss_of(o, direction) <= bound]
    if not within:
        return None
    chosen = min(within, key=lambda o: (o.size_bytes, loss_of(o, direction)))
    return Selection(chosen, chosen, (chosen,), Difference(0.0, 0.0))


def _finalists(outcomes: Iterable[Outcome], budget: int) -> list[Outcome]:
    """The proposals within a budget that are complete, or else those on the longest rung.

    Args:
        outcomes: of one study.
        budget: in bytes.
    """
    fitting = [
        outcome
        for outcome in outcomes
        if (outcome.role == "search" or not outcome.scores)  # of earlier versions references too
        and outcome.size_bytes <= budget
        and outcome.score is not None
        and math.isfinite(outcome.score)
        and outcome.state in ("complete", "scored")
    ]
    complete = [outcome for outcome in fitting if outcome.state == "complete"]
    kept = complete or fitting
    longest = max((outcome.steps for outcome in kept if outcome.scores), default=None)
    return [outcome for outcome in kept if longest is None or outcome.steps == longest]


def _number(outcome: Outcome) -> tuple[int, str]:
    """A key that sorts proposals by their number."""
    name = outcome.trial
    return (int(name) if name.isdecimal() else 10**9, name)


class Comparison:
    """Differences between finalists, with one spread for all.

    Args:
        finalists: on one rung.
        direction: whether low or high scores are good.
    """

    def __init__(self, finalists: Sequence[Outcome], direction: Direction) -> None:
        self._sign = 1.0 if direction == "minimize" else -1.0
        repeated = [o.by_order() for o in finalists if len(o.by_order()) > 1]
        self._spread = difference_spread(repeated)

    def gain(self, one: Outcome, other: Outcome) -> Difference:
        """How much lower the loss of one plan is than that of another.

        Args:
            one: a finalist.
            other: a finalist.
        """
        if one is other:
            return Difference(0.0, 0.0)
        found = paired_difference(other.by_order(), one.by_order(), self._spread)
        return Difference(self._sign * found.value, found.error)

    def is_level(self, one: Outcome, other: Outcome) -> bool:
        """Whether the difference of two plans is known, and within MIN_ERRORS standard errors.

        Args:
            one: a finalist.
            other: a finalist.
        """
        difference = self.gain(one, other)
        return abs(difference.value) <= MIN_ERRORS * difference.error
