"""The configuration of a command, composed by Hydra, and the settings that it holds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from autoquant.errors import UserError
from autoquant.settings import (
    Search,
    Settings,
    Sweep,
    default_of,
    from_dict,
    given_values,
    plain_value,
    settings_for,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

NOT_OF_SEARCH = {"task", "study", "artifact", "split", "sweep"}
"""Parts of a configuration that are not settings of ``Search``."""


def register_resolvers() -> None:
    """Let Hydra compute the default names of folders."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("named", _folder_name, replace=True)
    OmegaConf.register_new_resolver("joined", _joined, replace=True)


def _joined(budget: Any) -> str:
    """One budget or several as a part of a folder's name."""
    return (
        "-".join(map(str, budget))
        if isinstance(budget, Sequence) and not isinstance(budget, str)
        else str(budget)
    )


def _folder_name(choices: DictConfig) -> str:
    """The name of a task in default folders, with the model if it is not the task's default.

    Args:
        choices: the options of the groups ``task`` and ``model``, as Hydra has chosen them.
    """
    from hydra.core.global_hydra import GlobalHydra

    task, model = choices.get("task"), choices.get("model")
    if model is None:
        return f"{task}"
    search_path = str(GlobalHydra.instance().config_loader().get_search_path())
    return f"{task}" if model == _default_model(task, search_path) else f"{task}-{model}"


@lru_cache  # a command reads the name of its folder several times
def _default_model(task: str, search_path: str) -> str:
    """The model that a task has where none is given.

    Args:
        task: its name.
        search_path: of Hydra, in which the task is found.
    """
    import hydra

    from autoquant.cli.schemas import register_schema

    register_schema("profile", defaults=False)
    defaults = hydra.compose("profile", [f"task={task}"], return_hydra_config=True)
    return str(defaults.hydra.runtime.choices["model"])


def filled(config: DictConfig, task: object = None) -> DictConfig:
    """A configuration with a value for every setting that was not given.

    Args:
        config: composed for a command, without defaults of ``Search``.
        task: whose preferred settings are used; the defaults where it has none, or when None.

    Raises:
        UserError: the task's preferred settings are no ``Search``.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    copied, values = deepcopy(config), settings_for(task)
    typed: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    if any(override.startswith("quantizer=") for override in typed):
        values = values.changed(quantizer=settings_for(None).quantizer)  # lsq: its file is empty
    fill(copied, values)
    return copied


def fill(section: DictConfig, defaults: Settings) -> None:
    """Give a section of a configuration the values that it misses.

    Args:
        section: of the configuration; settings that refer to others have a value.
        defaults: settings of which all fields are given.
    """
    from omegaconf import OmegaConf

    names = [name for name in given_values(defaults) if OmegaConf.is_missing(section, name)]
    given = [name for name in given_values(defaults) if name not in names]
    for name in names:
        section[name] = plain_value(default_of(defaults, name, given))
    for name in given:
        inner = getattr(defaults, name)
        if isinstance(inner, Settings) and not OmegaConf.is_interpolation(section, name):
            fill(section[name], inner)


def search_settings(config: DictConfig, without: Collection[str] = ()) -> Search:
    """The search settings of a configuration.

    Args:
        config: of a command that has them, ``filled``.
        without: sections that are left out, and have their defaults.

    Raises:
        UserError: a value is refused.
    """
    left_out = {*NOT_OF_SEARCH, *without}
    return from_dict(Search, {k: value for k, value in _plain(config).items() if k not in left_out})


def sweep_settings(config: DictConfig) -> Sweep:
    """The settings of a sweep, from the section ``sweep``.

    Args:
        config: of the command ``sweep``.

    Raises:
        UserError: a value is refused.
    """
    return from_dict(Sweep, _plain(config.sweep), "sweep.")


def task_config(config: DictConfig) -> dict[str, Any]:
    """The section ``task`` as plain values: ``_target_`` and its arguments.

    Args:
        config: of a command that has a task.

    Raises:
        UserError: no task is given.
    """
    origin = _plain(config)["task"]
    if origin is None:
        raise UserError("task must be given, as in task=stdlib")
    return dict(origin)


def _plain(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain values; references are resolved."""
    from omegaconf import OmegaConf

    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return dict(values)
