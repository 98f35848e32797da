"""TrialRow: what is shown of a trial."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrialRow:
    """A row of the live table, and what a line of a log says; empty texts where nothing is known.

    Attributes:
        name: of the trial, such as "17" or "w4".
        role: "float", "search", "reference" or "run".
        size: of the packed file, for people.
        share: of the float model's size.
        steps: training steps of its rung.
        score: with its standard error where that is known.
        split: that the score is on.
        state: of the trial.
        seconds: of its trainings.
        rank: 1 for the best of those that compare, 2 for the next; None for the others.
        chosen: whether it is the one that would be chosen now.
    """

    name: str
    role: str
    size: str = ""
    share: str = ""
    steps: str = ""
    score: str = ""
    split: str = ""
    state: str = ""
    seconds: str = ""
    rank: int | None = None
    chosen: bool = False
