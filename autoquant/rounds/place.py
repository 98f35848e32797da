"""Place: where the jobs of a study run, and in which folder their checkpoints are."""

from __future__ import annotations

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from autoquant.errors import UserError, shown
from autoquant.executors.borrowed import adapted, check_takes_jobs
from autoquant.executors.factory import new_executor
from autoquant.files import make_folder
from autoquant.settings import Search
from autoquant.study.folder import Study
from autoquant.training.device import is_device_name, resolve_device
from autoquant.training.threads import with_threads


@dataclass(frozen=True)
class Place:
    """Where the jobs of a study run.

    Attributes:
        study: the folder of the results, which this process alone writes.
        settings: give the workers, the threads and the cluster.
        executor: of the user's, which runs the jobs instead; it stays open.
    """

    study: Study
    settings: Search
    executor: Executor | None = None

    @classmethod
    def of(cls, study: Study, settings: Search, executor: Executor | None = None) -> Place:
        """Where jobs run, with the number of threads that the study has, or is made with.

        Args:
            study: the folder, new or not.
            settings: of the search.
            executor: of the user's; None: as the settings say.
        """
        place = cls(study, settings, executor)
        threads = with_threads(settings, study, one_process=place.is_here)
        return replace(place, settings=threads)

    @property
    def is_here(self) -> bool:
        """Whether all jobs run in this process."""
        alone = self.settings.workers == 1 and not self.settings.cluster.is_remote
        return self.executor is None and alone

    @property
    def may_be_far(self) -> bool:
        """Whether jobs may run on other machines."""
        return self.executor is not None or self.settings.cluster.is_remote

    @property
    def working(self) -> Study:
        """The folder of the checkpoints: that of the study, or its own in ``cluster.folder``.

        Raises:
            UserError: ``cluster.folder`` is not there.
        """
        if not self.settings.cluster.folder:
            return self.study
        shared, own = Path(self.settings.cluster.folder), self.study.path.resolve()
        if not shared.is_dir():
            requirement = "cluster.folder must be a folder that this machine and all workers see"
            what = "is no folder" if shared.exists() else "is not there"
            raise UserError(f"{requirement}, got {shown(str(shared))}, which {what}")
        name = f"{own.name}-{hashlib.sha256(str(own).encode()).hexdigest()[:8]}"
        return Study(shared.resolve() / name)

    @property
    def known_workers(self) -> int:
        """How many jobs run at the same time; 0 where that is not known."""
        return 0 if self.may_be_far else self.settings.workers

    def device(self) -> torch.device:
        """The device of this process: the float model is trained and measured on it.

        Workers have a device of their own by the same setting. Where jobs may be far, this machine
        need not have it: then it is what "auto" gives here.

        Raises:
            UserError: there is no such device here, where jobs run.
        """
        try:
            return resolve_device(self.settings.device)
        except UserError:
            if not self.may_be_far or not is_device_name(self.settings.device):
                raise
            return resolve_device("auto")

    def check(self) -> None:
        """Try whether jobs could run, before anything is trained.

        Raises:
            UserError: ``cluster.folder`` is not there, the cluster cannot be reached, or it has
                not what a job needs; the executor takes no jobs, or is not the only one.
        """
        folder = self.working.path
        if self.executor is not None:
            self._check_alone()
            check_takes_jobs(self.executor)
        elif self.settings.cluster.is_remote:
            new_executor(self.settings, folder).shutdown()

    def _check_alone(self) -> None:
        """Raise an error where settings name workers beside the user's executor."""
        engine, workers = self.settings.cluster.engine, self.settings.workers
        if engine != "local" or workers > 1:
            got = f"workers={workers}" if workers > 1 else f"cluster={engine}"
            raise UserError(f"executor must be given without workers and a cluster, got {got} too")

    def prepare(self) -> None:
        """Make the folder of the checkpoints.

        Raises:
            UserError: see ``working``.
            RunError: it cannot be written.
        """
        make_folder(self.working.trunks)

    def new_executor(self) -> Executor:
        """What runs the jobs.

        Raises:
            UserError: the cluster cannot be reached, or has not what a job needs.
        """
        if self.executor is not None:
            return adapted(self.executor, self.settings.threads or 1)
        return new_executor(self.settings, self.working.path)
