"""Functions of the user, given themselves or by their import paths."""

from __future__ import annotations

from typing import Any

from autoquant.errors import UserError, shown
from autoquant.plugins import resolve_path

CROSS_ENTROPY = "torch.nn.functional.cross_entropy"
IMPORTING = ("autoquant.tasks.supervised.SupervisedTask", "autoquant.tasks.teacher.TeacherTask")
"""Tasks whose arguments may be import paths."""
IMPORTED = ("model", "loss", "score", "unpack", "output")
"""Arguments that may be import paths; a score without a dot is the name of a ready one."""


def imported_callable(setting: str, value: Any) -> Any:
    """A callable, or what its import path names.

    Args:
        setting: name of the argument, for errors.
        value: of the argument.

    Raises:
        UserError: it is neither, or cannot be imported.
    """
    requirement = f"{setting} must be an import path such as {CROSS_ENTROPY}"
    function = resolve_path(value, requirement) if isinstance(value, str) else value
    if isinstance(function, type) and setting != "model":
        name = function.__name__
        raise UserError(f"{setting} must be a function or an instance, as {name}(), got a class")
    if not callable(function):
        raise UserError(
            f"{setting} must be something to call or its import path, got {shown(value)}"
        )
    return function
