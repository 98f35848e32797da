"""Which executor a number of workers needs."""

from __future__ import annotations

from concurrent.futures import Executor

from autoquant.executors.serial import SerialExecutor


def new_executor(workers: int, threads: int) -> Executor:
    """A new executor of this machine.

    Args:
        workers: processes that train at the same time; 1: this one.
        threads: of each worker; with one worker the caller sets its own.
    """
    if workers == 1:
        return SerialExecutor()
    from autoquant.executors.local import LocalExecutor  # loky is not needed otherwise

    return LocalExecutor(workers, threads)
