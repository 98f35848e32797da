"""Batch: jobs that were started together, and their results so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


@dataclass(eq=False)
class Batch(Generic[J, R]):
    """Jobs that were started together.

    Attributes:
        jobs: that do not depend on each other.
        on_result: called with (job, result) when a job has ended, in the order in which they end;
            None where nobody wants to know.
    """

    jobs: Sequence[J]
    on_result: Callable[[J, R], None] | None = None
    _results: dict[int, R] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether all jobs have a result."""
        return len(self._results) == len(self.jobs)

    @property
    def results(self) -> list[R]:
        """In the order of the jobs, which have ended."""
        return [self._results[position] for position in range(len(self.jobs))]

    def add(self, position: int, result: R) -> None:
        """Keep the result of a job, and tell of it.

        Args:
            position: of the job in the batch.
            result: of the job.
        """
        self._results[position] = result
        if self.on_result is not None:
            self.on_result(self.jobs[position], result)


@dataclass(eq=False, slots=True)
class Task(Generic[J, R]):
    """One job of a batch, on its way through an executor.

    Attributes:
        batch: of the job.
        position: of the job in the batch.
        deaths: of workers that ran it.
    """

    batch: Batch[J, R]
    position: int
    deaths: int = 0

    @property
    def job(self) -> J:
        """What is to be run."""
        return self.batch.jobs[self.position]
