"""SlurmJob: one job that was submitted to SLURM, from its states to its result."""

from __future__ import annotations

import pickle
import time
from concurrent.futures import BrokenExecutor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autoquant.errors import RunError, first_line
from autoquant.executors.versions import without_autoquant

_LIVING = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "STOPPED")
"""States in which a job has not ended."""


@dataclass(eq=False)
class SlurmJob:
    """A job of SLURM.

    Attributes:
        future: of its result.
        args: of ``with_threads``.
        kwargs: of ``with_threads``.
        job: submitit's; None before it is submitted.
        ended_at: when it was first seen to have ended without a result; None: it has not.
        failed: whether its logs stay.
    """

    future: Future[Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    job: Any = None
    ended_at: float | None = None
    failed: bool = False

    def see(self, state: str, late: float) -> None:
        """Take note of a state.

        Args:
            state: of SLURM.
            late: seconds for which the result of a job that has ended may not be seen.
        """
        if state == "RUNNING" and not self.future.running():
            with suppress(InvalidStateError):
                self.future.set_running_or_notify_cancel()
        if state in _LIVING:
            self.ended_at = None
        elif self.ended_at is None:
            self.ended_at = time.monotonic()
        elif time.monotonic() - self.ended_at > late:
            self.failed = True
            reason = f"the SLURM job {self.job.job_id} ended without a result (state {state})"
            self.end(error=BrokenExecutor(f"{reason}; its log: {self.job.paths.stderr}"))

    def finish(self) -> None:
        """Take the result."""
        try:
            outcome, value = pickle.loads(self.job.paths.result_pickle.read_bytes())
        except Exception as error:
            self.failed = True
            return self.end(error=RunError(f"the result of a job: {first_line(error)}"))
        if outcome == "success":
            return self.end(*value)
        self.failed = True  # submitit could not call the function, or not write its result
        lines = [line for line in str(value).splitlines() if line.strip()]
        missing = without_autoquant(str(value))
        return self.end(error=missing or RunError(f"the job failed: {lines[-1]}"))

    def remove_files(self) -> None:
        """Remove what the job has left; logs only where it has not failed."""
        paths = self.job.paths
        files = [paths.submitted_pickle, paths.result_pickle]
        files += [] if self.failed else [paths.stderr, paths.stdout]
        for path in files:
            path.unlink(missing_ok=True)

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """End the future, unless it was cancelled.

        Args:
            result: of the job.
            error: in its place.
        """
        with suppress(InvalidStateError):
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)
