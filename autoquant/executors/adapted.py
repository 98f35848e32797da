"""adapted: what a user's executor needs."""

from concurrent.futures import Executor


def adapted(executor: Executor) -> Executor:
    """The executor.

    Args:
        executor: of the user's.
    """
    return executor
