"""Job: one training of a search or a sweep; JobResult: what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from autoquant.plan import Plan
from autoquant.study.environment import Environment

JobState = Literal["complete", "diverged", "failed"]


@dataclass(frozen=True)
class Job:
    """One training: it gives scores, which depend on nothing else in the study.

    Attributes:
        plan: that is trained.
        steps: of its rung.
        order: number of the data order; 0 is that of the seed.
        label: for progress bars and messages, such as "trial 3"; not part of what the job is.
        seed: of growth, batches and dropout; None: that of the study.
        init_from: "baseline" for the weights of the float model, "scratch" for new ones.
    """

    plan: Plan
    steps: int
    order: int = 0
    label: str = field(default="", compare=False)
    seed: int | None = None
    init_from: str = "baseline"

    def __str__(self) -> str:
        order, seed = f"in data order {self.order}", f"from {self.init_from} with seed {self.seed}"
        how = order if self.seed is None else seed
        what = f"{self.steps} steps {how} of {self.plan.summary}"
        return f"{self.label}: {what}" if self.label else what


@dataclass(frozen=True)
class JobResult:
    """What came of a job.

    Attributes:
        job: what was to be trained.
        state: "complete", "diverged" or "failed" (not enough memory, for example).
        score: on the valid split; None unless complete.
        test: score on the test split; None where it was not asked for.
        seconds: wall-clock seconds, scoring included.
        reason: why it did not complete, in words.
        environment: where it was trained; None where that is not known, as its worker died.
        host: name of the machine that it ran on; empty where that is not known.
    """

    job: Job
    state: JobState
    score: float | None = None
    test: float | None = None
    seconds: float = 0.0
    reason: str = ""
    environment: Environment | None = None
    host: str = ""
