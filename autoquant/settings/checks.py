"""Checks of the values that settings are given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

from autoquant.errors import UserError, shown
from autoquant.plan import LayerChoice


def require(condition: bool, requirement: str, came: object) -> None:
    """Raise a UserError that says what must hold, then what came.

    Args:
        condition: what must be true.
        requirement: the condition in words, as in "lr must be above 0".
        came: the value that was given.

    Raises:
        UserError: the condition is false.
    """
    if not condition:
        raise UserError(f"{requirement}, got {shown(came)}")


_NUMBERS: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (Integral,)),
    "int | None": ("a whole number", (Integral, type(None))),
    "float": ("a number", (Real,)),
    "bool": ("true or false", (bool,)),
}
"""What a value must be, in words and as types, by the annotation of its field."""


def check_types(settings: Any, where: str = "") -> None:
    """Raise a UserError where a number, a switch or a section of settings has another type.

    Args:
        settings: an instance of a class of settings.
        where: section of the settings, with a dot at its end, for errors.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        if str(each.type) in _NUMBERS:
            words, types = _NUMBERS[str(each.type)]
            right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
            require(right, f"{where}{each.name} must be {words}", value)
            object.__setattr__(settings, each.name, plain_number(value))
        elif is_dataclass(each.default):
            section = type(each.default)
            requirement = f"{where}{each.name} must be an autoquant.{section.__name__}"
            require(isinstance(value, section), requirement, value)


def plain_number(value: Any) -> Any:
    """A number of numpy's as one of Python's, which YAML can hold."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def checked_path(name: str, value: Any) -> str:
    """A path as a text.

    Args:
        name: of the setting, for errors.
        value: of the setting.
    """
    require(isinstance(value, str | os.PathLike), f"{name} must be a path", value)
    return str(os.fspath(value))


def check_choices(where: str, name: str, values: tuple[Any, ...]) -> None:
    """Raise a UserError where a value is not allowed.

    Args:
        where: section of the settings, for errors.
        name: field of LayerChoice.
        values: what the field may be.
    """
    for value in values:
        require(value is not None, f"{where}: {name} must be a number", value)
        try:
            LayerChoice(**{name: value})
        except UserError as error:
            raise UserError(f"{where}: {error}") from error


def rising(where: str, name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """Choices as they must be: at least one, each allowed, in rising order.

    Args:
        where: section of the settings, for errors.
        name: field of LayerChoice.
        values: what the field may be.
    """
    require(len(values) > 0, f"{where}.{name} must have a choice", list(values))
    check_choices(where, name, tuple(values))
    rising = list(values) == sorted(set(values))
    require(rising, f"{where}.{name} must rise", list(values))
    return tuple(values)


def checked_weights(value: Any) -> Any:
    """What ``pretrained`` may be: a path as a text, a mapping or a module as it is, or None.

    Args:
        value: of the setting.

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, str | os.PathLike):
        return str(os.fspath(value))
    state = isinstance(value, Mapping) or callable(getattr(value, "state_dict", None))
    requirement = "pretrained must be a path, a module or a state_dict"
    require(value is None or (state and not isinstance(value, type)), requirement, value)
    return value
