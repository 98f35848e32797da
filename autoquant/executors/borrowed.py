"""BorrowedExecutor: runs jobs on an executor of the user's, which stays open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, ParamSpec, TypeVar

from autoquant.errors import RunError, UserError, first_line, shown
from autoquant.executors.threads import with_threads

P = ParamSpec("P")
T = TypeVar("T")

GUARD = 'if __name__ == "__main__":'
"""What a script needs where processes import it again."""


def adapted(executor: Any, threads: int) -> Executor:
    """An executor of the user's as one that JobRunner can use and end.

    Args:
        executor: with ``submit`` and ``shutdown`` of ``concurrent.futures.Executor``, such as
            Dask's ``client.get_executor()``. It is not shut down.
        threads: of torch in each worker.

    Raises:
        UserError: the executor lacks a method, or runs jobs in threads of this process.
    """
    methods = [getattr(executor, name, None) for name in ("submit", "shutdown")]
    if isinstance(executor, type) or not all(map(callable, methods)):
        kind = executor.__name__ if isinstance(executor, type) else type(executor).__name__
        raise UserError(
            f"executor must be a concurrent.futures.Executor (with submit and shutdown), got "
            f"{'the class' if isinstance(executor, type) else 'a'} {kind}"
        )
    if isinstance(executor, ThreadPoolExecutor):
        # One at a time they would be no faster than one process.
        raise UserError(
            "executor must run jobs in other processes, for jobs set torch's random state, got a "
            "ThreadPoolExecutor; a ProcessPoolExecutor or workers=N works"
        )
    if type(executor).__module__.startswith("distributed.") and hasattr(executor, "_client"):
        from autoquant.executors.dask_executor import DaskExecutor

        return DaskExecutor(executor, threads)
    return BorrowedExecutor(executor, threads)


def check_takes_jobs(executor: Any) -> None:
    """Try whether an executor of the user's takes a job, which is then cancelled.

    Args:
        executor: as ``adapted`` takes it.

    Raises:
        UserError: it does not, or ``adapted`` refuses it.
    """
    made = adapted(executor, 1)
    try:
        made.submit(int).cancel()
    except UserError:
        raise
    except Exception as error:
        if "bootstrapping phase" in str(error):  # multiprocessing's, in a process that it started
            reason = f"a script that starts processes must search under {GUARD}, got one without it"
            raise UserError(f"{reason}: a worker runs it again") from error
        name = type(executor).__name__
        requirement = f"executor must take jobs, got a {name} that does not"
        raise UserError(f"{requirement}: {first_line(error)}") from error
    finally:
        made.shutdown(wait=False)


class BorrowedExecutor(Executor):
    """Runs jobs on an executor of the user's, and leaves it open.

    Args:
        executor: that runs the jobs in other processes.
        threads: of torch in each worker.
    """

    def __init__(self, executor: Any, threads: int) -> None:
        self._executor, self._threads = executor, threads
        self._futures: set[Future[Any]] = set()  # of the jobs that have not ended
        for name in ("put", "workers", "shares_memory", "many_machines"):
            if hasattr(executor, name):
                setattr(self, name, getattr(executor, name))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a worker.

        Args:
            fn: the function.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            the future of the user's executor.

        Raises:
            RunError: a worker died, and the executor cannot be used again.
            UserError: the executor returns no future.
        """
        try:
            future: Future[T] = self._executor.submit(
                with_threads, self._threads, fn, *args, **kwargs
            )
        except BrokenExecutor as error:
            raise RunError(
                f"a worker died, and a {type(self._executor).__name__} takes no jobs after that: "
                "make a new one and run again, which resumes, or use workers=N; a script needs "
                f"{GUARD} ({first_line(error)})"
            ) from error
        if not all(hasattr(future, name) for name in ("add_done_callback", "cancel", "result")):
            raise UserError(f"executor.submit must return a future, got {shown(future)}")
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def kill_workers(self) -> None:
        """Cancel jobs that have not begun; the processes are the user's."""
        for future in [*self._futures]:
            future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the executor go.

        Args:
            wait: whether to wait until the jobs have ended.
            cancel_futures: whether jobs that have not begun are cancelled.
        """
        if cancel_futures:
            self.kill_workers()
        if wait:
            wait_for([*self._futures])
