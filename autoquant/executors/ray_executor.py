"""RayExecutor: runs jobs as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import math
import re
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, InvalidStateError
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar

from autoquant.errors import RunError, UserError, first_line, shown
from autoquant.executors.requirements import require_engine
from autoquant.executors.threads import with_threads
from autoquant.executors.versions import without_autoquant

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_SECONDS = 10
"""Longest wait for an answer at the cluster's address."""
COUNT_SECONDS = 5.0
"""Age at which the number of workers is asked for again: one call to the cluster."""
_DEATHS = (
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectLostError",  # that of an owner that died too
    "ObjectStoreFullError",
    "OutOfDiskError",
    "OutOfMemoryError",
    "WorkerCrashedError",
)
"""Ray's errors that say nothing about the job: on another node it may succeed."""
_HOST = re.compile(r"\bip=([\w.:]+)")
"""Of the worker, in the text of an error."""


class RayExecutor(Executor):
    """Runs jobs as tasks of a Ray cluster.

    A program that has called ``ray.init`` keeps its connection; else this connects, and disconnects
    at the end. Ray does not tell which tasks have begun: as many of those submitted first are taken
    to run as the cluster can run at once.

    Args:
        address: of the cluster, as ``ray.init`` takes it.
        cpus: of each task.
        gpus: of each task; a fraction below 1 shares one.
        memory_gb: of each task; 0 where it is not stated.
        threads: of torch in each task.

    Raises:
        UserError: there is no cluster, no node can run such a task, or a value is not allowed.
    """

    many_machines = True

    def __init__(
        self,
        address: str = "auto",
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory_gb: float = 0.0,
        threads: int = 1,
    ) -> None:
        _check_demand(cpus, gpus)
        require_engine("ray", "ray")
        import ray

        self._ray: Any = ray
        memory = int(memory_gb * 1e9)
        self._demand = {"CPU": cpus, "GPU": gpus, "memory": memory}
        self._threads = threads
        self._count, self._counted_at = 0, -math.inf
        self._connected_here = not ray.is_initialized()
        if self._connected_here:
            _connect(ray, address)
        try:
            self._check_nodes()
        except BaseException:
            self._disconnect()
            raise
        # Jobs that died run again by JobRunner, which counts them.
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, memory=memory or None, max_retries=0)(
            with_threads
        )
        self._lock = threading.Lock()
        self._references: dict[Future[Any], Any] = {}  # of the tasks that have not ended
        self._waiting: deque[Future[Any]] = deque()
        self._running: set[Future[Any]] = set()
        self._killed = self._closed = False

    @property
    def workers(self) -> int:
        """How many tasks can run at once now."""
        now = time.monotonic()
        if now - self._counted_at > COUNT_SECONDS:
            self._count = sum(map(self._tasks_at_once, _living_nodes(self._ray)))
            self._counted_at = now
        return self._count

    def put(self, content: bytes) -> Any:
        """Keep bytes in the object store of this node; each node that needs them copies them once.

        Args:
            content: that workers read.

        Returns:
            a handle, which must be a direct argument of ``submit``; a worker gets an array.
        """
        import numpy as np  # arrays are read where they lie

        return self._ray.put(np.frombuffer(content, np.uint8))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in a task.

        Args:
            fn: the function.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            its future; a BrokenExecutor in it says that the process or the node died.
        """
        if self._closed:
            raise RuntimeError("the executor has been shut down")
        future: Future[Any] = Future()
        try:
            reference = self._task.remote(self._threads, fn, *args, **kwargs)
        except self._ray.exceptions.RayError as error:
            raise RunError(f"Ray did not take a task: {first_line(error)}") from error
        with self._lock:
            self._references[future] = reference
            self._waiting.append(future)
        future.add_done_callback(self._forget)
        self._begin(self.workers)
        reference.future().add_done_callback(lambda done: self._finish(future, done))
        return future

    def kill_workers(self) -> None:
        """End all tasks at once."""
        self._closed = self._killed = True
        for future, reference in [*self._references.items()]:
            if not future.cancel() and not future.done():
                self._cancel(reference)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Disconnect, where this object has connected, when all tasks have ended.

        Args:
            wait: whether to wait for that.
            cancel_futures: whether tasks that have not begun are cancelled.
        """
        self._closed = True
        futures = [*self._references]
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            wait_for(futures)
        if wait or self._killed:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connected_here:
            self._connected_here = False
            self._ray.shutdown()

    def _check_nodes(self) -> None:
        """Raise an error where no node can ever run a task."""
        if self.workers:
            return
        nodes = _living_nodes(self._ray)
        largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
        raise UserError(
            "a training must fit on a node of the Ray cluster (cluster.cpus, cluster.gpus, "
            f"cluster.memory), got {self._shown(self._demand)}; the largest node has "
            f"{self._shown(largest)}"
        )

    def _shown(self, resources: dict[str, float]) -> str:
        """CPUs and GPUs in words, and the memory where tasks ask for some."""
        memory = f" and {resources.get('memory', 0) / 1e9:.1f} GB" if self._demand["memory"] else ""
        return f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs{memory}"

    def _tasks_at_once(self, node: dict[str, float]) -> int:
        """How many tasks a node runs at once.

        Args:
            node: its resources.
        """
        wanted = {name: amount for name, amount in self._demand.items() if amount}
        return min(int(node.get(name, 0) / amount + 1e-6) for name, amount in wanted.items())

    def _begin(self, workers: int) -> None:
        """Say that tasks run, in their order, while the cluster has room.

        Args:
            workers: how many tasks can run at once.
        """
        with self._lock:
            while self._waiting and len(self._running) < workers:
                future = self._waiting.popleft()
                with suppress(InvalidStateError):  # it has ended
                    if future.set_running_or_notify_cancel():
                        self._running.add(future)

    def _forget(self, future: Future[Any]) -> None:
        """Let go of a task that has ended, and cancel it if its future was cancelled.

        Args:
            future: that has ended.
        """
        with self._lock:
            reference = self._references.pop(future, None)
            self._running.discard(future)
        if future.cancelled() and reference is not None:
            self._cancel(reference)
        self._begin(self._count)

    def _cancel(self, reference: Any) -> None:
        """Cancel a task.

        Args:
            reference: to its result.
        """
        with suppress(Exception):  # it has ended, or its node is gone
            self._ray.cancel(reference, force=self._killed, recursive=self._killed)

    def _finish(self, future: Future[Any], done: Future[Any]) -> None:
        """Give a future the result of its task, in Ray's thread.

        Args:
            future: of the task.
            done: Ray's own.
        """
        with suppress(InvalidStateError):  # it was cancelled
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(_translated(error, self._ray.exceptions))


