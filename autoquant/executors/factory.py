"""Which executor the settings name."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

from autoquant.executors.serial import SerialExecutor
from autoquant.settings import Search


def new_executor(settings: Search, folder: Path) -> Executor:
    """A new executor of this machine or of a cluster.

    Args:
        settings: give the workers, the threads and the cluster.
        folder: that all workers see, for what SLURM reads and writes.

    Raises:
        UserError: the cluster cannot be reached, or has not what a job needs.
    """
    threads, cluster = settings.threads or 1, settings.cluster
    if cluster.engine == "ray":
        from autoquant.executors.ray_executor import RayExecutor

        return RayExecutor(cluster.address, cluster.cpus, cluster.gpus, cluster.memory, threads)
    if cluster.engine == "slurm":
        from autoquant.executors.slurm_executor import SlurmExecutor

        return SlurmExecutor(
            folder / "slurm",
            partition=cluster.partition or None,
            minutes=cluster.time,
            array=cluster.array,
            cpus=int(cluster.cpus),
            gpus=int(cluster.gpus),
            memory_gb=cluster.memory or None,
            threads=threads,
        )
    if settings.workers == 1:
        return SerialExecutor()
    from autoquant.executors.local import LocalExecutor  # loky is not needed otherwise

    return LocalExecutor(settings.workers, threads)
