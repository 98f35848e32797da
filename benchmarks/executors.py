"""``python -m benchmarks.executors``: what a job costs on each engine, beside its own work.

Jobs do nothing, and share a context of some bytes. Printed are seconds of wall-clock time and of
the driver's CPU per job, after each worker has run once. Ray runs two nodes of one CPU as processes
of this machine; submitit starts a process for each job, so it gets fewer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from autoquant.executors.borrowed import adapted
from autoquant.executors.job_runner import JobRunner
from autoquant.executors.local import LocalExecutor
from autoquant.executors.ray_executor import RayExecutor
from autoquant.executors.slurm_executor import SlurmExecutor

WORKERS = 2
STARTED = 20
"""Jobs that are run before, so that all workers have started."""


def nothing(context: bytes, job: int) -> int:
    """A job.

    Args:
        context: of all jobs.
        job: a number.
    """
    return job


@contextmanager
def local(folder: Path) -> Iterator[Callable[[], Executor]]:
    yield lambda: LocalExecutor(WORKERS, 1)


@contextmanager
def ray(folder: Path) -> Iterator[Callable[[], Executor]]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(WORKERS - 1):
        cluster.add_node(num_cpus=1)
    yield lambda: RayExecutor(cluster.address)
    cluster.shutdown()


@contextmanager
def dask(folder: Path) -> Iterator[Callable[[], Executor]]:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1)
    with cluster, Client(cluster) as client:
        yield lambda: adapted(client.get_executor(), 1)


@contextmanager
def submitit(folder: Path) -> Iterator[Callable[[], Executor]]:
    yield lambda: SlurmExecutor(folder, array=WORKERS, engine="local")


@contextmanager
def slurm(folder: Path) -> Iterator[Callable[[], Executor]]:
    yield lambda: SlurmExecutor(folder, array=WORKERS)


ENGINES = {each.__name__: each for each in (local, ray, dask, submitit, slurm)}
OWN_PROCESSES = ("submitit", "slurm")
"""Engines that start a process for each job."""


def measure(name: str, jobs: int, size: int) -> str:
    """One line about an engine.

    Args:
        name: of ENGINES.
        jobs: that are timed.
        size: bytes of the context.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd())))
        make = stack.enter_context(ENGINES[name](folder))
        runner = JobRunner(make, nothing, bytes(size), lost=lambda job, reason: -1, folder=folder)
        with runner:
            if name not in OWN_PROCESSES:
                runner.run(range(STARTED))
            wall, cpu = time.perf_counter(), time.process_time()
            assert runner.run(range(jobs)) == [*range(jobs)]
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return (
        f"{name}: {jobs} jobs, {1e3 * wall / jobs:.2f} ms each, "
        f"{1e3 * cpu / jobs:.2f} ms of the driver's CPU"
    )


PROCESSES = "jobs of submitit and slurm"


def main() -> None:
    """Measure, and print a line for each engine."""
    command_line = argparse.ArgumentParser(prog="python -m benchmarks.executors")
    engines = {"nargs": "+", "choices": list(ENGINES), "default": list(ENGINES)[:-1]}
    command_line.add_argument("--engines", metavar="ENGINE", **engines)  # type: ignore[arg-type]
    command_line.add_argument("--jobs", type=int, default=1000)
    command_line.add_argument("--processes", type=int, default=20, help=PROCESSES)
    command_line.add_argument("--bytes", type=int, default=10_000_000, help="of the context")
    options = command_line.parse_args()
    for name in options.engines:
        jobs = options.processes if name in OWN_PROCESSES else options.jobs
        print(measure(name, jobs, options.bytes), flush=True)


if __name__ == "__main__":
    main()
