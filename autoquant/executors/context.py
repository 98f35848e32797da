"""SharedContext: what all jobs of a study need, sent once to each worker, through a file."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from autoquant.errors import RunError, UserError, first_line
from autoquant.executors.pickling import pickled, unpicklable_part
from autoquant.executors.process_state import ProcessState
from autoquant.files import write_bytes

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")


class SharedContext(Generic[C]):
    """A value that jobs read, wherever they run.

    In this process it is the value itself. A pickle of it has only the path and the digest of a
    file, which a worker reads once. So a worker must see the folder of the file.

    Args:
        value: which jobs must not change.
        path: of the file.
    """

    def __init__(self, value: C, path: Path) -> None:
        self._value, self._path = value, path
        self._digest = ""

    @property
    def value(self) -> C:
        return self._value

    def write(self) -> None:
        """Write the file, once: before the context is sent to another process.

        Raises:
            UserError: a part of the value cannot be pickled.
            RunError: the file cannot be written.
        """
        if self._digest:
            return
        state = ProcessState.current()
        try:
            content = pickled((state, self._value))
        except Exception as error:
            name, part, reason = unpicklable_part((*vars(state).values(), self._value))
            raise UserError(
                f"with workers above 1, {name or 'what jobs need'} must be picklable, got a "
                f"{type(part).__name__}: {reason}; workers=1 works"
            ) from error
        write_bytes(self._path, content)
        self._digest = hashlib.sha256(content).hexdigest()

    def remove(self) -> None:
        """Remove the file; workers that have read it keep the value."""
        if self._digest:
            self._path.unlink(missing_ok=True)
            self._digest = ""

    def __reduce__(self) -> Any:
        assert self._digest, "a context is written before it is sent"
        return ReceivedContext, (self._path, self._digest)


@dataclass(frozen=True)
class ReceivedContext:
    """A SharedContext in a worker.

    Attributes:
        path: of the file.
        digest: SHA-256 of its content, in hexadecimal digits.
    """

    path: Path
    digest: str

    @property
    def value(self) -> Any:
        return _load(self.path, self.digest)


@lru_cache(maxsize=1)
def _load(path: Path, digest: str) -> Any:
    """The value that a file holds; each job asks for it, and a worker reads the file once.

    Args:
        path: of the file.
        digest: SHA-256 of its content, in hexadecimal digits.

    Raises:
        RunError: the file is gone, or has another content.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"a worker could not read '{path}': {first_line(error)}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise RunError(f"'{path}' must be as the driver wrote it, got another content")
    state, value = pickle.loads(content)
    state.apply()
    return value


def call(function: Callable[[C, J], R], context: SharedContext[C] | ReceivedContext, job: J) -> R:
    """Run a job, in the driver or in a worker.

    Args:
        function: (context, job) -> result.
        context: of the driver, or received from it.
        job: the job.

    Raises:
        Exception: what the function raised; a RuntimeError in its place where the driver could not
            read it, or would take a broken pool of the job's own for its worker.
    """
    try:
        return function(context.value, job)
    except Exception as error:
        unreadable = isinstance(context, ReceivedContext) and not _can_be_sent(error)
        if unreadable or isinstance(error, BrokenExecutor):
            raise RuntimeError(f"{type(error).__name__}: {first_line(error)}") from error
        raise


def _can_be_sent(error: Exception) -> bool:
    """Whether an error can be pickled and read again; not every class of errors can."""
    try:
        return type(pickle.loads(pickled(error))) is type(error)
    except Exception:
        return False
