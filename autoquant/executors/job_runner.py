"""JobRunner: runs batches of jobs on an executor, and runs those again whose worker died."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from autoquant.executors.batch import Batch
from autoquant.executors.context import SharedContext
from autoquant.executors.jobs_in_progress import JobsInProgress

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")
C_contra = TypeVar("C_contra", contravariant=True)
J_contra = TypeVar("J_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

MAX_SUBMITTED = 4096
"""Jobs that an executor has at the same time, at most; the others wait in this process."""
PER_WORKER = 2
"""The same for each worker, of an executor that knows their number: one that runs, one to come."""
MIN_SUBMITTED = 64
"""Jobs of such an executor, whatever the number: workers may come at any time."""
ROOM_SECONDS = 5.0
"""Age at which the number of workers is asked for again: that may be a call over the network."""
CONTEXT_NAME = "context.pickle"
"""Name of the file with the context."""


class Carrier(Protocol[C_contra, J_contra, R_co]):
    """Takes a job's files to a worker that does not see the folder they are in, and back."""

    def send(self, job: J_contra) -> Any:
        """The job with its files, which can be pickled."""

    @staticmethod
    def run(context: C_contra, sent: Any) -> Any:
        """Run it in the worker, and give the result with its files."""

    def receive(self, job: J_contra, received: Any) -> R_co:
        """The result, when its files have been written."""


