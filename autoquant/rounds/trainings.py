"""Trainings: jobs of some trials in progress, and their results that are not recorded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from autoquant.study.job import Job, JobResult
from autoquant.study.outcome import Outcome


class Trainings:
    """Jobs of some trials that were started together.

    Args:
        jobs: with their trials.
        record: called with a trial and the result of one of its jobs, which has a score.
        held: whether results are kept back until ``release``.
    """

    def __init__(
        self,
        jobs: Mapping[Job, Outcome],
        record: Callable[[Outcome, JobResult], None],
        held: bool = False,
    ) -> None:
        self.jobs, self._record, self._held = jobs, record, held
        self.batch: Any = None
        self._kept: list[JobResult] = []
        self._failed: dict[Job, JobResult] = {}
        self.ended = 0

    def add(self, job: Job, result: JobResult) -> None:
        """Take the result of a job that has ended.

        Args:
            job: one of these.
            result: of the job.
        """
        self.ended += 1
        if result.score is None:
            self._failed[job] = result
        elif self._held:
            self._kept.append(result)
        else:
            self._record(self.jobs[job], result)

    def release(self) -> None:
        """Record what was kept back, and from now on each result as it comes."""
        self._held = False
        kept, self._kept = self._kept, []
        for result in kept:
            self._record(self.jobs[result.job], result)

    def failures(self) -> Iterator[tuple[Job, JobResult]]:
        """Jobs that have ended without a score, in the order of the jobs."""
        return ((job, self._failed[job]) for job in self.jobs if job in self._failed)
