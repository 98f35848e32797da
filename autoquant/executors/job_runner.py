"""JobRunner: runs batches of jobs on an executor, and runs those again whose worker died."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from autoquant.errors import first_line
from autoquant.executors.context import SharedContext

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")

MAX_DEATHS = 3
"""A job whose worker died as often is not run again."""
WAIT_SECONDS = 0.5
"""Longest wait for the end of a job: Windows delivers Ctrl-C between two waits."""
CONTEXT_NAME = "context.pickle"
"""Name of the file with the context."""


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
        running: Callable[[J], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self._running = running
        self._make_executor, self._lost = make_executor, lost
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="autoquant-")
        place = folder or Path(self._temporary.name if self._temporary else "")
        self._context = SharedContext(function, context, place / CONTEXT_NAME)
        self._executor: Executor | None = None

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
        self._context.remove()
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
        batch = _Batch(jobs, self._submit, self._lost, on_result, self._running)
        try:
            return batch.run()
        except BaseException:
            batch.cancel()
            self._end(kill=True)
            raise

    def _submit(self, job: J) -> Future[R]:
        """Submit a job, to a new executor where there is none or a broken one."""
        with suppress(BrokenExecutor):
            return self._context.submit(self._working(), job)
        self._end(kill=True)
        return self._context.submit(self._working(), job)

    def _working(self) -> Executor:
        """The executor, made where there is none."""
        if self._executor is None:
            self._executor = self._make_executor()
        return self._executor

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


class _Batch(Generic[J, R]):
    """Jobs in progress.

    A job whose worker died runs again at once, and the last time when all others have ended, alone:
    some executors lose all their jobs with one worker, and memory may suffice for one job only.

    Args:
        jobs: of the batch.
        submit: gives a job to an executor.
        lost: (job, reason) -> the result of a job whose worker died MAX_DEATHS times.
        on_result: called when a job has ended, or None.
        running: gives a block for a job that runs, or None.
    """

    def __init__(
        self,
        jobs: Sequence[J],
        submit: Callable[[J], Future[R]],
        lost: Callable[[J, str], R],
        on_result: Callable[[J, R], None] | None,
        running: Callable[[J], AbstractContextManager[Any]] | None,
    ) -> None:
        self._jobs, self._submit, self._lost, self._on_result = jobs, submit, lost, on_result
        self._futures: dict[int, Future[R]] = {}  # by the number of the job
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._results: dict[int, R] = {}
        self._deaths: Counter[int] = Counter()
        self._run_alone: list[int] = []
        self._running = running
        self._blocks: dict[int, ExitStack] = {}  # of the jobs that are seen to run

    def run(self) -> list[R]:
        """Run all jobs; their results in order."""
        for number in range(len(self._jobs)):
            self._start(number)
            while not self._ended.empty():  # a serial executor has ended the job by now
                self._finish(self._ended.get())
        self._wait()
        while self._run_alone:
            self._start(self._run_alone.pop(0))
            self._wait()
        return [self._results[number] for number in range(len(self._jobs))]

    def cancel(self) -> None:
        """Cancel what has not begun."""
        for number in [*self._blocks]:
            self._blocks.pop(number).close()
        for future in self._futures.values():
            future.cancel()

    def _start(self, number: int) -> None:
        future = self._futures[number] = self._submit(self._jobs[number])
        future.add_done_callback(lambda _: self._ended.put(number))

    def _wait(self) -> None:
        """Wait until nothing is running."""
        while self._futures:
            self._see_running()
            with suppress(Empty):
                self._finish(self._ended.get(timeout=WAIT_SECONDS))

    def _see_running(self) -> None:
        """Enter the blocks of the jobs that have begun."""
        for number, future in self._futures.items():
            if self._running is not None and number not in self._blocks and future.running():
                block = self._blocks[number] = ExitStack()
                block.enter_context(self._running(self._jobs[number]))

    def _finish(self, number: int) -> None:
        """Take the result of a job that has ended, or run it again."""
        job, future = self._jobs[number], self._futures.pop(number)
        if number in self._blocks:
            self._blocks.pop(number).close()
        try:
            result = future.result()
        except BrokenExecutor as error:
            self._deaths[number] += 1
            if self._deaths[number] < MAX_DEATHS - 1:
                return self._start(number)
            if self._deaths[number] < MAX_DEATHS:
                return self._run_alone.append(number)
            result = self._lost(job, f"its worker died {MAX_DEATHS} times: {first_line(error)}")
        except Exception as error:
            error.add_note(f"in the job {job}")
            raise
        self._results[number] = result
        if self._on_result is not None:
            self._on_result(job, result)
        return None


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
