"""Outcome: what became of a plan. Pareto front and hypervolume over outcomes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from autoquant.plan import Plan
from autoquant.task import Direction, as_loss

State = Literal["complete", "pruned", "diverged", "interrupted"]
Role = Literal["search", "reference"]


@dataclass(frozen=True)
class Outcome:
    """One plan that was tried.

    Attributes:
        trial: its name in the study: "17" for a proposal, "w4" for the uniform 4-bit reference.
        role: whether the search proposed it or it stands for comparison.
        plan: the plan, as it was trained (after projection onto the budget).
        size_bytes: bytes of its packed file.
        state: "complete", "pruned" (stopped early), "diverged" or "interrupted".
        score: the last score; on the valid split when complete, on the probe split when pruned.
        steps: training steps done.
        seconds: wall-clock seconds, scoring included.
        history: intermediate (step, score on the probe split).
        reason: why it did not complete, in words.
    """

    trial: str
    role: Role
    plan: Plan
    size_bytes: int
    state: State
    score: float | None = None
    steps: int = 0
    seconds: float = 0.0
    history: tuple[tuple[int, float], ...] = ()
    reason: str = ""


def complete(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes that were trained to the end and have a finite score."""
    return [
        each
        for each in outcomes
        if each.state == "complete" and each.score is not None and math.isfinite(each.score)
    ]


def loss_of(outcome: Outcome, direction: Direction) -> float:
    """The score, turned so that lower is better."""
    assert outcome.score is not None
    return as_loss(outcome.score, direction)


def best(outcomes: Iterable[Outcome], budget: int, direction: Direction) -> Outcome | None:
    """The best complete outcome within a budget in bytes; of equal scores the smaller file."""
    fitting = [each for each in complete(outcomes) if each.size_bytes <= budget]
    return min(fitting, key=lambda o: (loss_of(o, direction), o.size_bytes), default=None)


def pareto_front(outcomes: Iterable[Outcome], direction: Direction) -> list[Outcome]:
    """Complete outcomes that no other one beats in size and score at once, smallest first."""
    ranked = sorted(complete(outcomes), key=lambda o: (o.size_bytes, loss_of(o, direction)))
    front: list[Outcome] = []
    for outcome in ranked:
        if not front or loss_of(outcome, direction) < loss_of(front[-1], direction):
            front.append(outcome)
    return front


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area that points (both coordinates to be minimized) dominate below a reference point.

    >>> hypervolume([(1.0, 2.0), (2.0, 1.0)], (3.0, 3.0))
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
    *("trial", "role", "state", "size_bytes", "size_share", "score", "steps", "seconds"),
    *("history", "reason", "plan"),
)


def to_csv(outcomes: Iterable[Outcome], float_bytes: int) -> str:
    """The table ``outcomes.csv``; history and plan are JSON, size_share is over the float model."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for o in outcomes:
        score = "" if o.score is None else repr(o.score)
        sizes = (o.size_bytes, f"{o.size_bytes / float_bytes:.5f}")
        effort = (o.steps, f"{o.seconds:.2f}")
        words = (json.dumps(o.history), o.reason, json.dumps(o.plan.to_dict()))
        writer.writerow((o.trial, o.role, o.state, *sizes, score, *effort, *words))
    return buffer.getvalue()


def from_csv(text: str) -> list[Outcome]:
    """The inverse of to_csv."""
    return [
        Outcome(
            trial=row["trial"],
            role=row["role"],  # type: ignore[arg-type]
            plan=Plan.from_dict(json.loads(row["plan"])),
            size_bytes=int(row["size_bytes"]),
            state=row["state"],  # type: ignore[arg-type]
            score=float(row["score"]) if row["score"] else None,
            steps=int(row["steps"]),
            seconds=float(row["seconds"]),
            history=tuple((int(step), float(score)) for step, score in json.loads(row["history"])),
            reason=row["reason"],
        )
        for row in csv.DictReader(io.StringIO(text))
    ]
