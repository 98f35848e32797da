"""The errors that a user sees as one line, and what such lines are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message says what must hold, then what came (exit code 2)."""


class RunError(RuntimeError):
    """A run that started well and could not end well (exit code 1)."""


class Diverged(RunError):
    """Training met a loss or a score that is not finite."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def near(name: str, known: Iterable[str]) -> str:
    """Known names like one that is not among them, or the first few, as a list in words."""
    names = list(known)
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3])