def _check_demand(cpus: float, gpus: float) -> None:
    """Raise an error where Ray does not allow such a task.

    Args:
        cpus: of each task.
        gpus: of each task.
    """
    if cpus < 0 or gpus < 0 or not cpus + gpus > 0:
        raise UserError(f"a training must need a CPU or a GPU, got cpus={cpus:g}, gpus={gpus:g}")
    for name, amount in (("cpus", cpus), ("gpus", gpus)):
        if amount > 1 and amount != int(amount):
            raise UserError(f"cluster.{name} above 1 must be a whole number, got {amount:g}")


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster, quietly.

    Args:
        ray: the library.
        address: of the cluster.
    """
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit() and "//" not in address:  # Ray itself would wait for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        with _signals_kept():
            ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False)
        _silence(ray)
    except (OSError, ValueError) as error:  # ConnectionError too
        raise UserError(
            f"cluster.address must be that of a Ray cluster (start one: ray start --head), got "
            f"{shown(address)}: {_flat(error)}"
        ) from error
    except Exception as error:
        raise UserError(
            f"the Ray cluster at {address} must accept this program: {_flat(error)}"
        ) from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep what this program does at SIGTERM: Ray puts an exit in its place."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _silence(ray: Any) -> None:
    """Keep Ray from printing that workers died: futures say so. It has no setting for that.

    Args:
        ray: the library.
    """
    with suppress(AttributeError):  # a later version may have another name
        ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _flat(error: BaseException) -> str:
    """An error's text on one line: that of other versions has several."""
    return " ".join(str(error).split())


def _living_nodes(ray: Any) -> list[dict[str, float]]:
    """The resources of the nodes that live."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _translated(error: BaseException, errors: Any) -> BaseException:
    """The error of a future for one of Ray's.

    Args:
        error: Ray's.
        errors: the module of Ray's errors.

    Returns:
        what the job raised, a BrokenExecutor for a worker that died, or an error that ends a batch.
    """
    if isinstance(error, errors.RayTaskError):
        text = str(error)
        missing = without_autoquant(text, "".join(_HOST.findall(text)[:1]))
        if missing is not None:
            return missing
        cause: BaseException = error.cause
        return _translated(cause, errors) if isinstance(cause, errors.RayError) else cause
    if isinstance(error, errors.TaskCancelledError):
        return CancelledError()
    if isinstance(error, tuple(getattr(errors, name) for name in _DEATHS)):
        return BrokenExecutor(first_line(error))
    if isinstance(error, errors.RayError):
        return RunError(f"Ray: {_flat(error)}")
    return error
