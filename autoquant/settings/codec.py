"""Settings from plain values, as YAML or asdict give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from autoquant.errors import UserError
from autoquant.settings.base import Settings
from autoquant.settings.checks import require
from autoquant.settings.renamed import STORED
from autoquant.settings.training import Training

T = TypeVar("T")


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build settings from plain values, as YAML or asdict give them.

    Names in files of earlier versions (STORED) are read as well.

    Args:
        cls: a class of settings of this package.
        values: by the names of its fields; sections are mappings. What is left out keeps its
            default.
        where: section of the settings, with a dot at its end, for errors.

    Raises:
        UserError: a key is unknown or a value is refused.
    """
    known = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for key, value in values.items():
        present = STORED.get(f"{where}{key}", f"{where}{key}")
        if present is None:
            continue
        name = present.removeprefix(where)
        requirement = f"settings must be among {', '.join(known)}"
        require(name in known, requirement, f"{where}{name}")
        default = known[name].default
        if is_dataclass(default) and isinstance(value, Mapping):
            given[name] = from_dict(type(default), value, f"{where}{name}.")
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
    try:
        return cls(**given)
    except UserError as error:
        if cls is not Training:
            raise
        raise UserError(f"{where}{error}") from error  # a Training does not know its section


def given_values(settings: Settings) -> dict[str, Any]:
    """The fields that were given as plain values, such as ``from_dict`` takes.

    Args:
        settings: sections of theirs are mappings, again of what was given.
    """
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}  # type: ignore[arg-type]
    return {name: plain_value(value) for name, value in values.items() if name in settings.given}


def plain_value(value: Any) -> Any:
    """A value of a field as YAML can hold it; of a section, the fields that were given.

    Args:
        value: of a field.
    """
    if isinstance(value, Settings):
        return given_values(value)
    if isinstance(value, Mapping):
        return {key: plain_value(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value
