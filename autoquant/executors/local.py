"""LocalExecutor: runs jobs in processes of this machine.

loky starts the processes. It does not import the main module again, so that scripts without an
``if __name__ == "__main__"`` guard and notebooks work, and it sends functions and classes of the
main module by value (cloudpickle).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from loky.process_executor import ProcessPoolExecutor  # type: ignore[import-untyped]

from autoquant.executors.threads import THREAD_VARIABLES

P = ParamSpec("P")
T = TypeVar("T")

PARENT_CHECK_SECONDS = 1.0
"""How often a worker looks whether its driver still runs."""


class LocalExecutor(Executor):
    """Runs jobs in local processes, each with a fixed number of threads.

    Every process is a pool of its own, and one thread here waits for it. So a process that dies
    ends the one job that it ran, with a BrokenExecutor; the next job gets a new process. Processes
    start when there are jobs for them. They do not receive Ctrl-C, and they end when this process
    has ended, however it did.

    Args:
        workers: number of processes, at most.
        threads: of torch in each process.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self._threads = threads
        self._closed = False
        self._lock = threading.Lock()
        self._own = threading.local()  # the pool of each waiting thread
        self._pools: list[Any] = []
        # A process that a thread starts inherits the thread's mask of signals.
        self._waiting = ThreadPoolExecutor(workers, "autoquant-worker", _block_interrupts)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in the next process that is free.

        Args:
            fn: the function.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            its future; a BrokenExecutor in it says that the process died.
        """
        return self._waiting.submit(self._call, fn, args, kwargs)

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        """Call a function in the process of this thread, and wait for it.

        Args:
            fn: the function.
            args: its arguments.
            kwargs: its keyword arguments.
        """
        pool = self._pool()
        try:
            result: T = pool.submit(fn, *args, **kwargs).result()
        except BrokenExecutor:
            self._discard(pool)
            raise
        return result

    def _pool(self) -> Any:
        """The pool of this thread, a new one where there is none."""
        pool = getattr(self._own, "pool", None)
        if pool is None:
            with self._lock:
                if self._closed:
                    raise RuntimeError("the executor has been shut down")
                pool = self._own.pool = ProcessPoolExecutor(
                    1,
                    initializer=_start_worker,
                    initargs=(self._threads, os.getpid()),
                    env=dict.fromkeys(THREAD_VARIABLES, str(self._threads)),
                )
                self._pools.append(pool)
        return pool

    def _discard(self, pool: Any) -> None:
        """Forget the pool of this thread, whose process has died."""
        self._own.pool = None
        with self._lock:
            if pool not in self._pools:  # ``_close`` ends it: loky's pools are ended once, by one
                return
            self._pools.remove(pool)
        pool.shutdown(wait=True, kill_workers=True)

    def kill_workers(self) -> None:
        """End all processes at once, and those that they have started; cancel what waits."""
        self._waiting.shutdown(wait=False, cancel_futures=True)
        self._close(kill=True)
        self._waiting.shutdown(wait=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when their jobs have ended.

        Args:
            wait: whether to wait for that.
            cancel_futures: whether jobs that have not begun are left out.
        """
        self._waiting.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            self._close(kill=False)

    def _close(self, *, kill: bool) -> None:
        """End all processes, and make no new ones.

        Args:
            kill: whether a process that has a job is ended too.
        """
        with self._lock:
            self._closed, pools = True, [*self._pools]
            self._pools.clear()
        end = partial(ProcessPoolExecutor.shutdown, wait=True, kill_workers=kill)
        if pools:
            with ThreadPoolExecutor(len(pools)) as ending:  # all at the same time
                list(ending.map(end, pools))


def _block_interrupts() -> None:
    """Keep Ctrl-C from this thread and from the processes that it starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _start_worker(threads: int, driver: int) -> None:
    """Prepare a new process: its threads, Ctrl-C, its end with the driver's."""
    import torch

    with suppress(ImportError):  # a task may show bars: their lock is a semaphore that kills leave
        import_module("tqdm").tqdm.set_lock(threading.RLock())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where no mask is inherited
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()


def _end_with(driver: int) -> None:
    """End this process soon after the driver has ended."""
    while os.getppid() == driver:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)
