"""The journal of a search, a file of Optuna: what a killed process leaves of it, and damage."""

from __future__ import annotations

import os
from pathlib import Path

from autoquant.files import writing
from autoquant.reading import UnreadableError, read_json


def repair(path: Path) -> None:
    """Remove what a killed process can leave: Optuna's locks, and an incomplete last line.

    Args:
        path: of the journal, which may be missing.

    Raises:
        RunError: the folder cannot be written.
    """
    with writing(path):
        for lock in path.parent.glob(f"{path.name}.lock*"):
            lock.unlink(missing_ok=True)
        if path.is_file():
            content = path.read_bytes()
            end = content.rfind(b"\n") + 1
            if end < len(content):
                os.truncate(path, end)


def damage_of(path: Path) -> str | None:
    """Where a journal is damaged, as in "in line 3"; None where every line is one of Optuna's.

    Args:
        path: of the journal; a missing one is not damaged.
    """
    if not path.is_file():
        return None
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not _is_entry(line):
                return f"in line {number}"
    return None


def _is_entry(line: bytes) -> bool:
    """Whether a line is an operation of a process."""
    try:
        entry = read_json(line)
    except UnreadableError:
        return False
    return isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys()
