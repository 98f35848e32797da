"""The function that every job runs: train a plan on a rung with a data order, and score it."""

from __future__ import annotations

import copy
import socket
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from autoquant.artifact import packed_file
from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.files import make_folder
from autoquant.progress import SILENT, Progress
from autoquant.rounds.rungs import Rung
from autoquant.study.environment import current_environment
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.study.task_fingerprint import TaskFingerprint
from autoquant.training.callbacks import OnStep
from autoquant.training.candidate import Candidate, StartingPoint, failure_of, train_candidate
from autoquant.training.device import release_memory, resolve_device
from autoquant.training.recognise import data_difference
from autoquant.training.rungs import train_rung
from autoquant.training.scoring import score
from autoquant.training.threads import threads_set


@dataclass(frozen=True)
class JobContext:
    """What all jobs of a study have in common.

    Attributes:
        point: the float model, the task and the settings.
        rungs: of the study.
        study: the folder, with the checkpoints from which trainings continue.
        progress: shows how far each training is; silent in other processes.
        on_step: called after each training step; None in other processes.
        test: whether the test split is scored as well.
        save: whether the packed file is kept in the study.
        fingerprint: of the task in the process of the command; None where that is not known.
    """

    point: StartingPoint
    rungs: tuple[Rung, ...]
    study: Study
    progress: Progress = field(default=SILENT, compare=False)
    on_step: OnStep | None = field(default=None, compare=False)
    test: bool = False
    save: bool = False
    fingerprint: TaskFingerprint | None = None

    @classmethod
    def of(
        cls,
        point: StartingPoint,
        rungs: tuple[Rung, ...],
        study: Study,
        *,
        progress: Progress,
        on_step: OnStep | None,
        here: bool,
        test: bool = False,
        save: bool = False,
        fingerprint: TaskFingerprint | None = None,
    ) -> JobContext:
        """The context; in other processes no job shows its progress or calls ``on_step``.

        Args:
            point: the float model, the task and the settings.
            rungs: of the study.
            study: the folder.
            progress: shows how far each training is; silent in other processes.
            on_step: called after each training step.
            here: whether all jobs run in this process; else the model goes out on the CPU.
            test: whether the test split is scored as well.
            save: whether the packed file is kept in the study.
            fingerprint: of the task, which other processes compare with theirs.
        """
        if here:
            return cls(point, rungs, study, progress, on_step, test, save)
        point = _on_cpu(point)
        return cls(point, rungs, study, test=test, save=save, fingerprint=fingerprint)

    def arrived(self) -> None:
        """Bring the float model to the device of this process, which received the context.

        Raises:
            UserError: the device is not here, or the task reads other data here.
        """
        settings, host = self.point.settings, socket.gethostname()
        try:
            self.point.model.to(resolve_device(settings.device))
        except UserError as error:
            raise UserError(f"on {host}: {error}") from error
        if self.fingerprint is not None:
            difference = data_difference(self.point.task, settings.seed, self.fingerprint)
            if difference is not None:
                requirement = f"the data must be the same on {host} as where the search was started"
                raise UserError(f"{requirement}, where the task has {difference}")

    def rung(self, steps: int) -> Rung:
        """The rung of a length.

        Args:
            steps: of a job.
        """
        return next(rung for rung in self.rungs if rung.steps == steps)

    def checkpoint(self, job: Job) -> Path | None:
        """Where an interrupted job continues; None where the trunk of its plan is its checkpoint.

        Args:
            job: of the study.
        """
        return self.study.checkpoint(job) if self.rung(job.steps).whole else None


def _on_cpu(point: StartingPoint) -> StartingPoint:
    """A starting point that any worker can read; a model on the CPU is not copied."""
    if next(point.model.parameters()).device.type == "cpu":
        return point
    return replace(point, model=copy.deepcopy(point.model).to("cpu"))


def run_job(context: JobContext, job: Job) -> JobResult:
    """Train and score; a pure function of its arguments, apart from the checkpoint.

    Args:
        context: of the study.
        job: what is trained.

    Returns:
        the scores, or why the plan has none: the failures that another plan may not have.
    """
    with threads_set(context.point.settings.threads):
        return _result(context, job)


def _result(context: JobContext, job: Job) -> JobResult:
    """Train and score a job, and say where.

    Args:
        context: of the study.
        job: what is trained.
    """
    started, host = time.monotonic(), socket.gethostname()
    environment = current_environment(next(context.point.model.parameters()).device)
    try:
        with computing(Compute(context.point.settings.kernel)):
            candidate = _trained(context, job)
            test = _test_score(context, job, candidate) if context.test else None
        if context.save:
            _save(context, job, candidate)
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
            host=host,
        )
    return JobResult(
        job,
        "complete",
        candidate.score,
        test,
        seconds=time.monotonic() - started,
        environment=environment,
        host=host,
    )


def _test_score(context: JobContext, job: Job, candidate: Candidate) -> float:
    """The score of a trained plan on the test split.

    Args:
        context: of the study.
        job: what was trained.
        candidate: what came of it.
    """
    with context.progress.bar(f"{job.label}: scoring on the test split"):
        return score(candidate.model, context.point.task, "test")


def _save(context: JobContext, job: Job, candidate: Candidate) -> None:
    """Pack a trained plan into the study's folder.

    Args:
        context: of the study.
        job: what was trained.
        candidate: what came of it.
    """
    point, path = context.point, context.study.packed_file(job.label)
    make_folder(path.parent)
    packed_file.save(path, candidate.model, point.network, job.plan, point.settings.quantizer)


def _trained(context: JobContext, job: Job) -> Candidate:
    """The plan of a job, trained as its rung says.

    Args:
        context: of the study.
        job: what is trained.
    """
    rung, point = context.rung(job.steps), context.point
    if job.seed is not None:
        point = point.initialized(job.init_from, job.seed)
    if rung.whole:
        return train_candidate(
            point,
            job.plan,
            rung.training,
            label=job.label,
            on_step=context.on_step,
            checkpoint=context.checkpoint(job),
            progress=context.progress,
        )
    return train_rung(
        point,
        job.plan,
        rung.training,
        job.steps,
        order=job.order,
        trunk=context.study.trunk(job.plan, job.order),
        label=job.label,
        on_step=context.on_step,
        progress=context.progress,
    )
