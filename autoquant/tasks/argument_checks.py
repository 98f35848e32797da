"""Checks of what ready tasks and their models are given."""

from __future__ import annotations

from autoquant.errors import UserError, shown


def check_whole(least: int, **values: object) -> None:
    """Raise a UserError where a value is no whole number.

    Args:
        least: the smallest one that is allowed.
        values: by the names of the arguments.

    Raises:
        UserError: see above.
    """
    for name, value in values.items():
        if type(value) is not int or value < least:
            raise UserError(f"{name} must be a whole number from {least} up, got {shown(value)}")


def check_flags(**values: object) -> None:
    """Raise a UserError where a value is neither true nor false.

    Args:
        values: by the names of the arguments.

    Raises:
        UserError: see above.
    """
    for name, value in values.items():
        if type(value) is not bool:
            raise UserError(f"{name} must be true or false, got {shown(value)}")
