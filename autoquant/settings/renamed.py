"""Settings whose names have changed: for one version the old name is taken, with a notice.

What a user types or passes is renamed here. Studies keep the names that they were written with,
which are read for ever, silently (STORED).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from autoquant.settings.base import Settings

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Renamed:
    """A setting that has a new name, or no effect any more.

    Attributes:
        old: its name in earlier versions, with its section, such as "sweep.start".
        new: its present name, with its section; None where the setting has no effect any more.
        since: version that brought the new name.
        until: version that refuses the old name; this entry is removed there (see CONTRIBUTING).
        command: the command, or function, that it is an own setting of; None: of ``Search`` or
            ``Sweep``.
    """

    old: str
    new: str | None
    since: str
    until: str
    command: str | None = None

    @property
    def notice(self) -> str:
        """What the user is told."""
        state = "has no effect any more" if self.new is None else f"is now named {self.new!r}"
        return (
            f"setting {self.old!r} {state} (since version {self.since}); version {self.until} "
            f"will refuse {self.old!r}"
        )


RENAMED = (
    Renamed("start", "init_from", since="0.1.0", until="0.2.0", command="apply"),
    Renamed("sweep.start", "sweep.init_from", since="0.1.0", until="0.2.0"),
    Renamed("prune", None, since="0.1.0", until="0.2.0"),
)
"""Old names that are taken with a notice."""

STORED: Mapping[str, str | None] = MappingProxyType(
    {"sweep.start": "sweep.init_from", "prune": None}
)
"""Names in the files of earlier versions' studies, and the present ones; None: has no effect."""


def renamed_settings(command: str | None) -> dict[str, Renamed]:
    """What has been renamed, by the old names.

    Args:
        command: whose own settings are meant; None: the settings of ``Search`` and ``Sweep``.
    """
    return {each.old: each for each in RENAMED if each.command == command}


def old_fields(section: str) -> Callable[[type[T]], type[T]]:
    """Let a class of settings take old names of its fields, with a FutureWarning.

    Args:
        section: of the settings, with a dot at its end; empty for ``Search`` itself.

    Returns:
        a decorator, which gives the class another ``__init__``.
    """

    def decorate(cls: type[T]) -> type[T]:
        original: Any = cls.__init__

        @wraps(original)
        def initialize(self: T, *values: Any, **named: Any) -> None:
            present = dict(_present(named, section, None))
            if isinstance(self, Settings):
                given = self.given - named.keys() | present.keys()
                object.__setattr__(self, "_given", frozenset(given))
            original(self, *values, **present)

        setattr(cls, "__init__", initialize)  # noqa: B010 (mypy refuses the assignment)
        return cls

    return decorate


def old_arguments(command: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take old names of its arguments, with a FutureWarning.

    Args:
        command: that the entries of RENAMED name.

    Returns:
        a decorator.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*values: P.args, **named: P.kwargs) -> R:
            present: Any = dict(_present(named, "", command))
            return function(*values, **present)

        return call

    return decorate


def _present(
    named: Mapping[str, Any], section: str, command: str | None
) -> Iterator[tuple[str, Any]]:
    """Arguments by their present names; a warning for each other name, once.

    Args:
        named: what a user passed.
        section: of the names.
        command: as in ``renamed_settings``.
    """
    renamed = renamed_settings(command)
    for name, value in named.items():
        entry = renamed.get(f"{section}{name}")
        if entry is None:
            yield name, value
            continue
        if entry not in _WARNED:
            _WARNED.add(entry)
            warnings.warn(entry.notice, FutureWarning, stacklevel=3)
        if entry.new is not None:
            yield entry.new.removeprefix(section), value


_WARNED: set[Renamed] = set()
"""Entries that this process has warned about."""
