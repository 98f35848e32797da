"""Study: the folder of a search or a sweep; all names of its files are in this module."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from autoquant.errors import UserError, first_line, shown
from autoquant.files import make_folder, remove_stale, write_text, writing
from autoquant.plan import Plan
from autoquant.reading import UnreadableError, read_file, read_json_file
from autoquant.settings import AUTO, Search, from_dict
from autoquant.study import records
from autoquant.study.baseline_record import BaselineRecord
from autoquant.study.configuration import refuse_difference
from autoquant.study.job import Job
from autoquant.study.outcome import Outcome, from_csv
from autoquant.yaml_text import MAX_YAML_BYTES, read_yaml

_GOAL = ("budget", "loss", "score")


@dataclass(frozen=True)
class Study:
    """A study folder; ``create`` makes or continues one, ``open`` reads one.

    Attributes:
        path: of the folder.
    """

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", Path(path))

    @classmethod
    def at(cls, path: object) -> Study:
        """The study at a path, whether there is one or not.

        Args:
            path: of the folder, or a study.

        Raises:
            UserError: it is neither.
        """
        if isinstance(path, Study):
            return path
        if not isinstance(path, str | os.PathLike):
            requirement = "study must be the path of a folder"
            raise UserError(f"{requirement}, got {shown(path)}; write study='runs/mine'")
        return cls(path)

    # --- its files -------------------------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def trials_file(self) -> Path:
        """The log of a search's trials: a line for each change."""
        return self.path / "trials.jsonl"

    @property
    def journal_file(self) -> Path:
        """The ended trials of a search, for optuna-dashboard."""
        return self.path / "journal.log"

    @property
    def baseline_file(self) -> Path:
        """Weights of the float model."""
        return self.path / "baseline.safetensors"

    @property
    def baseline_record(self) -> Path:
        """The BaselineRecord, as JSON."""
        return self.path / "baseline.json"

    @property
    def profile_file(self) -> Path:
        return self.path / "profile.json"

    @property
    def network_file(self) -> Path:
        """The network and what may grow of it, for ``solve``."""
        return self.path / "network.json"

    @property
    def trunks(self) -> Path:
        """Checkpoints from which trainings of the same plans continue."""
        return self.path / "trunks"

    @property
    def learning_rate_file(self) -> Path:
        """What each learning rate gave, where the search was to find one."""
        return self.path / "learning_rate.json"

    def trunk(self, plan: Plan, order: int) -> Path:
        """The checkpoint of a plan's training.

        Args:
            plan: of the training.
            order: number of its data order.
        """
        return self.trunks / f"{plan.digest}-{order}.checkpoint"

    def checkpoint(self, job: Job) -> Path:
        """The checkpoint of a job that no longer one continues, while it is trained.

        Args:
            job: of a sweep.
        """
        name = f"{job.plan.digest}-{job.steps}-{job.order}-{job.init_from}-seed{job.seed}"
        return self.trunks / f"{name}.checkpoint"

    @property
    def sensitivity_file(self) -> Path:
        return self.path / "sensitivity.json"

    @property
    def latencies_file(self) -> Path:
        """Step times of this machine's kernels, where a limit needs them."""
        return self.path / "latencies.json"

    @property
    def outcomes_file(self) -> Path:
        """The table of a search."""
        return self.path / "outcomes.csv"

    @property
    def jobs_file(self) -> Path:
        """The log of jobs: one line for each training."""
        return self.path / "jobs.csv"

    @property
    def runs_file(self) -> Path:
        """The table of a sweep: runs.csv, or the cells.csv that an earlier version has begun."""
        earlier = self.path / "cells.csv"
        return earlier if earlier.is_file() else self.path / "runs.csv"

    @property
    def plan_file(self) -> Path:
        """The plan that a search chose."""
        return self.path / "plan.yaml"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def page_file(self) -> Path:
        """The page with all tables and charts."""
        return self.path / "report.html"

    @property
    def tensorboard(self) -> Path:
        """What TensorBoard shows: a folder for each training."""
        return self.path / "tensorboard"

    @property
    def packed(self) -> Path:
        """Folder of a sweep's packed files."""
        return self.path / "packed"

    def packed_file(self, name: str) -> Path:
        """The packed file of a sweep's run.

        Args:
            name: of the run.
        """
        return self.packed / f"{name}.safetensors"

    def applied(self, name: str) -> Path:
        """Folder of an applied plan.

        Args:
            name: of the plan.
        """
        return self.path / "applied" / name

    # --- opening ----------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path | Study, config: Mapping[str, Any]) -> Study:
        """Make a study folder, or continue the one that is there with the same configuration.

        Args:
            path: of the folder.
            config: the configuration: its task, its settings, and for a sweep its "sweep".

        Raises:
            UserError: the folder is something else, or of another configuration.
            RunError: the folder cannot be written.
        """
        study = cls.at(path)
        # Looked at first: another process may write the configuration between the two lines.
        occupied = study.path.exists() and not _empty(study.path)
        if study.config_file.is_file():
            refuse_difference(study.path, study.config(), config)
            return study
        if occupied:
            raise UserError(f"study must be a new folder or a study, got '{study.path}'")
        try:
            text = yaml.safe_dump(dict(config), sort_keys=False)
        except yaml.YAMLError as error:
            raise UserError(f"settings must be plain values, got {first_line(error)}") from error
        make_folder(study.path)
        write_text(study.config_file, text)
        return study

    @classmethod
    def open(cls, path: str | Path | Study) -> Study:
        """An existing study.

        Args:
            path: of the folder.

        Raises:
            UserError: the folder is not a study.
        """
        study = cls.at(path)
        if not study.config_file.is_file():
            raise UserError(f"study must be a folder of a search or a sweep, got '{study.path}'")
        return study

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study's lock, so that a second command on this machine is refused.

        Raises:
            UserError: another process holds it.
            RunError: the folder cannot be written.
        """
        lock = FileLock(self.path / ".lock")
        try:
            with writing(self.path):
                lock.acquire(blocking=False)
        except Timeout as error:
            raise UserError(
                f"one search or sweep at a time can run in a study, got a second in '{self.path}'"
            ) from error
        try:
            self.clean()
            yield
        finally:
            lock.release()

    def clean(self) -> None:
        """Remove the temporary files of processes that were killed."""
        remove_stale(self.path)

    # --- reading and writing ----------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The configuration that the study was made with.

        Raises:
            UserError: the file is not valid YAML, or not a mapping.
        """
        try:
            content = read_yaml(read_file(self.config_file, MAX_YAML_BYTES))
        except UnreadableError as error:
            raise UserError(f"'{self.config_file}' must be valid YAML, got {error}") from error
        if not isinstance(content, dict):
            got = "an empty file" if content is None else shown(content)
            raise UserError(f"'{self.config_file}' must hold a configuration, got {got}")
        return content

    def baseline(self) -> BaselineRecord:
        """The record of the trained float model.

        Raises:
            UserError: there is none, or the file is not what a search or a sweep wrote.
        """
        if not self.baseline_record.is_file():
            raise UserError(f"the study must have a trained baseline, got none in '{self.path}'")
        try:
            return records.from_json(BaselineRecord, read_json_file(self.baseline_record))
        except ValueError as error:
            raise UserError(f"'{self.baseline_record}' must be as a search wrote it") from error

    def write_baseline(self, record: BaselineRecord) -> None:
        """Write the record of the float model.

        Args:
            record: of the trained model.
        """
        content = json.dumps(records.to_json(record), indent=2)
        write_text(self.baseline_record, f"{content}\n")

    def outcomes(self) -> list[Outcome]:
        """Every plan that was tried, in order; references first.

        Raises:
            UserError: the file is not what a search wrote.
        """
        if not self.outcomes_file.is_file():
            return []
        try:
            return from_csv(self.outcomes_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"'{self.outcomes_file}' must be as a search wrote it; restore it, or remove it: a "
                "search writes it anew from its log of trials"
            ) from error

    def search_settings(self) -> Search:
        """The settings of a search; of a sweep those that it has of one.

        A learning rate that the search found is in place of "auto".

        Raises:
            UserError: the configuration has a value that is refused.
        """
        others = ("task", "sweep")
        values = {key: value for key, value in self.config().items() if key not in others}
        settings = from_dict(Search, values)
        if self.learning_rate_file.is_file():
            chosen = read_json_file(self.learning_rate_file).get("chosen")
            return settings if chosen is None else with_rate(settings, float(chosen))
        return settings

    def goal_settings(self) -> Search:
        """The settings that say what was looked for; those that name code are left out.

        So a report can read a folder that somebody else has made and run nothing of it.

        Raises:
            UserError: one of them has a value that is refused.
        """
        config = self.config()
        return from_dict(Search, {key: config[key] for key in _GOAL if key in config})

    def plan(self) -> Plan:
        """The plan that the search chose.

        Raises:
            UserError: there is none, or the file is not a plan.
        """
        if not self.plan_file.is_file():
            raise UserError(f"the study must have a chosen plan, got none in '{self.path}'")
        return Plan.read(self.plan_file)


def with_rate(settings: Search, rate: float) -> Search:
    """Settings with a number in place of the learning rate "auto".

    Args:
        settings: of a search.
        rate: that was found.
    """
    found = {
        name: getattr(settings, name).changed(lr=rate)
        for name in ("qat", "final")
        if getattr(settings, name).lr == AUTO
    }
    return settings.changed(**found) if found else settings


def _empty(path: Path) -> bool:
    """Whether a path is a folder without files, except a configuration that is being written."""
    return path.is_dir() and all(file.name.startswith(".config.yaml.") for file in path.iterdir())
