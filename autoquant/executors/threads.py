"""Threads of a worker process, and which environment variables set them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that libraries of numbers read when they are loaded."""
_number_set: int | None = None


def set_threads(number: int) -> None:
    """Set the threads of this process, once; before torch is imported, its variables count too.

    Args:
        number: of torch, and of other libraries of numbers that are loaded later.
    """
    global _number_set
    if number == _number_set:
        return
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(number)))
    import torch

    torch.set_num_threads(number)
    _number_set = number


def with_threads(number: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a worker with a number of threads. Its module must not import torch.

    Args:
        number: of threads.
        function: that is called.
        *args: its arguments.
        **kwargs: its keyword arguments.
    """
    set_threads(number)
    return function(*args, **kwargs)
