"""DaskExecutor: runs jobs on a Dask cluster, through what ``client.get_executor()`` returns."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from autoquant.errors import RunError, UserError, first_line
from autoquant.executors.threads import with_threads
from autoquant.executors.versions import without_autoquant

P = ParamSpec("P")
T = TypeVar("T")

_DEATHS = ("KilledWorker", "CommClosedError", "FutureCancelledError")
"""Dask's errors of a worker that died, or that was lost with what it kept."""


class DaskExecutor(Executor):
    """Runs jobs on the workers of a Dask client.

    Args:
        executor: of ``client.get_executor()``.
        threads: of torch in each worker.

    Raises:
        UserError: the client is closed, or a worker runs several jobs at the same time.
    """

    many_machines = True

    def __init__(self, executor: Any, threads: int) -> None:
        self._client = executor._client
        if self._client.status != "running":
            requirement = "the client of a Dask executor must be connected"
            raise UserError(f"{requirement}, got one that is {self._client.status}")
        self._options = {**executor._kwargs, "pure": False, "retries": 0}
        self._threads = threads
        self._futures: dict[Future[Any], Any] = {}  # with Dask's; of the jobs that have not ended
        self._killed = False
        _check_threads(self._workers_now())
        # Dask runs a job again when its worker died, four times in all; here JobRunner counts.
        self._allowed = self._set_allowed_failures(0)

    def _workers_now(self) -> dict[str, Any]:
        """What the scheduler says of its workers."""
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _set_allowed_failures(self, number: int) -> int:
        """Set how many deaths of its worker a job may cause before Dask gives it up.

        Args:
            number: of deaths.

        Returns:
            the number before.
        """

        def change(dask_scheduler: Any) -> int:
            before: int = dask_scheduler.allowed_failures
            dask_scheduler.allowed_failures = number
            return before

        before: int = self._client.run_on_scheduler(change)
        return before

    @property
    def workers(self) -> int:
        """How many jobs can run at once now."""
        return len(self._workers_now())

    def put(self, content: bytes) -> Any:
        """Send bytes to all workers.

        Args:
            content: that workers read.

        Returns:
            a handle, which must be a direct argument of ``submit``.
        """
        return _Kept(content, self._client)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a worker.

        Args:
            fn: the function.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            its future; a BrokenExecutor in it says that the worker died.
        """
        sent = [each.scattered() if isinstance(each, _Kept) else each for each in args]
        task = self._client.submit(
            with_threads, self._threads, fn, *sent, **self._options, **kwargs
        )
        future: Future[Any] = Future()
        self._futures[future] = task
        future.add_done_callback(self._forget)
        task.add_done_callback(lambda _: self._finish(future, task))
        return future

    def _finish(self, future: Future[Any], task: Any) -> None:
        """Give a future the result of its job, in a thread of Dask's.

        Args:
            future: of the job.
            task: Dask's.
        """
        with suppress(InvalidStateError):  # it was cancelled
            try:
                result = task.result()
            except (Exception, CancelledError) as error:
                future.set_exception(_translated(error))
            else:
                future.set_result(result)

    def _forget(self, future: Future[Any]) -> None:
        """Let go of a job that has ended, and cancel it if its future was cancelled.

        Args:
            future: that has ended.
        """
        task = self._futures.pop(future, None)
        if future.cancelled() and task is not None and not self._killed:
            task.cancel()

    def kill_workers(self) -> None:
        """Cancel all jobs, and end the workers that run some, which their nannies start again.

        A thread cannot be ended. A worker without a nanny ends its job first.
        """
        self._killed = True
        tasks = [*self._futures.values()]
        keys, processing = {task.key for task in tasks}, self._client.processing()
        busy = [
            address
            for address, worker in self._workers_now().items()
            if worker.get("nanny") and keys & {*processing.get(address, ())}
        ]
        for future in [*self._futures]:
            future.cancel()
        self._client.cancel(tasks, force=True)
        if busy:
            self._client.run(os._exit, 1, workers=busy, on_error="ignore")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the cluster go; it is the user's.

        Args:
            wait: whether to wait until all jobs have ended.
            cancel_futures: whether jobs that have not begun are cancelled.
        """
        if cancel_futures:
            for future in [*self._futures]:
                future.cancel()
        if wait:
            wait_for([*self._futures])
        with suppress(Exception):  # the scheduler may be gone
            self._set_allowed_failures(self._allowed)


class _Kept:
    """Bytes that workers keep, and that are sent again when all these are lost.

    Args:
        content: the bytes.
        client: Dask's.
    """

    def __init__(self, content: bytes, client: Any) -> None:
        self._content, self._client = content, client
        self._task: Any = None

    def scattered(self) -> Any:
        """Dask's future of the bytes."""
        if self._task is None or self._task.status != "finished":
            try:
                self._task = self._client.scatter(self._content, broadcast=True, hash=False)
            except TimeoutError as error:
                raise UserError("the Dask cluster must have a worker, got none") from error
        return self._task


def _check_threads(workers: dict[str, Any]) -> None:
    """Raise an error where a worker runs several jobs at the same time.

    Args:
        workers: what the scheduler says of each.
    """
    for address, worker in workers.items():
        if worker["nthreads"] > 1:
            raise UserError(
                "each Dask worker must have one thread, for jobs set torch's random state "
                f"(threads_per_worker=1, or dask worker --nthreads 1), got {worker['nthreads']} "
                f"at {address}"
            )


def _translated(error: BaseException) -> BaseException:
    """The error of a future for one of Dask's.

    Args:
        error: Dask's, or what the job raised.
    """
    if missing := without_autoquant(f"{error} {error.__cause__}"):
        return missing
    if type(error).__name__ in _DEATHS or isinstance(error, CancelledError):
        return BrokenExecutor(first_line(error))
    if type(error).__module__.startswith("distributed."):
        return RunError(f"Dask: {first_line(error)}")
    return error
