"""The defaults in use for the task, the model and the quantizer that a help page is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoquant.cli.arguments import check_folder, folders_in
from autoquant.cli.overrides import GROUPS, to_overrides
from autoquant.cli.task_texts import task_texts
from autoquant.settings import Search, settings_for

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class TaskSetting:
    """A setting of a task, such as ``task.hidden``.

    Attributes:
        value: its default; ``command_table.REQUIRED`` where it must be given.
        text: what it means; empty where that is not known.
    """

    value: Any
    text: str


@dataclass(frozen=True)
class Defaults:
    """What a command would use if nothing but options of groups were given.

    Attributes:
        task: name of the task.
        settings: values of the fields of ``Search``; sections are mappings.
        task_settings: of the task, by their full names.
    """

    task: str
    settings: Mapping[str, Any]
    task_settings: Mapping[str, TaskSetting]

    def __getitem__(self, name: str) -> Any:
        """The value of a setting of ``Search``.

        Args:
            name: its full name, such as "qat.lr".
        """
        section, _, field = name.partition(".")
        return self.settings[section][field] if field else self.settings[section]


def defaults_for(command: str, arguments: Sequence[str]) -> Defaults:
    """Compose a command's configuration for the options of groups among its arguments.

    Plugins are imported only for a task that is not autoquant's own.

    Args:
        command: its name.
        arguments: what was typed after it; other settings are ignored.

    Raises:
        UserError: the folder of ``--config-dir`` is not there, or a plugin cannot be imported.
    """
    from autoquant.cli.configuration import fill

    folders = [Path(str(files("autoquant.conf"))), *_own_folders(arguments)]
    groups = [argument for argument in arguments if argument.partition("=")[0] in GROUPS]
    config = _composed(command, groups, folders)
    fill(config, settings_for(None))
    task: str = config.hydra.runtime.choices["task"]
    texts = task_texts(task, folders)
    return Defaults(
        task,
        {each.name: _plain(config, each.name) for each in fields(Search)},
        {
            f"task.{name}": TaskSetting(value, texts.get(name, ""))
            for name, value in _leaves(_plain(config, "task"))
        },
    )


def _own_folders(arguments: Sequence[str]) -> list[Path]:
    """The folder that ``--config-dir`` names, if any."""
    folders = folders_in(arguments)[:1]
    for folder in folders:
        check_folder(folder)
    return [Path(folder).resolve() for folder in folders]


def _composed(command: str, groups: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    """The configuration of a command, with Hydra's own.

    Args:
        command: its name.
        groups: options of groups, as they were typed.
        folders: of configuration files, autoquant's own first.
    """
    import hydra

    from autoquant.cli.config_files import register_source
    from autoquant.cli.schemas import register_schema, register_tasks
    from autoquant.plugins import load_plugins

    register_source()
    register_schema(command, defaults=False)
    tasks = [argument.partition("=")[2] for argument in groups if argument.startswith("task=")]
    if any(not (folders[0] / f"task/{name}.yaml").is_file() for name in tasks):
        load_plugins()
        register_tasks()
    overrides = to_overrides(groups)
    if folders[1:]:
        paths = ",".join(f'"file://{folder}"' for folder in folders[1:])
        overrides.append(f"hydra.searchpath=[{paths}]")
    with hydra.initialize_config_module("autoquant.conf", version_base="1.3"):
        return hydra.compose(command, overrides, return_hydra_config=True)


def _plain(config: DictConfig, name: str) -> Any:
    """A part of a configuration as plain values.

    Args:
        config: the complete one, to which references are resolved.
        name: of the part.
    """
    from omegaconf import OmegaConf

    value = config[name]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, by keys with dots; ``_target_`` and the like are left out.

    Args:
        tree: the arguments of a task.
        prefix: of the keys.
    """
    for key, value in tree.items():
        if str(key).startswith("_"):
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
