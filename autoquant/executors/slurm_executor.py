"""SlurmExecutor: runs jobs as job arrays of SLURM, which submitit submits."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from autoquant.errors import RunError, first_line
from autoquant.executors.requirements import require_engine
from autoquant.executors.slurm_job import SlurmJob
from autoquant.executors.submitit_engines import (
    ARRAY_SIZE,
    LocalProcesses,
    Slurm,
    SubmititEngine,
)
from autoquant.executors.threads import with_threads

P = ParamSpec("P")
T = TypeVar("T")

COLLECT_SECONDS = 0.3
"""Jobs that are submitted in so short a time become one array."""


class SlurmExecutor(Executor):
    """Runs jobs as job arrays of SLURM.

    What is submitted within a moment becomes one array. One thread submits, looks for results in
    the folder and asks SLURM for the states of all jobs at once. Files are removed when they were
    read; the logs of jobs that failed stay.

    Args:
        folder: that all nodes see; made when there are jobs, removed when it is empty.
        partition: where jobs run; None: SLURM's default.
        minutes: after which SLURM ends a job.
        array: jobs of one array that run at the same time, at most.
        cpus: of each job.
        gpus: of each job.
        memory_gb: of each job; None: SLURM's default.
        threads: of torch in each job.
        engine: "slurm", or "local" for processes of this machine.

    Raises:
        UserError: submitit or SLURM is missing.
    """

    many_machines = True

    def __init__(
        self,
        folder: Path,
        partition: str | None = None,
        minutes: int = 60,
        array: int = 100,
        cpus: int = 1,
        gpus: int = 0,
        memory_gb: float | None = None,
        threads: int = 1,
        engine: str = "slurm",
    ) -> None:
        require_engine("slurm", "submitit")
        import submitit

        self._name = f"autoquant-{uuid.uuid4().hex[:8]}"
        self._folder = folder.absolute() / self._name
        self._threads, self._array = threads, array
        local = engine == "local"
        self._engine: SubmititEngine = LocalProcesses() if local else Slurm(self._name)
        self._submitit = submitit.AutoExecutor(self._folder, cluster=self._engine.cluster)
        optional = {
            "slurm_partition": partition,
            "mem_gb": memory_gb,
            "gpus_per_node": gpus or None,  # SLURM without GPUs refuses 0
        }
        self._submitit.update_parameters(
            name=self._name,
            timeout_min=minutes,
            cpus_per_task=cpus,
            slurm_srun_args=[f"--cpus-per-task={cpus}"],  # srun does not take sbatch's
            slurm_array_parallelism=array,
            # A job whose node died is run again by JobRunner, which counts.
            slurm_additional_parameters={"no-requeue": True},
            **{name: value for name, value in optional.items() if value is not None},
        )
        self._lock = threading.Lock()
        self._new: list[SlurmJob] = []
        self._submitted: list[SlurmJob] = []  # that have not ended
        self._wake = threading.Event()
        self._closed = self._killed = False
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)

    @property
    def workers(self) -> int:
        """How many jobs run at once, at most."""
        return self._array

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a job of SLURM.

        Args:
            fn: the function.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            its future; a BrokenExecutor in it says that the job ended without a result.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor has been shut down")
            self._new.append(SlurmJob(future, (self._threads, fn, *args), kwargs))
            if not self._thread.is_alive():
                self._thread.start()
        self._wake.set()
        return future

    def kill_workers(self) -> None:
        """Cancel all jobs."""
        with self._lock:
            self._closed = self._killed = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs.

        Args:
            wait: whether to wait until all have ended.
            cancel_futures: whether those that have not begun are cancelled.
        """
        with self._lock:
            self._closed = True
            futures = [each.future for each in (*self._new, *self._submitted)]
        if cancel_futures:
            for future in futures:
                future.cancel()
        self._wake.set()
        if wait:
            wait_for(futures)
            if self._thread.ident is not None:
                self._thread.join()

    def _work(self) -> None:
        """Submit and wait, until the executor is closed and nothing is left."""
        try:
            while not self._killed and not (self._closed and not self._new and not self._submitted):
                if self._new:
                    time.sleep(COLLECT_SECONDS)
                    self._submit_new()
                self._look()
                self._wake.wait(self._engine.result_seconds if self._submitted else None)
                self._wake.clear()
            if self._killed:
                self._cancel_all()
            self._remove_folder()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End all futures where the thread cannot go on.

        Args:
            error: that it met.
        """
        with self._lock:
            self._closed = True
            left, self._new = [*self._new, *self._submitted], []
        failure = error if isinstance(error, RunError) else RunError(first_line(error))
        for each in left:
            each.end(error=failure)

    def _submit_new(self) -> None:
        """Submit what has come, in arrays."""
        with self._lock:
            left = [each for each in self._new if not each.future.cancelled()]
            size = min(ARRAY_SIZE, self._engine.room(len(self._submitted), self._array))
            batch, self._new = left[:size], left[size:]
            self._submitted += batch
        if batch:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._send(batch)
        if self._new and size:
            self._wake.set()

    def _send(self, batch: list[SlurmJob]) -> None:
        """Submit one array.

        Args:
            batch: its jobs.
        """
        jobs = []
        try:
            with self._submitit.batch():
                jobs = [self._submitit.submit(_run, *each.args, **each.kwargs) for each in batch]
        except Exception as error:
            reason = " ".join(str(error).split())
            raise RunError(f"sbatch must accept the jobs, got: {reason}") from error
        for each, job in zip(batch, jobs, strict=True):
            each.job = job

    def _look(self) -> None:
        """Take the results that have come, and the states when it is time."""
        if not self._submitted:
            return
        with suppress(OSError):  # a shared folder is read anew then
            self._folder.chmod(self._folder.stat().st_mode)
        names = {path.name for path in self._folder.iterdir()}
        for each in self._submitted:
            if each.job.paths.result_pickle.name in names:
                each.finish()
        left = [each for each in self._submitted if not each.future.done()]
        self._engine.cancel([e.job for e in self._submitted if e.future.cancelled()])
        states = self._engine.states([each.job for each in left])
        if states is not None:
            for each in left:
                each.see(states.get(each.job.job_id, "gone"), self._engine.late_seconds)
        with self._lock:
            for each in self._submitted:
                if each.future.done():
                    each.remove_files()
            self._submitted = [each for each in left if not each.future.done()]
        if self._new:
            self._wake.set()

    def _cancel_all(self) -> None:
        """Cancel all jobs, and their futures."""
        jobs = [each.job for each in self._submitted]
        self._engine.cancel_all(jobs)
        for each in (*self._new, *self._submitted):
            if not each.future.cancel():
                each.end(error=BrokenExecutor("the job was cancelled"))
        for each in self._submitted:
            each.remove_files()
        self._new, self._submitted = [], []

    def _remove_folder(self) -> None:
        """Remove scripts, and folders that no log of a failed job is in."""
        if self._folder.is_dir():
            for path in self._folder.glob("*.sh"):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self._folder.rmdir()
                self._folder.parent.rmdir()


def _run(threads: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a job; its error is a result, for submitit would keep a text of it only.

    submitit's handlers of signals are removed: they would raise an error in the middle of the job.

    Args:
        threads: of torch.
        function: that is called.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Returns:
        (result, None), or (None, error).
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        return with_threads(threads, function, *args, **kwargs), None
    except Exception as error:
        return None, error
