"""Errors that the command line shows as one line, and parts of their messages."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

MAX_MESSAGE = 2000
"""Characters of an error's message, at most: what a user gave may be of any size."""
MAX_SHOWN = 200
"""Characters of a value in a message, at most."""


class UserError(ValueError):
    """Bad input. The message says what must hold, then what came (exit code 2)."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


class RunError(RuntimeError):
    """A valid run that failed (exit code 1)."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


class WriteError(RunError):
    """A file or a folder could not be written."""


class Diverged(RunError):
    """A loss or a score was not finite."""


def shortened(text: str, most: int = MAX_MESSAGE) -> str:
    """A text without its middle where it is too long: the end of a message may name the remedy.

    Args:
        text: of any length.
        most: characters of the result, at most.
    """
    if len(text) <= most:
        return text
    head = (most - 5) * 2 // 3
    return f"{text[:head]} ... {text[len(text) - (most - 5 - head) :]}"


def shown(value: object) -> str:
    """A value in an error message: its ``repr``, on one line and never of a complete large value.

    Args:
        value: that a user gave, or that a file held.
    """
    try:
        text = _SHORT.repr(value)
    except Exception:  # of the value's own class
        text = f"a {type(value).__name__}"
    return shortened(" ".join(text.split()) if "\n" in text else text, MAX_SHOWN)


class _Short(reprlib.Repr):
    """Looks at no more of a value than it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 6, 120, 120, 40
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 24

    def repr_int(self, x: int, level: int) -> str:
        """A whole number; Python refuses to write one of thousands of digits."""
        if x.bit_length() < 100:
            return repr(x)
        return f"{'-' if x < 0 else ''}2**{x.bit_length() - 1} or more"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """A mapping in its own order."""
        if level <= 0:
            return "{...}"
        items = [
            f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}"
            for key in [*x][: self.maxdict]
        ]
        return "{" + ", ".join([*items, *["..."] * (len(x) > self.maxdict)]) + "}"


_SHORT = _Short()


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its class if it has no text.

    Args:
        error: any exception.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0]) if lines else type(error).__name__


def near(name: str, candidates: Iterable[str]) -> str:
    """Names similar to an unknown one, joined by commas, for an error message.

    Args:
        name: the unknown name.
        candidates: the names that are allowed.

    Returns:
        at most three names: the most similar ones, or the first ones if none is similar.
    """
    names = list(candidates)
    return ", ".join(difflib.get_close_matches(name[:200], names, n=3, cutoff=0.4) or names[:3])
