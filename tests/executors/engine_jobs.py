"""Jobs that tests run on several engines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MATRIX = torch.arange(12.0).view(4, 3)
"""Context of the jobs."""


class Counted:
    """A context that counts in a folder how often it is read.

    Args:
        folder: which gets a file each time.
        matrix: the context of ``run``.
    """

    def __init__(self, folder: Path, matrix: torch.Tensor) -> None:
        self.folder, self.matrix = folder, matrix

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        (self.folder / f"{os.getpid()}-{time.monotonic_ns()}").touch()


class Odd(Exception):
    """An error that cannot be pickled."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.lock = threading.Lock()


def run(context: Any, job: tuple[str, Any]) -> Any:
    """A job of some kind.

    Args:
        context: a matrix, or one that is counted.
        job: its kind, and an argument.
    """
    matrix = context.matrix if isinstance(context, Counted) else context
    kind, argument = job
    if kind == "product":
        torch.manual_seed(argument)
        return torch.randn(5, len(matrix)) @ matrix
    if kind == "threads":
        return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]
    if kind == "odd":
        raise Odd(1, 2)
    if kind == "raise":
        raise ArithmeticError(argument)
    if kind == "wait":  # until a file is there
        (argument / f"began-{os.getpid()}").touch()
        while not (argument / "go").exists():
            time.sleep(0.02)
    if kind == "die once" and argument.exists():
        return "lives"
    if kind in ("die", "die once"):
        argument.touch()
        os._exit(3)
    return os.getpid()


def lost(job: Any, reason: str) -> Any:
    """The result of a job whose worker always died."""
    return reason


def is_running(process: int) -> bool:
    """Whether a process has not ended.

    Args:
        process: its number.
    """
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # one that nobody has waited for in a container


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a value that is true, a minute at most."""
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value
