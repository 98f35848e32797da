"""The function that every job runs: train a plan on a rung with a data order, and score it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from autoquant.backend import Compute, computing
from autoquant.rounds.rungs import Rung
from autoquant.study.environment import current_environment
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.training.callbacks import OnStep
from autoquant.training.candidate import StartingPoint, failure_of
from autoquant.training.device import release_memory
from autoquant.training.rungs import train_rung


@dataclass(frozen=True)
class JobContext:
    """What all jobs of a search have in common.

    Attributes:
        point: the float model, the task and the settings.
        rungs: of the search.
        study: the folder, with the checkpoints from which a longer rung continues.
        progress: whether to show a progress bar for each training.
        on_step: called after each training step; None in other processes.
    """

    point: StartingPoint
    rungs: tuple[Rung, ...]
    study: Study
    progress: bool = False
    on_step: OnStep | None = field(default=None, compare=False)

    def rung(self, steps: int) -> Rung:
        """The rung of a length.

        Args:
            steps: of a job.
        """
        return next(rung for rung in self.rungs if rung.steps == steps)


def run_job(context: JobContext, job: Job) -> JobResult:
    """Train and score; a pure function of its arguments, apart from the checkpoint.

    Args:
        context: of the search.
        job: what is trained.

    Returns:
        the score, or why the plan has none: the failures that another plan may not have.
    """
    started = time.monotonic()
    settings = context.point.settings
    environment = current_environment(next(context.point.model.parameters()).device)
    try:
        with computing(Compute(settings.kernel)):
            candidate = train_rung(
                context.point,
                job.plan,
                context.rung(job.steps).training,
                job.steps,
                order=job.order,
                trunk=context.study.trunk(job.plan, job.order),
                label=job.label,
                on_step=context.on_step,
                progress=context.progress,
            )
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        release_memory()
        return JobResult(
            job,
            failure.state,
            seconds=time.monotonic() - started,
            reason=failure.reason,
            environment=environment,
        )
    return JobResult(
        job,
        "complete",
        candidate.score,
        seconds=time.monotonic() - started,
        environment=environment,
    )
