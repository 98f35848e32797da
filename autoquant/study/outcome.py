"""Outcome: the result of training a plan. Pareto front and hypervolume of outcomes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

import numpy as np

from autoquant.plan import Plan
from autoquant.study import records
from autoquant.task import Direction, Split, as_loss

OutcomeState = Literal["complete", "scored", "pruned", "diverged", "failed", "interrupted"]
TrialRole = Literal["search", "reference"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One plan that was tried, and what came of it.

    Attributes:
        trial: its name in the study: "17" for a proposal, "w4" for the reference of 4 bits.
        role: "search" for a proposal of the search, "reference" for a uniform plan that is trained
            for comparison.
        plan: the plan, as it was trained (after projection onto the budget).
        size_bytes: bytes of its packed file.
        state: "complete" (a finalist), "scored" (it may go on to the next rung), "pruned" (it does
            not), "diverged", "failed" (not enough memory, for example) or "interrupted".
        score: the mean over the data orders of the scores on the last rung, on the valid split;
            None where there is none. In studies of earlier versions that of a pruned trial is on
            the probe split.
        steps: training steps of the last rung.
        seconds: wall-clock seconds of all its trainings, scoring included.
        history: (steps, mean score) of each rung. In studies of earlier versions intermediate
            scores, on the probe split.
        reason: why it did not complete, in words.
        scores: (steps, data order, score on the valid split) of each training. Studies of earlier
            versions have none.
    """

    trial: str
    role: TrialRole
    plan: Plan
    size_bytes: int
    state: OutcomeState
    score: float | None = None
    steps: int = 0
    seconds: float = 0.0
    history: tuple[tuple[int, float], ...] = ()
    reason: str = ""
    scores: tuple[tuple[int, int, float], ...] = ()

    @property
    def split(self) -> Split | None:
        """The split that the score is on; None where there is none."""
        if self.score is None:
            return None
        final = bool(self.scores) or self.state in ("complete", "scored")
        return "valid" if final else "probe"

    @property
    def history_split(self) -> Split:
        """The split that the scores of ``history`` are on."""
        return "valid" if self.scores else "probe"

    def by_order(self, steps: int | None = None) -> dict[int, float]:
        """The scores on one rung, by data order.

        Args:
            steps: of the rung; those of the last one when None.
        """
        steps = self.steps if steps is None else steps
        return {order: score for at, order, score in self.scores if at == steps}


def rung_means(scores: Iterable[tuple[int, int, float]]) -> tuple[tuple[int, float], ...]:
    """The mean score of each rung, the shortest first.

    Args:
        scores: (steps, data order, score) of the trainings of one plan.
    """
    by_steps: dict[int, list[float]] = {}
    for steps, _, score in scores:
        by_steps.setdefault(steps, []).append(score)
    return tuple((steps, sum(by_steps[steps]) / len(by_steps[steps])) for steps in sorted(by_steps))


def complete(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes that were trained to the end and have a finite score.

    Args:
        outcomes: of one study.
    """
    return [
        outcome
        for outcome in outcomes
        if outcome.state == "complete"
        and outcome.score is not None
        and math.isfinite(outcome.score)
    ]


def loss_of(outcome: Outcome, direction: Direction) -> float:
    """The score, with its sign changed where higher is better, so that lower is better.

    Args:
        outcome: one with a score.
        direction: whether low or high scores are good.
    """
    assert outcome.score is not None
    return as_loss(outcome.score, direction)


def best(outcomes: Iterable[Outcome], budget: int, direction: Direction) -> Outcome | None:
    """The best complete outcome within a budget; of equal scores the smaller file.

    Args:
        outcomes: of one study.
        budget: the largest packed file, in bytes.
        direction: whether low or high scores are good.

    Returns:
        the best one, or None where no complete outcome is within the budget.
    """
    fitting = [outcome for outcome in complete(outcomes) if outcome.size_bytes <= budget]
    return min(fitting, key=lambda o: (loss_of(o, direction), o.size_bytes), default=None)


def pareto_front(outcomes: Iterable[Outcome], direction: Direction) -> list[Outcome]:
    """The complete outcomes that no other one is better than in size and score at once.

    Args:
        outcomes: of one study.
        direction: whether low or high scores are good.

    Returns:
        the front, smallest file first; of outcomes with one size and score, the first.
    """
    ranked = sorted(complete(outcomes), key=lambda o: (o.size_bytes, loss_of(o, direction)))
    front: list[Outcome] = []
    for outcome in ranked:
        if not front or loss_of(outcome, direction) < loss_of(front[-1], direction):
            front.append(outcome)
    return front


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The area that points dominate below a reference point, both coordinates to be minimized.

    One number for a whole Pareto front (Zitzler and Thiele 1999, IEEE Transactions on Evolutionary
    Computation 3(4), "size of the space covered"): the area of all pairs (x, y) up to the reference
    for which some point (a, b) has a <= x and b <= y. A point that no other one dominates adds to
    it.

    Args:
        points: pairs such as (size in bytes, loss), dominated ones included; N of them, in any
            order. Points that are not below the reference in both coordinates add nothing.
        reference: the worst pair that still counts, such as (size of the float model, loss of the
            smallest uniform plan). Only hypervolumes with the same reference compare.

    Returns:
        the area, in the product of the coordinates' units; 0.0 without points below the reference.

    >>> hypervolume([(1.0, 2.0), (2.0, 1.0)], reference=(3.0, 3.0))
    3.0
    """
    inside = np.array([p for p in points if p[0] < reference[0] and p[1] < reference[1]])
    if not len(inside):
        return 0.0
    inside = inside[np.lexsort((inside[:, 1], inside[:, 0]))]
    lowest = np.minimum.accumulate(inside[:, 1])
    widths = np.diff(np.append(inside[:, 0], reference[0]))
    return float(np.sum(widths * (reference[1] - lowest)))


# --- the table in a study ------------------------------------------------------------------------

COLUMNS = (
    *("trial", "role", "state", "size_bytes", "size_share", "score", "split", "steps"),
    *("seconds", "history", "reason", "plan", "scores"),
)


def to_csv(outcomes: Iterable[Outcome], float_bytes: int) -> str:
    """The text of ``outcomes.csv``.

    Args:
        outcomes: in the order of the rows; those of earlier versions have no column of scores.
        float_bytes: bytes of the float model's tensors, over which ``size_share`` is.
    """
    text = io.StringIO()
    write_csv(text, outcomes, float_bytes)
    return text.getvalue()


def write_csv(file: TextIO, outcomes: Iterable[Outcome], float_bytes: int) -> None:
    """Write ``outcomes.csv``, of which only a row at a time is in memory.

    Args:
        file: that is written to.
        outcomes: see ``to_csv``.
        float_bytes: see ``to_csv``.
    """
    listed = [*outcomes]
    columns = COLUMNS if any(outcome.scores for outcome in listed) else COLUMNS[:-1]
    records.write_csv(file, columns, (_to_row(outcome, float_bytes) for outcome in listed))


def _to_row(outcome: Outcome, float_bytes: int) -> dict[str, str]:
    return records.to_row(outcome) | {
        "size_share": f"{outcome.size_bytes / float_bytes:.5f}",
        "seconds": f"{outcome.seconds:.2f}",
        "split": outcome.split or "",
    }


def from_csv(text: str) -> list[Outcome]:
    """The outcomes of ``outcomes.csv``: the inverse of to_csv.

    Args:
        text: of the file.

    Raises:
        ValueError: the text is not what to_csv wrote.
    """
    return records.from_csv(Outcome, text)
