"""Errors that the command line shows as one line, and parts of their messages."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any


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


def resolve_path(path: str, requirement: str) -> Any:
    """The object that an import path names: of a module, or in a class of one.

    Args:
        path: such as "torch.nn.functional.cross_entropy".
        requirement: what must hold, for the message.

    Raises:
        UserError: there is no such module, or nothing of that name in it.
        ImportError: a module of the path fails to import what it needs.
    """
    try:
        with suppress(AttributeError):
            return pkgutil.resolve_name(path)
        import_module(path.rpartition(".")[0])  # raises a submodule's error, which pkgutil hides
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
    except ValueError:  # not a path at all
        pass
    raise UserError(f"{requirement}, got {path!r}")
