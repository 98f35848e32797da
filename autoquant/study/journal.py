"""Journal: the ended trials of a search as a file of Optuna, which optuna-dashboard shows.

Two studies share the file: "references" holds the uniform plans, "search" the proposals. Both have
two objectives, the size and the score on the last rung, so that the dashboard shows the Pareto
front. Optuna's JournalStorage keeps all trials of its file in memory, and reads all of them when it
is opened. Here it gets a backend that gives it the studies alone, for one group of trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoquant.errors import UserError
from autoquant.files import remove_incomplete_line, set_aside, writing
from autoquant.reading import UnreadableError, read_json
from autoquant.study.outcome import TrialRole
from autoquant.task import Direction

STUDIES: dict[TrialRole, str] = {"reference": "references", "search": "search"}

TrialKey = tuple[TrialRole, str]
"""Role and name of a trial."""

_Line = dict[str, Any]


class Journal:
    """The file of a study.

    Args:
        path: of the file; made with the first trials.
        direction: whether low or high scores are good.
    """

    def __init__(self, path: Path, direction: Direction) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path, self._direction = path, direction

    def opened(self, size: int) -> set[TrialKey] | None:
        """Bring the file in order after a process that may have been killed while it wrote.

        A file that this version did not write is set aside, with a line about it.

        Args:
            size: bytes of the file after the last group that is known to be in it.

        Returns:
            the trials that follow; None where the file is to be written from its beginning.

        Raises:
            WriteError: the folder cannot be written.
        """
        _repair(self._path)
        found = self._path.stat().st_size if self._path.is_file() else 0
        if found == 0:
            return set() if size == 0 else None
        try:
            return self._keys_from(size, found)
        except (UnreadableError, LookupError, TypeError, ValueError):
            set_aside(self._path, "is damaged, or of an earlier version: it is written anew")
            return None

    def append(self, trials: Iterable[tuple[TrialRole, FrozenTrial]]) -> int:
        """Write a group of trials.

        Args:
            trials: that have ended, with their roles.

        Returns:
            bytes of the file.

        Raises:
            WriteError: the file cannot be written.
        """
        with writing(self._path):
            backend = _Group(JournalFileBackend(str(self._path)), _created_studies(self._path))
            storage = JournalStorage(backend)
            studies = {role: self._study(name, storage) for role, name in STUDIES.items()}
            for role, trial in trials:
                studies[role].add_trial(trial)
            backend.write()
            return self._path.stat().st_size

    def _study(self, name: str, storage: JournalStorage) -> optuna.Study:
        """One of the studies, made where the file does not have it.

        Args:
            name: of the study.
            storage: of the file.
        """
        if name in {study.study_name for study in storage.get_all_studies()}:
            return optuna.load_study(study_name=name, storage=storage)
        directions = ["minimize", self._direction]
        return optuna.create_study(study_name=name, storage=storage, directions=directions)

    def _keys_from(self, size: int, found: int) -> set[TrialKey]:
        """The trials that follow some bytes.

        Args:
            size: the bytes.
            found: bytes of the file.

        Raises:
            ValueError: the file is not what this version writes, like the other errors.
        """
        created = [
            (line["study_name"], line["directions"]) for line in _created_studies(self._path)
        ]
        directions = [StudyDirection.MINIMIZE, StudyDirection[self._direction.upper()]]
        expected = [(name, directions) for name in STUDIES.values()]
        if found < size or created != expected[: len(created)]:
            raise ValueError
        keys, roles = set[TrialKey](), [*STUDIES][: len(created)]
        for line in _lines(self._path, size):
            if "datetime_start" in line and "study_id" in line:  # a trial is created
                if not TrialState(line["state"]).is_finished():
                    raise ValueError
                keys.add((roles[line["study_id"]], str(line["user_attrs"]["trial"])))
        return keys


class _Group(BaseJournalBackend):
    """What one JournalStorage sees and appends.

    Args:
        file: that is appended to.
        created: lines that create the file's studies.
    """

    def __init__(self, file: JournalFileBackend, created: list[_Line]) -> None:
        self._file, self._seen, self._new = file, created, list[_Line]()

    def read_logs(self, log_number_from: int) -> Iterable[_Line]:
        """The studies, and what was appended.

        Args:
            log_number_from: number of lines that are left out.
        """
        return self._seen[log_number_from:]

    def append_logs(self, logs: list[_Line]) -> None:
        """Keep lines until ``write``.

        Args:
            logs: the lines.
        """
        self._new += logs
        self._seen += logs

    def write(self) -> None:
        """Append the lines to the file at once."""
        if self._new:
            self._file.append_logs(self._new)
        self._new = []


def refuse_one_objective(path: Path) -> None:
    """Raise a UserError where a journal is that of a version whose studies cannot be continued.

    Args:
        path: of the file, which may be missing.

    Raises:
        UserError: its search has one objective.
    """
    if not path.is_file():
        return
    try:
        created = _created_studies(path)
    except UnreadableError:
        return
    if any(line["study_name"] == "search" and len(line["directions"]) == 1 for line in created):
        raise UserError(
            f"'{path}' was written by an earlier version, whose searches cannot be continued; take "
            "another study folder (report and apply still read this one)"
        )


def _created_studies(path: Path) -> list[_Line]:
    """The first lines of a journal: those that create studies.

    Args:
        path: of the file.
    """
    if not path.is_file():
        return []
    return [*takewhile(lambda line: {"study_name", "directions"} <= line.keys(), _lines(path, 0))]


def _lines(path: Path, start: int) -> Iterator[_Line]:
    """The lines of a journal.

    Args:
        path: of the file.
        start: bytes that are left out.

    Raises:
        UnreadableError: a line is not one of Optuna's.
    """
    with path.open("rb") as file:
        file.seek(start)
        for text in file:
            line = read_json(text)
            if not (isinstance(line, dict) and {"op_code", "worker_id"} <= line.keys()):
                raise UnreadableError("a line of something else")
            yield line


def _repair(path: Path) -> None:
    """Remove what a killed process can leave: Optuna's locks, and an incomplete last line.

    Args:
        path: of the journal, which may be missing.
    """
    with writing(path):
        for lock in path.parent.glob(f"{path.name}.lock*"):
            lock.unlink(missing_ok=True)
    remove_incomplete_line(path)
