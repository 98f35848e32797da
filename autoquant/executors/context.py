"""SharedContext: what all jobs of a study need, sent once to each worker."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any, Generic, TypeVar

from autoquant.errors import UserError, first_line
from autoquant.executors.pickling import pickled, unpicklable_part
from autoquant.executors.process_state import ProcessState
from autoquant.executors.versions import current_versions
from autoquant.executors.worker import run_sent
from autoquant.files import write_bytes

C = TypeVar("C")
J = TypeVar("J")
R = TypeVar("R")


class SharedContext(Generic[C, J, R]):
    """A value that jobs read, wherever they run, and the function that runs them.

    Executors that share memory get the value itself. Others get its pickle once: through their
    object store (``put``), or through a file in a folder that their workers see.

    Args:
        function: (context, job) -> result.
        value: which jobs must not change.
        path: of the file.
    """

    def __init__(self, function: Callable[[C, J], R], value: C, path: Path) -> None:
        self._function, self._value, self._path = function, value, path
        self._versions = current_versions()
        self._digest = ""
        self._sent: tuple[Executor, Any] | None = None  # an executor, and what its workers read

    def submit(self, executor: Executor, job: J) -> Future[R]:
        """Submit a job.

        Args:
            executor: that runs it.
            job: of the study.

        Returns:
            its future.

        Raises:
            UserError: a part of the value cannot be pickled.
            RunError: the file cannot be written.
        """
        if getattr(executor, "shares_memory", False):
            return executor.submit(call, self._function, self._value, job)
        source = self._source(executor)
        return executor.submit(run_sent, self._versions, source, self._digest, pickled(job))

    def _source(self, executor: Executor) -> Any:
        """What a worker reads: a handle, or the path of the file.

        Args:
            executor: to which it is sent, once.
        """
        if self._sent is None or self._sent[0] is not executor:
            content = self._pickled()
            self._digest = hashlib.sha256(content).hexdigest()
            put = getattr(executor, "put", None)
            if put is None:
                write_bytes(self._path, content)
            self._sent = executor, str(self._path) if put is None else put(content)
        return self._sent[1]

    def _pickled(self) -> bytes:
        """The state of this process, and a function of the job."""
        state = ProcessState.current()
        try:
            return pickled((state, _JobFunction(self._function, self._value)))
        except Exception as error:
            parts = (*vars(state).values(), self._value, self._function)
            name, part, reason = unpicklable_part(parts)
            raise UserError(
                f"with workers above 1, {name or 'what jobs need'} must be picklable, got a "
                f"{type(part).__name__}: {reason}; workers=1 works"
            ) from error

    def remove(self) -> None:
        """Remove the file, or let the handle go; workers that have read it keep the value."""
        self._sent = None
        self._path.unlink(missing_ok=True)


class _JobFunction(Generic[C, J, R]):
    """Runs a job in a worker.

    Args:
        function: (context, job) -> result.
        value: the context.
    """

    def __init__(self, function: Callable[[C, J], R], value: C) -> None:
        self._function, self._value = function, value

    def arrived(self) -> None:
        """Prepare the context in the worker, where it has a method for that, once."""
        arrived = getattr(self._value, "arrived", None)
        if arrived is not None:
            arrived()

    def __call__(self, job: J) -> R:
        """The result of a job.

        Args:
            job: of the study.

        Raises:
            Exception: what the function raised; a RuntimeError in its place where the driver could
                not read it.
        """
        try:
            return call(self._function, self._value, job)
        except Exception as error:
            failure = error
        if not _can_be_sent(failure):  # nor can one that names it as its cause
            text = f"{type(failure).__name__}: {first_line(failure)}"
            failure = RuntimeError(text).with_traceback(failure.__traceback__)
        raise failure


def call(function: Callable[[C, J], R], context: C, job: J) -> R:
    """Run a job.

    Args:
        function: (context, job) -> result.
        context: what jobs share.
        job: the job.

    Raises:
        Exception: what the function raised; a RuntimeError in its place where the driver would take
            a broken pool of the job's own for its worker.
    """
    try:
        return function(context, job)
    except BrokenExecutor as error:
        raise RuntimeError(f"{type(error).__name__}: {first_line(error)}") from error


def _can_be_sent(error: Exception) -> bool:
    """Whether an error can be pickled and read again; not every class of errors can."""
    try:
        return type(pickle.loads(pickled(error))) is type(error)
    except Exception:
        return False
