"""SharedContext: what all jobs of a study need, sent once to each worker, through a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import cloudpickle  # type: ignore[import-untyped]

from autoquant.errors import RunError, UserError, first_line
from autoquant.executors.process_state import ProcessState
from autoquant.files import write_bytes

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")

DEEPEST_PART = 8
"""Levels of attributes that are looked through for what cannot be pickled."""


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
        content = _pickled(ProcessState.current(), self._value)
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
    state, value = cloudpickle.loads(content)
    state.apply()
    return value


def call(function: Callable[[C, J], R], context: SharedContext[C] | ReceivedContext, job: J) -> R:
    """Run a job, in the driver or in a worker.

    Args:
        function: (context, job) -> result.
        context: of the driver, or received from it.
        job: the job.

    Raises:
        Exception: what the function raised; from a worker a RuntimeError in its place, where the
            driver could not read the error itself.
    """
    try:
        return function(context.value, job)
    except Exception as error:
        if isinstance(context, ReceivedContext) and not _can_be_sent(error):
            raise RuntimeError(f"{type(error).__name__}: {first_line(error)}") from error
        raise


def _can_be_sent(error: Exception) -> bool:
    """Whether an error can be pickled and read again; not every class of errors can."""
    try:
        return type(cloudpickle.loads(cloudpickle.dumps(error))) is type(error)
    except Exception:
        return False


# --- pickling, and what cannot be pickled ---------------------------------------------------------


def _pickled(state: ProcessState, value: Any) -> bytes:
    """The bytes of the state of this process and of a value.

    Raises:
        UserError: a part cannot be pickled.
    """
    try:
        content: bytes = cloudpickle.dumps((state, value))
    except Exception as error:
        failing = value if _pickling_error(value) is not None else state
        name, part = _unpicklable_part(failing)
        reason = first_line(_pickling_error(part) or error)
        raise UserError(
            f"with workers above 1, {name or 'what jobs need'} must be picklable, got a "
            f"{type(part).__name__}: {reason}; workers=1 works"
        ) from error
    return content


def _unpicklable_part(value: Any) -> tuple[str, Any]:
    """The innermost part that cannot be pickled, and its name, as in "task.data.lines"."""
    name = ""
    for _ in range(DEEPEST_PART):
        for key, part in _parts(value):
            if _pickling_error(part) is not None:
                name, value = f"{name}.{key}" if name else key, part
                break
        else:
            break
    return name, value


def _pickling_error(value: Any) -> Exception | None:
    try:
        cloudpickle.dumps(value)
    except Exception as error:
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value by name: its items, else its attributes."""
    if isinstance(value, Mapping):
        yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(index), part) for index, part in enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))
    elif not isinstance(value, type):
        closure = getattr(value, "__closure__", None) or ()
        names = getattr(getattr(value, "__code__", None), "co_freevars", ())
        yield from ((name, cell.cell_contents) for name, cell in zip(names, closure, strict=True))
        yield from getattr(value, "__dict__", {}).items()
