"""What Hydra must know of the package: the schema of a command, and the tasks of plugins."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from functools import cache, partial
from importlib.resources import files
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from autoquant.cli.command_table import COMMANDS, REQUIRED, Command
from autoquant.errors import UserError, shown
from autoquant.settings import Search, given_values
from autoquant.task import PREFERRED, TASKS


def register_schema(command: str, *, defaults: bool) -> None:
    """Store the types and defaults of a command's settings, by which Hydra checks values.

    Args:
        command: its name.
        defaults: whether settings of ``Search`` have the values of the class where nothing is
            given; else such settings are missing, and ``configuration.filled`` fills them once the
            task is known.
    """
    ConfigStore.instance().store(name=f"{command}_schema", node=_typed(command, defaults))


@cache
def _typed(command: str, defaults: bool) -> Any:
    """What OmegaConf makes of the types and defaults of a command's settings; see above."""
    search = _filled_by_hydra(Search, None if defaults else REQUIRED)
    return OmegaConf.structured(_schema(command, COMMANDS[command], search))


def register_tasks() -> None:
    """Store each task that a plugin has registered as an option of the group ``task``.

    Raises:
        UserError: a task has the name of a task of conf/.
    """
    for name, factory in TASKS.items():
        if factory.__module__.startswith("autoquant."):  # conf/task/ has a file for it
            continue
        if (files("autoquant.conf") / "task" / f"{name}.yaml").is_file():
            raise UserError(
                f"@task must have a name that autoquant does not use, got {shown(name)}"
            )
        origin = {"_target_": f"{factory.__module__}.{factory.__qualname__}", **_arguments(factory)}
        preferred = given_values(PREFERRED[name]) if name in PREFERRED else {}
        store = ConfigStore.instance().store
        store(name=name, node={"task": origin} | preferred, group="task", package="_global_")


def _arguments(factory: Callable[..., Any]) -> dict[str, Any]:
    """Arguments that a configuration can set, with their defaults."""
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            if parameter.default is parameter.empty:
                arguments[name] = REQUIRED
            elif _fits_yaml(parameter.default):
                arguments[name] = parameter.default
    return arguments


def _fits_yaml(value: object) -> bool:
    """Whether a configuration can hold a value."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _fits_yaml(entry) for key, entry in value.items())
    if isinstance(value, list | tuple):
        return all(map(_fits_yaml, value))
    return value is None or isinstance(value, bool | int | float | str)


def _schema(name: str, command: Command, search: type) -> type:
    """The class of a command's configuration.

    Args:
        name: of the command.
        command: its entry in the table of commands.
        search: the class of the search settings.
    """
    settings: list[Any] = [
        (key, setting.type, field(default=setting.default))
        for key, setting in command.settings.items()
        if setting.type is not None
    ]
    for key, section in command.sections.items():
        filled = _filled_by_hydra(section)
        settings.append((key, filled, field(default_factory=filled)))
    bases = (search,) if command.takes_search else ()
    return make_dataclass(f"{name.title()}Config", settings, bases=bases)


def _checked_by_hydra(kind: Any) -> Any:
    """A type as OmegaConf can check it: a union with a list in it is left to the settings."""
    return (
        Any
        if any(get_origin(each) for each in get_args(kind) if isinstance(kind, UnionType))
        else kind
    )


def _filled_by_hydra(settings: type, missing: str | None = None) -> type:
    """A copy of a settings class that is not frozen, as OmegaConf needs it.

    Args:
        settings: the class.
        missing: what every setting has instead of its default; None for the default.
    """
    hints = get_type_hints(settings)
    copies: list[Any] = []
    for setting in fields(settings):
        default: Any = field(default=missing)
        kind = _checked_by_hydra(hints[setting.name])
        if is_dataclass(setting.default):
            kind = _filled_by_hydra(type(setting.default), missing)
            values = {each.name: getattr(setting.default, each.name) for each in fields(kind)}
            default = field(default_factory=kind if missing else partial(kind, **values))
        elif setting.default is MISSING:  # a mapping; OmegaConf does not check its keys
            kind = dict[Any, Any]
            default = default if missing else field(default_factory=dict)
        elif not missing:
            default = field(default=setting.default)
        copies.append((setting.name, kind, default))
    return make_dataclass(settings.__name__, copies)
