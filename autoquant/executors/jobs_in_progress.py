"""JobsInProgress: the jobs that an executor has, and those that wait until it has fewer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from contextlib import AbstractContextManager, ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from autoquant.errors import first_line
from autoquant.executors.batch import Batch, Task

J = TypeVar("J")
R = TypeVar("R")

MAX_DEATHS = 3
"""A job whose worker died as often is not run again."""
WAIT_SECONDS = 0.5
"""Longest wait for the end of a job: Windows delivers Ctrl-C between two waits."""


class JobsInProgress(Generic[J, R]):
    """Jobs of one or more batches.

    A job whose worker died runs again at once. On one machine it runs the last time when all others
    have ended, alone: some executors lose all their jobs with one worker, and memory may suffice
    for one job only.

    Args:
        submit: gives a job to an executor.
        receive: (job, what its future has) -> its result.
        lost: (job, reason) -> the result of a job whose worker died MAX_DEATHS times.
        room: how many jobs the executor may have at the same time.
        alone: whether a job runs alone the last time.
        running: gives a block for a job that runs, or None.
    """

    def __init__(
        self,
        submit: Callable[[J], Future[Any]],
        receive: Callable[[J, Any], R],
        lost: Callable[[J, str], R],
        room: Callable[[], int],
        alone: Callable[[], bool],
        running: Callable[[J], AbstractContextManager[Any]] | None,
    ) -> None:
        self._submit, self._receive, self._lost = submit, receive, lost
        self._room, self._alone, self._running = room, alone, running
        self._waiting: deque[Task[J, R]] = deque()
        self._run_alone: deque[Task[J, R]] = deque()
        self._futures: dict[Task[J, R], Future[Any]] = {}
        self._ended: SimpleQueue[Task[J, R]] = SimpleQueue()
        self._blocks: dict[Task[J, R], ExitStack] = {}  # of the jobs that are seen to run
        self._seen = 0.0

    def start(self, batch: Batch[J, R]) -> None:
        """Give the jobs of a batch to the executor, as it has room for them.

        Args:
            batch: new.
        """
        self._waiting.extend(Task(batch, position) for position in range(len(batch.jobs)))
        self._fill()

    def wait(self, batch: Batch[J, R]) -> None:
        """Wait until all jobs of a batch have ended; others go on meanwhile.

        Args:
            batch: that was started.
        """
        while not batch.ended:
            self._see_running()
            with suppress(Empty):
                self._finish(self._ended.get(timeout=WAIT_SECONDS))
            self._fill()

    def cancel(self) -> None:
        """Cancel what has not begun, and forget the rest."""
        self._waiting.clear()
        self._run_alone.clear()
        for task in [*self._blocks]:
            self._blocks.pop(task).close()
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()

    def _fill(self) -> None:
        """Take what has ended, and submit while there is room."""
        while True:
            while not self._ended.empty():  # a serial executor has ended the job by now
                self._finish(self._ended.get())
            if self._waiting and len(self._futures) < self._room():
                self._begin(self._waiting.popleft())
            elif self._run_alone and not self._futures:
                self._begin(self._run_alone.popleft())
            else:
                return

    def _begin(self, task: Task[J, R]) -> None:
        future = self._futures[task] = self._submit(task.job)
        future.add_done_callback(lambda _: self._ended.put(task))

    def _see_running(self) -> None:
        """Enter the blocks of the jobs that have begun; not more often than anybody reads it."""
        if self._running is None or time.monotonic() - self._seen < WAIT_SECONDS / 2:
            return
        self._seen = time.monotonic()
        for task, future in self._futures.items():
            if task not in self._blocks and future.running():
                block = self._blocks[task] = ExitStack()
                block.enter_context(self._running(task.job))

    def _finish(self, task: Task[J, R]) -> None:
        """Take the result of a job that has ended, or run it again."""
        future = self._futures.pop(task, None)
        if future is None:  # it was cancelled
            return
        if task in self._blocks:
            self._blocks.pop(task).close()
        try:
            result = self._receive(task.job, future.result())
        except BrokenExecutor as error:
            task.deaths += 1
            if task.deaths == MAX_DEATHS:
                reason = f"its worker died {MAX_DEATHS} times: {first_line(error)}"
                return task.batch.add(task.position, self._lost(task.job, reason))
            if task.deaths == MAX_DEATHS - 1 and self._alone():
                return self._run_alone.append(task)
            return self._begin(task)
        except Exception as error:
            error.add_note(f"in the job {task.job}")
            raise
        return task.batch.add(task.position, result)
