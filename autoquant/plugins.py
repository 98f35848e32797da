"""Plugins: modules with a user's own extensions, and objects that settings name by import paths.

An extension registers itself when its module is imported, as in ``@autoquant.task.task("walks")``.
The command line imports plugins before it runs; Python users import their module themselves.
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from autoquant.errors import UserError, first_line, shown

VARIABLE = "AUTOQUANT_PLUGINS"
"""Environment variable with the names of modules, separated by commas."""
ENTRY_POINTS = "autoquant.plugins"
"""Group of the entry points by which an installed package names its modules."""


class ExtensionNames(list[str]):
    """The values of a setting that extensions add to: those that are built in first."""

    def register(self, name: str) -> None:
        """Add the name of an extension, once.

        Args:
            name: by which the setting selects it.
        """
        if name not in self:
            self.append(name)

    def allows(self, value: object) -> bool:
        """Whether a value is one of the names, or has the form of an import path.

        Args:
            value: of the setting; whether a path names something is found out when it is used.
        """
        return value in self or (isinstance(value, str) and "." in value)


def load_plugins() -> None:
    """Import the modules that ``AUTOQUANT_PLUGINS`` and installed packages name.

    ``AUTOQUANT_PLUGINS=mymodule,other`` names modules of the current folder or of any installed
    package. A package names its own by entry points of the group ``autoquant.plugins``.

    Raises:
        UserError: a module cannot be imported; the message has its name and the reason.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if names:
        add_current_folder()
    for name in names:
        requirement = f"{VARIABLE} must name modules that can be imported"
        _load(requirement, name, partial(import_module, name))
    for entry_point in entry_points(group=ENTRY_POINTS):
        requirement = f"the entry point {entry_point.name!r} of {ENTRY_POINTS} must be importable"
        _load(requirement, entry_point.value, entry_point.load)


def add_current_folder() -> None:
    """Let Python find modules of the current folder, after all others."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def _load(requirement: str, name: str, load: Callable[[], object]) -> None:
    """Import a module; its errors become a UserError.

    Args:
        requirement: what must hold, for the message.
        name: of the module.
        load: imports it.
    """
    try:
        load()
    except Exception as error:
        raise UserError(f"{requirement}, got {shown(name)}: {first_line(error)}") from error


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
    raise UserError(f"{requirement}, got {shown(path)}")


def resolve_callable(path: str, requirement: str) -> Any:
    """The class or function that an import path in a setting names.

    Args:
        path: such as "mymodule.my_sampler".
        requirement: what must hold, for the message.

    Raises:
        UserError: it cannot be imported, or cannot be called.
    """
    try:
        resolved = resolve_path(path, requirement)
    except ImportError as error:
        raise UserError(f"{requirement}, got {shown(path)}: {error}") from error
    if not callable(resolved):
        raise UserError(f"{requirement}, got {shown(path)}")
    return resolved
