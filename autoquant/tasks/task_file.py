"""TaskFile: what ``conf/task/NAME.yaml`` says of a ready task, for the command line and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from autoquant.settings import Search, from_dict
from autoquant.yaml_text import read_yaml

REQUIRED = "???"
"""Value of an argument that must be given."""


@dataclass(frozen=True)
class TaskFile:
    """The defaults of a ready task.

    Attributes:
        arguments: of the function that builds the task, by their names; those that must be given
            are left out.
        preferred: the settings that suit the task.
    """

    arguments: Mapping[str, Any]
    preferred: Search

    def options(self, *named: str) -> dict[str, Any]:
        """The arguments that a function takes by ``**options``, ``preferred`` among them.

        Args:
            named: arguments that the function names itself.
        """
        others = {name: value for name, value in self.arguments.items() if name not in named}
        return {"preferred": self.preferred, **others}


@cache
def task_file(name: str) -> TaskFile:
    """The file of a ready task, merged with the file of its default model.

    Args:
        name: of a file in conf/task, without its ending.
    """
    content = _read("task", name)
    groups = {key: value for entry in content.pop("defaults") for key, value in _groups(entry)}
    for group, option in groups.items():
        if option == "${model}":  # the folder of the task's models
            content = _merged(content, _read(group, groups["model"]))
    task = content.pop("task")
    arguments = {
        key: value for key, value in task.items() if key != "_target_" and value != REQUIRED
    }
    return TaskFile(arguments, from_dict(Search, content))


def _groups(entry: Any) -> list[tuple[str, str]]:
    """An entry of a list of defaults: a group and the option that is chosen; none for _self_."""
    pairs = entry.items() if isinstance(entry, Mapping) else ()
    return [(key.removeprefix("optional ").removeprefix("/"), value) for key, value in pairs]


def _read(group: str, option: str) -> dict[str, Any]:
    """The content of a file of autoquant's own configuration."""
    path = files("autoquant.conf").joinpath(*group.split("/"), f"{option}.yaml")
    content: dict[str, Any] = read_yaml(path.read_bytes())
    return content


def _merged(content: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings with the values of others, where these have any."""
    merged = {**content, **over}
    for key in content.keys() & over.keys():
        if isinstance(content[key], Mapping):
            merged[key] = _merged(content[key], over[key])
    return merged
