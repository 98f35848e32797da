"""The settings in use: what the user gave, then what the task prefers, then the defaults."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar

from autoquant.settings.base import Settings
from autoquant.settings.checks import constructed, require
from autoquant.settings.search_settings import Search

S = TypeVar("S", bound=Settings)


def settings_for(task: object, settings: Search | None = None) -> Search:
    """The full settings of a search for a task.

    Each field, those of the sections too, has the value that was given in ``settings``; else that
    which was given in ``task.preferred`` (see ``autoquant.task.PrefersSettings``); else the default
    of ``Search``. ``epochs`` and ``steps`` are one choice: where a training's epochs are given and
    its steps are not, the steps are None. ``rules`` are one field.

    Args:
        task: that the settings are for.
        settings: what the user gave; nothing when None.

    Returns:
        settings of which every field counts as given, so that a second call changes nothing.

    Raises:
        UserError: ``settings`` or ``task.preferred`` is something else, or values that come from
            different places do not go together.
    """
    settings = Search() if settings is None else settings
    check_search(settings)
    preferred = getattr(task, "preferred", None)
    preferred = Search() if preferred is None else preferred
    requirement = "the task's preferred must be an autoquant.Search or None"
    write = constructed(Search, preferred)
    require(isinstance(preferred, Search), requirement, preferred, write)
    return _filled(settings, _filled(preferred, Search()))


def check_search(settings: object) -> None:
    """Raise a UserError where settings are not a ``Search``.

    Args:
        settings: what a user gives as settings.

    Raises:
        UserError: they are something else.
    """
    requirement = "settings must be an autoquant.Search"
    require(isinstance(settings, Search), requirement, settings, constructed(Search, settings))


def default_of(defaults: Settings, name: str, given: Collection[str]) -> Any:
    """The value of a field that was not given.

    Args:
        defaults: settings, or a section, with the values that such fields have.
        name: of the field.
        given: names of the fields of the same section that were given.
    """
    length_is_given = name == "steps" and "epochs" in given
    return None if length_is_given else getattr(defaults, name)


def combined(settings: S, others: S) -> S:
    """What was given in one or the other; the rest still counts as not given.

    Args:
        settings: whose values count where both give one.
        others: of the same class.
    """
    values: dict[str, Any] = {}
    for name in settings.given | others.given:
        value, other = getattr(settings, name), getattr(others, name)
        if name not in settings.given:
            if not (name == "steps" and "epochs" in settings.given):
                values[name] = other
        elif isinstance(value, Settings) and name in others.given:
            values[name] = combined(value, other)
        else:
            values[name] = value
    return type(settings)(**values)


def _filled(settings: S, defaults: S) -> S:
    """Settings with the values of others in all fields that were not given."""
    values: dict[str, Any] = {}
    for each in fields(settings):  # type: ignore[arg-type]
        value, default = getattr(settings, each.name), getattr(defaults, each.name)
        is_given = each.name in settings.given
        if isinstance(default, Settings):
            values[each.name] = _filled(value if is_given else type(default)(), default)
        else:
            other = default_of(defaults, each.name, settings.given)
            values[each.name] = value if is_given else other
    return type(settings)(**values)
