"""What docstrings of the Google style say of arguments and attributes, for the help."""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"    (\w+)(?: \([^)]*\))?:(.*)")
"""The first line of an entry: its name, a type in parentheses that may be there, its text."""


def entries_of(documented: object, section: str) -> dict[str, str]:
    """The texts of one section of a docstring, by the names that they explain.

    Args:
        documented: a class or a function.
        section: such as "Attributes" or "Args".

    Returns:
        each text on one line; nothing where there is no such section.
    """
    entries: dict[str, list[str]] = {}
    inside, name = False, ""
    for line in (inspect.getdoc(documented) or "").splitlines():
        if line and not line.startswith(" "):  # the title of a section, or prose
            inside = line.strip() == f"{section}:"
        elif inside and (found := _ENTRY.fullmatch(line)):
            name = found[1]
            entries[name] = [found[2].strip()]
        elif inside and name in entries:
            entries[name].append(line.strip())
    return {name: " ".join(filter(None, lines)) for name, lines in entries.items()}
