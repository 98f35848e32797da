"""Checks of the values that settings are given."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from typing import Any

from autoquant.budget import Budget
from autoquant.errors import UserError, shown
from autoquant.plan import LayerChoice


def require(condition: bool, requirement: str, came: object, write: str = "") -> None:
    """Raise a UserError that says what must hold, then what came.

    Args:
        condition: what must be true.
        requirement: the condition in words, as in "lr must be above 0".
        came: the value that was given.
        write: what to write instead, if anything can be proposed.

    Raises:
        UserError: the condition is false.
    """
    if not condition:
        raise UserError(f"{requirement}, got {shown(came)}{write and f'; write {write}'}")


_NUMBERS: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (Integral,)),
    "int | None": ("a whole number", (Integral, type(None))),
    "float": ("a number", (Real,)),
    "float | None": ("a number", (Real, type(None))),
    "float | str": ("a number or a text", (Real, str)),
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
            write = f"{each.name}={constructed(section, value)}"
            require(isinstance(value, section), requirement, value, write)


def constructed(cls: type, value: object) -> str:
    """What to write for an instance of a class of settings.

    Args:
        cls: the class.
        value: what came instead; the entries of a mapping are meant as fields.
    """
    named = isinstance(value, Mapping) and value and all(str(key).isidentifier() for key in value)
    entries = value.items() if named else ()  # type: ignore[attr-defined]
    arguments = ", ".join(f"{key}={shown(entry)}" for key, entry in entries)
    return f"aq.{cls.__name__}({arguments or '...'})"


def checked_list(name: str, value: Any) -> tuple[Any, ...]:
    """A list as a tuple.

    Args:
        name: of the setting, with its section.
        value: of the setting.

    Raises:
        UserError: it is something else.
    """
    single = isinstance(value, Real | str) and not isinstance(value, bool)
    write = f"{name.rpartition('.')[2]}=[{shown(value)}]" if single else ""
    require(isinstance(value, list | tuple), f"{name} must be a list", value, write)
    return tuple(value)


def checked_budget(name: str, value: Any, write: str = "") -> str:
    """A budget as a text that ``Budget.parse`` reads.

    Args:
        name: of the setting.
        value: of the setting; a Budget of bytes is taken too.
        write: what stands before the value in the proposal of an error, as in "budget=".

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, Budget) and value.cost == "size":
        return str(value)
    requirement = f"{name} must be a text such as '0.15x', '2.5MB' or '4.5bpw'"
    share = 0.0 if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    proposed = f"{write}'{share:.15g}x'" if 0 < share <= 1 else ""
    require(isinstance(value, str), requirement, value, proposed)
    Budget.parse(value)
    return str(value)


def checked_budgets(value: Any) -> str | tuple[str, ...]:
    """One budget as a text, or several as a tuple of texts.

    Args:
        value: of the setting ``budget``.

    Raises:
        UserError: it is something else, or names a budget twice.
    """
    if not isinstance(value, list | tuple):
        return checked_budget("budget", value, "budget=")
    require(len(value) > 0, "budget must be a budget or a list of them", list(value))
    budgets = tuple(checked_budget("budget", budget) for budget in value)
    require(len({*budgets}) == len(budgets), "budget must name each budget once", list(value))
    return budgets if len(budgets) > 1 else budgets[0]


def checked_loss(value: Any) -> str:
    """A loss against the float model as a text: empty, a share such as "1%", or a number.

    Args:
        value: of the setting ``loss``.

    Raises:
        UserError: it is something else.
    """
    requirement = "loss must be a share such as '1%', or a number that is not negative"
    number = isinstance(value, Real) and not isinstance(value, bool)
    require(isinstance(value, str) or number, requirement, value)
    text = str(value).strip()
    if text:
        try:
            amount = float(text.removesuffix("%"))
        except ValueError:
            amount = -1.0
        require(0 <= amount < math.inf, requirement, value)
    return text


def checked_device(value: Any) -> str:
    """A device as a text; whether torch has it here is found out when it is used.

    Args:
        value: a text, or a torch.device.

    Raises:
        UserError: it is something else.
    """
    is_torch_s = (type(value).__module__, type(value).__name__) == ("torch", "device")
    requirement = "device must be a text such as 'cpu' or 'cuda:0', or a torch.device"
    require(isinstance(value, str) or is_torch_s, requirement, value)
    return str(value)


def plain_number(value: Any) -> Any:
    """A number of numpy's as one of Python's, which YAML can hold."""
    if value is None or isinstance(value, bool | int | float | str):
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
        return checked_path("pretrained", value)
    state = isinstance(value, Mapping) or callable(getattr(value, "state_dict", None))
    requirement = "pretrained must be a path, a module or a state_dict"
    require(value is None or (state and not isinstance(value, type)), requirement, value)
    return value
