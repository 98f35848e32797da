"""Job: one training of a search; JobResult: what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from autoquant.plan import Plan
from autoquant.study.environment import Environment

JobState = Literal["complete", "diverged", "failed"]


@dataclass(frozen=True)
class Job:
    """One training of a search: it gives a score, which depends on nothing else in the study.

    Attributes:
        plan: that is trained.
        steps: of its rung.
        order: number of the data order; 0 is that of the seed.
        label: for progress bars and messages, such as "trial 3"; not part of what the job is.
    """

    plan: Plan
    steps: int
    order: int = 0
    label: str = field(default="", compare=False)

    def __str__(self) -> str:
        what = f"{self.steps} steps in data order {self.order} of {self.plan.summary}"
        return f"{self.label}: {what}" if self.label else what


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        job: what was to be trained.
        state: "complete", "diverged" or "failed" (not enough memory, for example).
        score: on the valid split; None unless complete.
        probe: score on the probe split; None where there is none.
        seconds: wall-clock seconds, scoring included.
        reason: why it did not complete, in words.
        environment: where it was trained; None where that is not known, as its worker died.
    """

    job: Job
    state: JobState
    score: float | None = None
    probe: float | None = None
    seconds: float = 0.0
    reason: str = ""
    environment: Environment | None = None
