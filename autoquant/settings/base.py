"""Settings: the base of classes of settings, which remember the fields that were given."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self


class Settings:
    """Settings that remember which of their fields were passed to the constructor.

    A task may prefer other values for the fields that were not (see ``settings_for``); a field that
    was passed counts, with the value of its default too. Copies and pickles keep the record. It
    takes no part in comparisons, the hash, the repr and ``asdict``.

    ``dataclasses.replace`` passes all fields to the constructor; ``changed`` makes a changed copy
    that keeps the record.
    """

    _given: frozenset[str]

    def __new__(cls, *values: Any, **named: Any) -> Self:
        settings = super().__new__(cls)
        names = [each.name for each in fields(cls)]  # type: ignore[arg-type]
        object.__setattr__(settings, "_given", frozenset((*names[: len(values)], *named)))
        return settings

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that were passed to the constructor, or to ``changed``."""
        return self._given

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, which count as given; fields that were not given stay so.

        Args:
            changes: new values by the names of the fields; a section is replaced as a whole.

        Raises:
            UserError: a value is refused.
        """
        copy: Self = replace(self, **changes)  # type: ignore[type-var]
        object.__setattr__(copy, "_given", self._given | changes.keys())
        return copy

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, sections as mappings; other values as they are, not copied."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]
        return {
            name: value.to_dict() if isinstance(value, Settings) else value
            for name, value in values.items()
        }
