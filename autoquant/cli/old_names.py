"""Old names of settings on the command line and in a user's configuration files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoquant.settings.renamed import Renamed, renamed_settings


def with_present_names(arguments: Sequence[str], command: str) -> list[str]:
    """The arguments of a command by their present names; one line on stderr for each other name.

    Args:
        arguments: ``key=value`` and options.
        command: its name.
    """
    renamed = renamed_settings(None) | renamed_settings(command)
    return [each for argument in arguments for each in _renamed(argument, renamed)]


def _renamed(argument: str, renamed: Mapping[str, Renamed]) -> Iterator[str]:
    """An argument by its present name; nothing where it has no effect any more.

    Args:
        argument: ``key=value`` or an option.
        renamed: what has another name now, by the old names.
    """
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if not equals or name not in renamed:
        yield argument
        return
    entry = renamed[name]
    _tell(entry)
    if entry.new is not None:
        yield f"{key.removesuffix(name)}{entry.new}{equals}{value}"


def rename_in(config: Any) -> None:
    """Give the settings of a configuration file their present names, with the same lines.

    Args:
        config: of a file, a ``DictConfig``; changed in place.
    """
    from omegaconf import DictConfig, OmegaConf, open_dict

    for old, entry in renamed_settings(None).items():
        section, _, name = old.rpartition(".")
        holder = OmegaConf.select(config, section) if section else config
        if not isinstance(holder, DictConfig) or name not in holder:
            continue
        _tell(entry)
        with open_dict(config):
            value = holder.pop(name)
            if entry.new is not None:
                OmegaConf.update(config, entry.new, value)


def _tell(entry: Renamed) -> None:
    print(f"autoquant: {entry.notice}", file=sys.stderr)
