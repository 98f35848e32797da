"""Errors that the command line shows as one line, and parts of their messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The message says what must hold, then what came (exit code 2)."""


class RunError(RuntimeError):
    """A valid run that failed (exit code 1)."""


class Diverged(RunError):
    """A loss or a score was not finite."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class if it has no text.

    Args:
        error: any exception.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def near(name: str, candidates: Iterable[str]) -> str:
    """Names similar to an unknown one, joined by commas, for an error message.

    Args:
        name: the unknown name.
        candidates: the names that are allowed.

    Returns:
        at most three names: the most similar ones, or the first ones if none is similar.
    """
    names = list(candidates)
    return ", ".join(difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3])
