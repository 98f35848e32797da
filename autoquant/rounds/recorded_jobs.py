"""RecordedJobs: runs the jobs of a study that its log does not have, and records their results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from autoquant.executors.batch import Batch
from autoquant.executors.job_runner import JobRunner
from autoquant.files import make_folder, replacing
from autoquant.plan import Plan
from autoquant.progress import SILENT, Progress
from autoquant.rounds.carried_files import CarriedFiles
from autoquant.rounds.place import Place
from autoquant.rounds.training_job import JobContext, run_job
from autoquant.study.environment import Environment, current_environment
from autoquant.study.job import Job, JobResult
from autoquant.study.job_log import JobLog

OnResult = Callable[[Job, JobResult], None]
"""Called with a job and its result, in the order in which jobs end."""


@dataclass(frozen=True)
class RecordedJobs:
    """The jobs of one study.

    Attributes:
        context: what jobs have in common; its study is the folder of the checkpoints.
        place: where jobs run.
        log: of their results.
        runner: runs those that the log does not have.
        progress: is told where each job ran, if not on this machine alone.
    """

    context: JobContext
    place: Place
    log: JobLog
    runner: JobRunner[JobContext, Job, JobResult]
    progress: Progress = SILENT
    _first: list[Environment] = field(default_factory=list)

    @classmethod
    @contextmanager
    def opened(
        cls, context: JobContext, place: Place, progress: Progress = SILENT
    ) -> Iterator[RecordedJobs]:
        """The jobs of a study, while its lock is held.

        Args:
            context: what jobs have in common; its study is the folder of the checkpoints.
            place: where jobs run.
            progress: shows which jobs run in other processes.
        """
        place.prepare()
        options: dict[str, Any] = {"lost": _lost, "folder": context.study.path}
        if place.may_be_far:
            options["carrier"] = None if place.settings.cluster.folder else CarriedFiles(context)
        else:
            options["running"] = lambda job: progress.bar(job.label)
        with JobRunner(place.new_executor, run_job, context, **options) as runner:
            yield cls(context, place, JobLog.of(place.study), runner, progress)

    def run(self, jobs: Sequence[Job], on_result: OnResult) -> None:
        """Run a batch; results that are recorded come first.

        Args:
            jobs: that do not depend on each other.
            on_result: see OnResult.
        """
        self.wait(self.start(jobs, on_result))

    def start(self, jobs: Sequence[Job], on_result: OnResult) -> Batch[Job, JobResult]:
        """Start a batch, which runs beside those that were started; recorded results come first.

        Args:
            jobs: that do not depend on each other.
            on_result: see OnResult; called here, and in ``wait`` for any batch.

        Returns:
            the batch, to be waited for.
        """
        missing = []
        for job in jobs:
            known = self.log.result(job)
            if known is None:
                missing.append(job)
            else:
                self._ended(job, known, on_result)
        with self._named():
            return self.runner.start(missing, partial(self._record, on_result))

    def wait(self, batch: Batch[Job, JobResult]) -> None:
        """Wait until all jobs of a batch have ended.

        Args:
            batch: that was started here.
        """
        with self._named():
            self.runner.wait(batch)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the study in errors of the block."""
        try:
            yield
        except Exception as error:
            error.add_note(f"the study is in '{self.place.study.path}'")
            raise

    def _record(self, on_result: OnResult, job: Job, result: JobResult) -> None:
        """Write a result into the log, say where the job ran, and hand the result on.

        Args:
            on_result: see OnResult.
            job: that has ended.
            result: of the job.
        """
        result = replace(result, job=job)  # one that was sent back has a copy of the plan
        self.log.append(result)
        if self.place.may_be_far:
            self.progress.say(_where(result, self._usual_environment(result.environment)))
        self._ended(job, result, on_result)

    def _usual_environment(self, environment: Environment | None) -> Environment | None:
        """The first environment of the study, which the others are compared with.

        Args:
            environment: of the job that has just ended; it is the first where there was none.
        """
        if not self._first and environment is not None:
            self._first.append(environment)
        return next(iter(self._first), None)

    def _ended(self, job: Job, result: JobResult, on_result: OnResult) -> None:
        """Keep the packed file of a job whose result is recorded, and hand the result on.

        Args:
            job: that has ended, in this call or in an earlier one.
            result: of the job.
            on_result: see OnResult.
        """
        checkpoint = self.context.checkpoint(job)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        if self.context.save:
            self._bring(self.context.study.packed_file(job.label))
        on_result(job, result)

    def _bring(self, path: Path) -> None:
        """Move a file from the folder of the checkpoints to the study, if they are two.

        Args:
            path: of the file, which need not be there.
        """
        own, working = self.place.study.path, self.context.study.path
        if working == own or not path.is_file():
            return
        target = own / path.relative_to(working)
        make_folder(target.parent)
        with replacing(target) as temporary:
            shutil.copyfile(path, temporary)
        path.unlink()

    def other_environments(self) -> list[str]:
        """What is different about recorded results that were not trained as most, or as here.

        Equal jobs may differ in the last bits between them. On a cluster, results are compared
        with the first one.
        """
        known = self.log.environments()
        self._first.extend([*known][:1])
        here = self._usual_environment(None) if self.place.may_be_far else self._environment()
        return [
            f"{count} of the recorded trainings had another environment "
            f"({', '.join(here.differences(other))}): their scores may differ in the last bits"
            for other, count in known.items()
            if here is not None and other != here
        ]

    def _environment(self) -> Environment:
        """That of trainings in this process."""
        return current_environment(next(self.context.point.model.parameters()).device)

    def remove_trunks(self, kept: Iterable[Plan]) -> None:
        """Remove the checkpoints of all plans but some, which ``apply`` may continue.

        Args:
            kept: plans whose checkpoint of the seed's data order stays, in the study.
        """
        study = self.context.study
        names = {study.trunk(plan, 0).name for plan in kept}
        for path in study.trunks.glob("*.checkpoint"):
            if path.name in names:
                self._bring(path)
            else:
                path.unlink(missing_ok=True)
        if study.path != self.place.study.path:
            shutil.rmtree(study.path, ignore_errors=True)


def _where(result: JobResult, usual: Environment | None) -> str:
    """The line about a job that has ended: where it ran, and what is unusual there.

    Args:
        result: of the job.
        usual: environment of the study's first training.
    """
    job, here = result.job, result.environment
    line = (
        f"{job.label}, {job.steps} steps: {result.seconds:.1f} s on {result.host or 'no machine'}"
    )
    if here is None or usual is None or here == usual:
        return line
    return f"{line}; {', '.join(usual.differences(here))}: its score may differ in the last bits"


def _lost(job: Job, reason: str) -> JobResult:
    """The result of a job whose worker died again and again."""
    return JobResult(job, "failed", reason=reason)