class JobRunner(Generic[C, J, R]):
    """Runs batches of jobs on one executor, which is made for the first batch.

    A job must be a pure function of the context and of itself: it may run in any process, and again
    when its worker dies. As a context manager, the runner ends the workers with the block: at once
    when the block raised, Ctrl-C included.

    Args:
        make_executor: makes an executor; called again when one is broken.
        function: (context, job) -> result. It turns the errors that it expects into results; any
            other one ends the batch.
        context: what all jobs need; jobs must not change it.
        lost: (job, reason) -> the result of a job whose worker died MAX_DEATHS times.
        folder: where the context is written for workers, which must see it; None: a temporary one.
        carrier: takes the files of jobs to and from executors that keep content themselves
            (``put``), whose workers may not see the folder; None: jobs have no files, or the
            workers see them.
        running: gives a block for a job that runs elsewhere: it is entered when the job is seen to
            run, and left when it has ended; None where nobody wants to know.
    """

    def __init__(
        self,
        make_executor: Callable[[], Executor],
        function: Callable[[C, J], R],
        context: C,
        *,
        lost: Callable[[J, str], R],
        folder: Path | None = None,
        carrier: Carrier[C, J, R] | None = None,
        running: Callable[[J], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self._make_executor, self._function, self._carrier = make_executor, function, carrier
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="autoquant-")
        place = folder or Path(self._temporary.name if self._temporary else "")
        self._context, self._path = context, place / CONTEXT_NAME
        self._carrying: Carrier[C, J, R] | None = None  # where the executor needs it
        self._shared: SharedContext[C, Any, Any] | None = None  # made with the first executor
        self._executor: Executor | None = None
        self._most, self._room_at = 1, -math.inf
        self._jobs: JobsInProgress[J, R] = JobsInProgress(
            self._submit, self._received, lost, self._room, self._is_one_machine, running
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the workers, and remove the file of the context.

        Args:
            kind: of the error that the block raised, or None.
            error: that the block raised.
            traceback: of the error.
        """
        self._end(kill=error is not None)
        if self._shared is not None:
            self._shared.remove()
        if self._temporary is not None:
            self._temporary.cleanup()

    def run(self, jobs: Sequence[J], on_result: Callable[[J, R], None] | None = None) -> list[R]:
        """Run a batch of jobs.

        Args:
            jobs: that do not depend on each other.
            on_result: called here with (job, result) when a job has ended, in the order in which
                they end. What it raises ends the batch.

        Returns:
            the results, in the order of the jobs.

        Raises:
            UserError: the context cannot be pickled, and the workers are other processes.
            Exception: what a job raised, with a note that names the job; the others are cancelled.
        """
        return self.wait(self.start(jobs, on_result))

    def start(
        self, jobs: Sequence[J], on_result: Callable[[J, R], None] | None = None
    ) -> Batch[J, R]:
        """Give a batch of jobs to the executor; they run while earlier batches do.

        Args:
            jobs: that do not depend on each other.
            on_result: see ``run``; called in ``wait``, for this batch or for another one.

        Returns:
            the batch, to be waited for.

        Raises:
            UserError: see ``run``.
            Exception: see ``run``.
        """
        batch = Batch(jobs, on_result)
        try:
            self._jobs.start(batch)
        except BaseException:
            self._cancel()
            raise
        return batch

    def wait(self, batch: Batch[J, R]) -> list[R]:
        """Wait for a batch that was started.

        Args:
            batch: of this runner.

        Returns:
            the results, in the order of the jobs.

        Raises:
            Exception: see ``run``.
        """
        try:
            self._jobs.wait(batch)
        except BaseException:
            self._cancel()
            raise
        return batch.results

    def _submit(self, job: J) -> Future[Any]:
        """Submit a job, to a new executor where there is none or a broken one."""
        with suppress(BrokenExecutor):
            return self._submit_to(self._working(), job)
        self._end(kill=True)
        return self._submit_to(self._working(), job)

    def _submit_to(self, executor: Executor, job: J) -> Future[Any]:
        """Submit a job, with its files where they must be carried."""
        assert self._shared is not None
        sent = job if self._carrying is None else self._carrying.send(job)
        return self._shared.submit(executor, sent)

    def _received(self, job: J, value: Any) -> R:
        """The result in what the future of a job has."""
        if self._carrying is not None:
            return self._carrying.receive(job, value)
        result: R = value
        return result

    def _room(self) -> int:
        """How many jobs the executor may have: more would only take memory."""
        now = time.monotonic()
        if now - self._room_at > ROOM_SECONDS:
            workers = getattr(self._executor, "workers", None)
            few = MAX_SUBMITTED if workers is None else max(MIN_SUBMITTED, PER_WORKER * workers)
            self._most, self._room_at = few, now
        return self._most

    def _is_one_machine(self) -> bool:
        return not getattr(self._executor, "many_machines", False)

    def _working(self) -> Executor:
        """The executor, made where there is none."""
        if self._executor is None:
            self._executor, self._room_at = self._make_executor(), -math.inf
        if self._shared is None:
            self._carrying = self._carrier if hasattr(self._executor, "put") else None
            function = self._function if self._carrying is None else self._carrying.run
            self._shared = SharedContext(function, self._context, self._path)
        return self._executor

    def _cancel(self) -> None:
        """Cancel all jobs, and end the workers."""
        self._jobs.cancel()
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        """Shut the executor down.

        Args:
            kill: whether running jobs are ended too, where the executor can do that.
        """
        executor, self._executor = self._executor, None
        if executor is None:
            return
        kill_workers = getattr(executor, "kill_workers", None)
        if kill and kill_workers is not None:
            kill_workers()
        executor.shutdown(wait=not kill, cancel_futures=kill)


def run_jobs(
    make_executor: Callable[[], Executor],
    function: Callable[[C, J], R],
    context: C,
    jobs: Sequence[J],
    *,
    lost: Callable[[J, str], R],
    on_result: Callable[[J, R], None] | None = None,
) -> list[R]:
    """Run one batch of jobs; see ``JobRunner``, which keeps its workers for several.

    Args:
        make_executor: makes an executor.
        function: (context, job) -> result.
        context: what all jobs need.
        jobs: that do not depend on each other.
        lost: (job, reason) -> the result of a job whose worker died MAX_DEATHS times.
        on_result: called with (job, result) when a job has ended.

    Returns:
        the results, in the order of the jobs.
    """
    with JobRunner(make_executor, function, context, lost=lost) as runner:
        return runner.run(jobs, on_result)
