"""The trials of a study that goes on: those of its log, or restored from its table."""

from __future__ import annotations

import sys
from pathlib import Path

from autoquant.errors import UserError
from autoquant.files import remove_incomplete_line, replacing, set_aside
from autoquant.study import records
from autoquant.study.folder import Study
from autoquant.study.journal import Journal, refuse_one_objective
from autoquant.study.outcome import Outcome
from autoquant.study.parameters import Parameters
from autoquant.study.trial_log import DamagedLog
from autoquant.study.trial_storage import TrialStorage
from autoquant.task import Direction

MAX_GAP = 1000
"""Numbers without an outcome before one that has an outcome, at most."""


def open_trials(study: Study, direction: Direction, parameters: Parameters) -> TrialStorage:
    """The trials of a study.

    A log that is damaged, or lacks trials that ``outcomes.csv`` has, is written anew from that
    table; the old one is set aside. A study of an earlier version, which has no log, gets one.

    Args:
        study: of a search, locked by this process.
        direction: whether low or high scores are good.
        parameters: of the proposals.

    Raises:
        UserError: the log is damaged and the table is too, or is not there.
        RunError: the folder cannot be written.
    """
    path, journal = study.trials_file, Journal(study.journal_file, direction)
    remove_incomplete_line(path)
    had_content = path.is_file() and path.stat().st_size > 0
    if not had_content:
        refuse_one_objective(study.journal_file)
    try:
        storage, damage = TrialStorage(path, direction, parameters, journal), ""
    except DamagedLog as error:
        storage, damage = None, f"{error}"
    if storage is not None and _has_all(storage, study):
        return storage
    recorded = _recorded(study, needed=storage is None or not len(storage))
    if storage is not None and not recorded:
        return storage
    if not recorded:
        raise UserError(
            f"'{path}' must be as a search wrote it, got damage {damage}; restore it from a copy, "
            "or remove it: its trials are then proposed again"
        )
    what = f"its trials are restored from '{study.outcomes_file.name}'"
    if had_content:
        set_aside(path, " ".join(["is damaged", damage]).rstrip() + f": {what}")
    else:
        print(f"autoquant: '{path}' has no trials: {what}", file=sys.stderr)
    with replacing(path) as temporary:
        _restore(temporary, direction, parameters, recorded)
    return TrialStorage(path, direction, parameters, journal)


def _has_all(storage: TrialStorage, study: Study) -> bool:
    """Whether a log has all trials that the table names.

    Args:
        storage: of the log.
        study: of the search.
    """
    try:
        names = records.columns(study.outcomes_file, "role", "trial")
        return all((role, name) in storage for role, name in names)
    except ValueError:
        return False


def _recorded(study: Study, *, needed: bool) -> list[Outcome]:
    """The outcomes of the table.

    Args:
        study: of the search.
        needed: whether a damaged table is an error; else it will be written again.
    """
    try:
        outcomes = study.outcomes()
    except UserError:
        if needed:
            raise
        return []
    if not _are_numbered(outcomes):
        raise UserError(f"'{study.outcomes_file}' must be as a search wrote it, or be removed")
    return outcomes


def _are_numbered(outcomes: list[Outcome]) -> bool:
    """Whether the names of proposals are rising numbers without large gaps."""
    last = -1
    for outcome in (outcome for outcome in outcomes if outcome.role == "search"):
        name = outcome.trial
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            return False
        if not last < int(name) <= last + MAX_GAP:
            return False
        last = int(name)
    return True


def _restore(
    path: Path, direction: Direction, parameters: Parameters, outcomes: list[Outcome]
) -> None:
    """Write a log of outcomes.

    Args:
        path: of a new file.
        direction: whether low or high scores are good.
        parameters: of the proposals.
        outcomes: references first.
    """
    storage = TrialStorage(path, direction, parameters)
    for outcome in outcomes:
        storage.restore(outcome)
