"""The trials of a study that goes on: those of its journal, or restored from its table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from autoquant.errors import UserError, WriteError, first_line
from autoquant.files import replacing, set_aside
from autoquant.plan import Plan
from autoquant.study.folder import Study
from autoquant.study.journal import damage_of, repair
from autoquant.study.outcome import Outcome
from autoquant.study.trial_storage import TrialStorage
from autoquant.task import Direction

ParamsOf = Callable[[Plan], Mapping[str, int] | None]
"""The parameters of a proposal's plan, or None where the space does not have it."""
MAX_GAP = 1000
"""Trials without an outcome before one that has an outcome, at most."""


def open_trials(
    study: Study,
    direction: Direction,
    *,
    params_of: ParamsOf,
    ranges: Mapping[str, Any],
) -> TrialStorage:
    """The trials of a study.

    A journal that is damaged, or lacks trials that ``outcomes.csv`` has, is written anew from that
    table; the old one is set aside.

    Args:
        study: of a search, locked by this process.
        direction: whether low or high scores are good.
        params_of: gives the parameters of proposals that are restored.
        ranges: Optuna's distributions of the parameters.

    Raises:
        UserError: the journal is damaged and the table is too, or is not there.
        RunError: the folder cannot be written.
    """
    path = study.journal_file
    repair(path)
    had_content = path.is_file() and path.stat().st_size > 0
    storage, damage = _opened(study, direction)
    recorded = _recorded(study, needed=storage is None or not storage.outcomes())
    if storage is not None:
        known = {(outcome.role, outcome.trial) for outcome in storage.outcomes()}
        if all((outcome.role, outcome.trial) in known for outcome in recorded):
            return storage
    elif not recorded:
        raise UserError(
            f"'{path}' must be as a search wrote it, got damage {damage}; restore it from a copy, "
            "or remove it: its trials are then trained again"
        )
    what = f"{damage or ''}: its trials are restored from '{study.outcomes_file.name}'"
    if had_content:
        set_aside(path, f"is damaged {what}".replace(" :", ":"))
    else:
        print(f"autoquant: '{path}' is empty{what}", file=sys.stderr)
    with replacing(path) as temporary:
        _restore(TrialStorage(temporary, direction), recorded, params_of, ranges)
    return TrialStorage(path, direction)


def _opened(study: Study, direction: Direction) -> tuple[TrialStorage | None, str | None]:
    """The storage and None, or None and where the journal is damaged.

    Args:
        study: of the search.
        direction: whether low or high scores are good.
    """
    damage = damage_of(study.journal_file)
    if damage is not None:
        return None, damage
    try:
        storage = TrialStorage(study.journal_file, direction)
        storage.outcomes()
    except (WriteError, UserError):
        raise
    except Exception as error:  # whatever Optuna makes of lines that do not fit together
        return None, f"({type(error).__name__}: {first_line(error)})"
    return storage, None


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
    storage: TrialStorage,
    outcomes: list[Outcome],
    params_of: ParamsOf,
    ranges: Mapping[str, Any],
) -> None:
    """Add outcomes to an empty storage.

    Args:
        storage: of a new file.
        outcomes: references first.
        params_of: gives the parameters of a proposal's plan.
        ranges: their distributions.
    """
    for outcome in outcomes:
        params = params_of(outcome.plan) if outcome.role == "search" else None
        storage.restore(outcome, params=params, ranges=ranges)
