"""Study: the folder that holds a search, and the one place that knows its file names."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from autoquant.errors import RunError, UserError
from autoquant.files import write_text
from autoquant.plan import Plan
from autoquant.settings import Search
from autoquant.study.outcome import Outcome, from_csv
from autoquant.task import Direction

CHANGEABLE_SETTINGS = frozenset({"trials", "device", "kernel", "study", "sweep"})
"""Settings that may change between two runs of one study."""


@dataclass(frozen=True)
class Baseline:
    """The float model that every candidate starts from."""

    score: float
    """On the valid split."""
    size_bytes: int
    """Bytes of its tensors."""
    parameters: int
    metric: str
    direction: Direction
    steps: int
    seconds: float
    history: tuple[tuple[int, float], ...] = ()
    """Intermediate (step, score on the probe split)."""
    test: float | None = None
    """On the test split, where that was asked for."""


@dataclass(frozen=True)
class Study:
    """A study folder; ``create`` makes or continues one, ``open`` reads one."""

    path: Path

    # --- where things are ------------------------------------------------------------------------

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def journal_file(self) -> Path:
        return self.path / "journal.log"

    @property
    def baseline_file(self) -> Path:
        return self.path / "baseline.safetensors"

    @property
    def baseline_record(self) -> Path:
        return self.path / "baseline.json"

    @property
    def profile_file(self) -> Path:
        return self.path / "profile.json"

    @property
    def sensitivity_file(self) -> Path:
        return self.path / "sensitivity.json"

    @property
    def outcomes_file(self) -> Path:
        return self.path / "outcomes.csv"

    @property
    def cells_file(self) -> Path:
        """The table of a sweep."""
        return self.path / "cells.csv"

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.yaml"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def applied(self, name: str) -> Path:
        """Folder of an applied plan."""
        return self.path / "applied" / name

    # --- opening ----------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> Study:
        """Make a study folder, or continue the one that is there with the same configuration.

        Raises:
            UserError: the folder is something else, or of another configuration.
            RunError: the folder cannot be written.
        """
        study = cls(Path(path))
        strange = study.path.exists() and not _empty(study.path)  # before the next look: another
        if study.config_file.is_file():  # process may be making the same study
            _refuse_difference(study.path, study.config(), config)
            return study
        if strange:
            raise UserError(f"study must be a new folder or a study, got '{study.path}'")
        try:
            study.path.mkdir(parents=True, exist_ok=True)
            write_text(study.config_file, yaml.safe_dump(dict(config), sort_keys=False))
        except OSError as error:
            raise RunError(f"'{study.path}' cannot be written: {error.strerror}") from error
        return study

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """A study that is there.

        Raises:
            UserError: the folder is not a study.
        """
        study = cls(Path(path))
        if not study.config_file.is_file():
            raise UserError(f"study must be a folder that a search made, got '{path}'")
        return study

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study against a second search on this machine.

        Raises:
            UserError: another process holds it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f"one search at a time can run in a study, got a second in '{self.path}'"
                ) from error
            yield

    # --- reading and writing ----------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The configuration that the study was made with."""
        try:
            content = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"'{self.config_file}' must be valid YAML") from error
        if not isinstance(content, dict):
            raise UserError(f"'{self.config_file}' must hold a configuration, got {content!r}")
        return content

    def baseline(self) -> Baseline:
        """The record of the trained float model."""
        if not self.baseline_record.is_file():
            raise UserError(f"the study must have a trained baseline, got none in '{self.path}'")
        try:
            content = json.loads(self.baseline_record.read_text(encoding="utf-8"))
            content["history"] = tuple(map(tuple, content["history"]))
            return Baseline(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"'{self.baseline_record}' must be as a search wrote it") from error

    def write_baseline(self, record: Baseline) -> None:
        write_text(self.baseline_record, json.dumps(asdict(record), indent=2) + "\n")

    def outcomes(self) -> list[Outcome]:
        """Every plan that was tried, in order; references first."""
        if not self.outcomes_file.is_file():
            return []
        try:
            return from_csv(self.outcomes_file.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"'{self.outcomes_file}' must be as a search wrote it") from error

    def plan(self) -> Plan:
        """The plan that the search chose."""
        if not self.plan_file.is_file():
            raise UserError(f"the study must have a chosen plan, got none in '{self.path}'")
        return Plan.read(self.plan_file)


def _empty(path: Path) -> bool:
    """Whether a path is a folder with nothing in it, but for a configuration being written."""
    return path.is_dir() and all(each.name.startswith(".config.yaml.") for each in path.iterdir())


def _refuse_difference(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    kinds = ["a sweep" if "sweep" in config else "a search" for config in (old, new)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"study '{path}' was made by {kinds[0]}, got {kinds[1]}; take another study folder"
        )
    after = _flat(json.loads(json.dumps(new)))
    usual = _flat(asdict(Search()))  # what an older version, which did not know a setting, did
    before = {key: usual[key] for key in after if key in usual} | _flat(old)
    for key in [*after, *before]:
        if key.split(".")[0] in CHANGEABLE_SETTINGS or before.get(key) == after.get(key):
            continue
        raise UserError(
            f"study '{path}' was made with {key}={before.get(key)}, got {key}={after.get(key)}; "
            "take that value or another study folder"
        )
    ruled = [list(config.get("rules") or ()) for config in (old, new)]
    if ruled[0] != ruled[1]:  # the same rules, of which others come last
        raise UserError(
            f"study '{path}' was made with rules for {', '.join(ruled[0])}, got them in the order "
            f"{', '.join(ruled[1])}; take that order or another study folder"
        )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: list(tree) if isinstance(tree, tuple) else tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
