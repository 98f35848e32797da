"""RecordedJobs: runs the jobs of a study that its log does not have, and records their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from autoquant.executors.factory import new_executor
from autoquant.executors.job_runner import JobRunner
from autoquant.files import make_folder
from autoquant.plan import Plan
from autoquant.progress import SILENT, Progress
from autoquant.rounds.training_job import JobContext, run_job
from autoquant.settings import Search
from autoquant.study.environment import current_environment
from autoquant.study.folder import Study
from autoquant.study.job import Job, JobResult
from autoquant.study.job_log import JobLog

OnResult = Callable[[Job, JobResult], None]
"""Called with a job and its result, in the order in which jobs end."""


@dataclass(frozen=True)
class RecordedJobs:
    """The jobs of one study.

    Attributes:
        context: what jobs have in common.
        log: of their results.
        runner: runs those that the log does not have.
    """

    context: JobContext
    log: JobLog
    runner: JobRunner[JobContext, Job, JobResult]

    @classmethod
    @contextmanager
    def opened(
        cls, context: JobContext, study: Study, settings: Search, progress: Progress = SILENT
    ) -> Iterator[RecordedJobs]:
        """The jobs of a study, while its lock is held.

        Args:
            context: what jobs have in common.
            study: the folder.
            settings: give the number of workers and of threads.
            progress: shows which jobs run in other processes.
        """
        make_folder(study.trunks)
        make = partial(new_executor, settings.workers, settings.threads or 1)
        options: dict[str, Any] = {"lost": _lost, "folder": study.path}
        options["running"] = lambda job: progress.bar(job.label)
        with JobRunner(make, run_job, context, **options) as runner:
            yield cls(context, JobLog.of(study), runner)

    def run(self, jobs: Sequence[Job], on_result: OnResult) -> None:
        """Run a batch; results that are recorded come first.

        Args:
            jobs: that do not depend on each other.
            on_result: see OnResult.
        """
        missing = []
        for job in jobs:
            known = self.log.result(job)
            if known is None:
                missing.append(job)
            else:
                self._ended(job, known, on_result)

        def record(job: Job, result: JobResult) -> None:
            self.log.append(result)
            self._ended(job, result, on_result)

        try:
            self.runner.run(missing, record)
        except Exception as error:
            error.add_note(f"the study is in '{self.context.study.path}'")
            raise

    def _ended(self, job: Job, result: JobResult, on_result: OnResult) -> None:
        """Remove the checkpoint of a job whose result is recorded, and hand the result on.

        Args:
            job: that has ended, in this call or in an earlier one.
            result: of the job.
            on_result: see OnResult.
        """
        checkpoint = self.context.checkpoint(job)
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        on_result(job, result)

    def other_environments(self) -> list[str]:
        """What is different about recorded results that were not trained as those of this process.

        Equal jobs may differ in the last bits between them.
        """
        device = next(self.context.point.model.parameters()).device
        here = current_environment(device)
        return [
            f"{count} of the recorded trainings had another environment "
            f"({', '.join(here.differences(other))}): their scores may differ in the last bits"
            for other, count in self.log.environments().items()
            if other != here
        ]

    def remove_trunks(self, kept: Iterable[Plan]) -> None:
        """Remove the checkpoints of all plans but some, which ``apply`` may continue.

        Args:
            kept: plans whose checkpoint of the seed's data order stays.
        """
        study = self.context.study
        names = {study.trunk(plan, 0).name for plan in kept}
        for path in study.trunks.glob("*.checkpoint"):
            if path.name not in names:
                path.unlink(missing_ok=True)


def _lost(job: Job, reason: str) -> JobResult:
    """The result of a job whose worker died again and again."""
    return JobResult(job, "failed", reason=reason)
