"""The two engines of submitit: SLURM by its commands, and processes of this machine."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from autoquant.errors import UserError

ARRAY_SIZE = 1000
"""Jobs of one array, at most: SLURM's own limit is 1001 unless it is configured."""
QUEUE_SECONDS = 15.0
"""Between two calls of squeue, each of which names all jobs of an executor."""
RESULT_SECONDS = 1.0
"""Between two looks into the folder for results."""
LATE_SECONDS = 15.0
"""A shared folder may show a result as long after the end of its job."""


class Slurm:
    """SLURM, by its commands; sacct is not asked: it needs a database that small clusters lack.

    Args:
        name: of all jobs of an executor.
    """

    cluster = "slurm"  # submitit's name
    result_seconds, late_seconds = RESULT_SECONDS, LATE_SECONDS

    def __init__(self, name: str) -> None:
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise UserError(
                "cluster=slurm must run on a node with SLURM's commands (sbatch, srun), got none"
            )
        self._name = name
        self._asked_at = -QUEUE_SECONDS

    def room(self, submitted: int, array: int) -> int:
        """How many more jobs may be submitted: SLURM has a queue.

        Args:
            submitted: jobs that have not ended.
            array: jobs that run at the same time.
        """
        return ARRAY_SIZE

    def states(self, jobs: list[Any]) -> dict[str, str] | None:
        """The states by number of the job; None where it is not time to ask, or SLURM is busy.

        Args:
            jobs: submitit's.
        """
        now = time.monotonic()
        if not jobs or now - self._asked_at < QUEUE_SECONDS:
            return None
        self._asked_at = now
        command = ["squeue", f"--name={self._name}", "--array", "--states=all", "--noheader"]
        done = _called([*command, "--format=%i %T"])
        if done is None:
            return None
        return dict(line.split()[:2] for line in done.splitlines() if line.strip())

    def cancel(self, jobs: list[Any]) -> None:
        """Cancel some jobs.

        Args:
            jobs: submitit's.
        """
        for batch in _batches([job.job_id for job in jobs], 200):
            _called(["scancel", *batch])

    def cancel_all(self, jobs: list[Any]) -> None:
        """Cancel all jobs of the executor.

        Args:
            jobs: submitit's.
        """
        if jobs:
            _called(["scancel", f"--name={self._name}"])


class LocalProcesses:
    """Processes of this machine, by submitit's local executor."""

    cluster = "local"
    result_seconds, late_seconds = 0.1, 0.5

    def room(self, submitted: int, array: int) -> int:
        """How many more jobs may be submitted: all run at once.

        Args:
            submitted: jobs that have not ended.
            array: jobs that run at the same time.
        """
        return max(array - submitted, 0)

    def states(self, jobs: list[Any]) -> dict[str, str]:
        """The states by number of the job.

        Args:
            jobs: submitit's.
        """
        return {job.job_id: job.state for job in jobs}

    def cancel(self, jobs: list[Any]) -> None:
        """Cancel some jobs.

        Args:
            jobs: submitit's.
        """
        for job in jobs:
            job.cancel()

    cancel_all = cancel


SubmititEngine = Slurm | LocalProcesses


def _called(command: list[str]) -> str | None:
    """The output of a command; None where it fails, for a busy scheduler refuses now and then.

    Args:
        command: of SLURM.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _batches(items: list[str], size: int) -> Iterator[list[str]]:
    """Parts of a list.

    Args:
        items: the list.
        size: of a part, at most.
    """
    for first in range(0, len(items), size):
        yield items[first : first + size]
