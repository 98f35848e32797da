"""Cluster: where the trainings of a search run."""

from __future__ import annotations

from dataclasses import dataclass, fields

from autoquant.settings.base import Settings
from autoquant.settings.checks import check_types, require

ENGINES = ("local", "ray", "slurm")
"""What runs the trainings: this machine, a Ray cluster, or a SLURM cluster."""
_ONLY_OF = {"address": "ray", "partition": "slurm", "time": "slurm", "array": "slurm"}
"""Settings that one engine alone has."""


@dataclass(frozen=True)
class Cluster(Settings):
    """Where the trainings of a search or a sweep run; the study's folder stays on this machine.

    The command line selects one with cluster=ray or cluster=slurm.

    Attributes:
        engine: local (this machine: see workers), ray or slurm.
        address: Of the Ray cluster, as in ray://head:10001; auto: the one of this machine. Only
            for ray.
        cpus: CPUs that each training takes, with as many threads as the setting threads says (1).
        gpus: GPUs that each training takes; 0.5: two trainings share one. Of SLURM a whole number.
        memory: GB of memory that each training takes; 0: not stated.
        folder: Folder that this machine and all workers see, for the checkpoints of trainings.
            Empty: of a Ray cluster they travel with the trainings, else the study's folder.
        partition: SLURM's partition; empty: its default. Only for slurm.
        time: Minutes after which SLURM ends a training, which then runs again, up to three times
            in all; with a folder from its checkpoint. Only for slurm.
        array: Trainings of a job array that SLURM runs at the same time, at most. Only for slurm.
    """

    engine: str = "local"
    address: str = "auto"
    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0
    folder: str = ""
    partition: str = ""
    time: int = 60
    array: int = 100

    def __post_init__(self) -> None:
        check_types(self, "cluster.")
        requirement = f"cluster.engine must be one of {', '.join(ENGINES)}"
        require(self.engine in ENGINES, requirement, self.engine)
        for each in fields(self):
            value, default = getattr(self, each.name), each.default
            if isinstance(default, str):
                require(isinstance(value, str), f"cluster.{each.name} must be a text", value)
            engine = _ONLY_OF.get(each.name, self.engine)
            requirement = f"cluster.{each.name} is only for cluster={engine}"
            require(value == default or engine == self.engine, requirement, self.engine)
            given = value != default and self.engine == "local" and each.name != "folder"
            requirement = f"cluster.{each.name} needs cluster=ray or cluster=slurm"
            require(not given, requirement, self.engine)
        require(self.cpus > 0, "cluster.cpus must be above 0", self.cpus)
        require(self.gpus >= 0, "cluster.gpus must not be negative", self.gpus)
        require(self.memory >= 0, "cluster.memory must not be negative", self.memory)
        require(self.time >= 1, "cluster.time must be at least 1 minute", self.time)
        require(self.array >= 1, "cluster.array must be at least 1", self.array)
        whole = self.engine != "slurm" or self.gpus == int(self.gpus)
        require(whole, "cluster.gpus must be a whole number for cluster=slurm", self.gpus)
        whole = self.engine != "slurm" or self.cpus == int(self.cpus)
        require(whole, "cluster.cpus must be a whole number for cluster=slurm", self.cpus)

    @property
    def is_remote(self) -> bool:
        """Whether trainings may run on other machines."""
        return self.engine != "local"
