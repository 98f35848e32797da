"""What the settings of a task mean: by the comments of its file, or by its docstring."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoquant.cli.docstring_entries import entries_of
from autoquant.reading import read_file
from autoquant.task import TASKS
from autoquant.yaml_text import MAX_YAML_BYTES, read_yaml

_SETTING = re.compile(r"  (\w+):[^#]*(?:#\s*(.*))?")
"""A setting in the section ``task`` of a file, and the comment behind its value."""
_CONTINUED = re.compile(r"      +#\s*(.*)")
"""The rest of a comment, on a line of its own."""


def task_texts(name: str, folders: Sequence[Path]) -> dict[str, str]:
    """The meanings of a task's settings, by their names, as far as they are known.

    Nothing is imported: only a plugin that was imported before has a docstring here.

    Args:
        name: of the task.
        folders: of configuration files; a later one counts more.
    """
    comments: dict[str, str] = {}
    names = [name]
    for extended in names:  # which grows by the tasks that these extend
        for file in (folder / f"task/{extended}.yaml" for folder in reversed(folders)):
            if file.is_file():
                text = read_file(file, MAX_YAML_BYTES)
                comments = _comments(text) | comments
                names += [each for each in extended_tasks(text) if each not in names]
    return _docstring_texts(name) | comments


def _docstring_texts(name: str) -> dict[str, str]:
    """What the docstring of a registered class or function says of its arguments."""
    factory = TASKS.get(name)
    if not isinstance(factory, type):
        return entries_of(factory, "Args")
    return entries_of(factory, "Args") | entries_of(vars(factory).get("__init__"), "Args")


def extended_tasks(text: str) -> list[str]:
    """The tasks that a file extends, by ``/task/NAME`` in its list of defaults."""
    content: Any = read_yaml(text)
    defaults = content.get("defaults") if isinstance(content, Mapping) else None
    entries = defaults if isinstance(defaults, list) else []
    return [
        entry.removeprefix("/task/")
        for entry in entries
        if isinstance(entry, str) and entry.startswith("/task/")
    ]


def _comments(text: str) -> dict[str, str]:
    """The comments in the section ``task`` of a file, by the settings that they stand behind."""
    comments: dict[str, list[str]] = {}
    inside, name = False, ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            inside = line.startswith("task:")
        elif inside and (found := _SETTING.fullmatch(line)):
            name = found[1]
            comments[name] = [found[2] or ""]
        elif inside and name and (found := _CONTINUED.fullmatch(line)):
            comments[name].append(found[1])
        else:
            name = ""
    return {name: " ".join(lines) for name, lines in comments.items() if any(lines)}
