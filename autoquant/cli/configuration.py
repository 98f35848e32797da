"""The configuration of a command, composed by Hydra, and the settings that it holds."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from autoquant.cli.error_messages import explain, print_error
from autoquant.cli.overrides import MULTIRUN
from autoquant.errors import UserError, first_line
from autoquant.settings import Search, Sweep, from_dict

if TYPE_CHECKING:
    from omegaconf import DictConfig

NOT_OF_SEARCH = {"task", "study", "artifact", "split", "sweep"}
"""Parts of a configuration that are not settings of ``Search``."""


def run_with_configuration(name: str, run: Callable[[DictConfig], None]) -> None:
    """Let Hydra parse ``sys.argv`` and call a function with the configuration.

    With ``-m`` the function is called several times; an error of one call does not stop the next.

    Args:
        name: of the configuration in conf/, which is also the name of the command.
        run: the function.
    """
    import hydra
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("named", _folder_name, replace=True)
    errors: list[BaseException] = []

    def job(config: DictConfig) -> None:
        if errors and isinstance(errors[-1], KeyboardInterrupt):
            return  # no further run after the one that was stopped
        try:
            run(config)
        except BaseException as error:  # Hydra would print it
            errors.append(error)

    # a plugin's task may have a file of its name: Hydra merges the two, and warns of it
    warnings.filterwarnings("ignore", r"\s*'task/.*' is validated against ConfigStore schema")
    options = {"version_base": "1.3", "config_path": "pkg://autoquant.conf", "config_name": name}
    with TemporaryDirectory() as folder:
        if MULTIRUN & set(sys.argv):
            sys.argv.append(f"hydra.sweep.dir={folder}")  # Hydra writes a multirun.yaml there
        try:
            hydra.main(**options)(job)()
        except (ValueError, KeyError, RecursionError) as error:  # of Hydra, before the command ran
            raise UserError(first_line(error)) from error
    for earlier in errors[:-1]:
        print_error(explain(earlier)[1])
    if errors:
        raise errors[-1]


def _folder_name(choices: DictConfig) -> str:
    """The name of a task in default folders, with the model if it is not the task's default.

    Args:
        choices: the options of the groups ``task`` and ``model``, as Hydra has chosen them.
    """
    import hydra

    task, model = choices.get("task"), choices.get("model")
    if model is None:
        return f"{task}"
    defaults = hydra.compose("profile", [f"task={task}"], return_hydra_config=True)
    return f"{task}" if model == defaults.hydra.runtime.choices["model"] else f"{task}-{model}"


def search_settings(config: DictConfig) -> Search:
    """The search settings of a configuration.

    Args:
        config: of a command that has them.

    Raises:
        UserError: a value is refused.
    """
    values = {name: value for name, value in _plain(config).items() if name not in NOT_OF_SEARCH}
    return from_dict(Search, values)


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
