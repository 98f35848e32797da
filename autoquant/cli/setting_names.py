"""The names of a command's settings, without Hydra: quickly enough to complete what is typed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from autoquant.cli.command_table import COMMANDS, DEVICES
from autoquant.cli.overrides import TRAININGS
from autoquant.settings import (
    GROWTH_METHODS,
    INIT_FROM,
    KERNELS,
    SAMPLERS,
    SCALES,
    SCHEME_VALUES,
    TARGET_NAMES,
    TRAINING_VALUES,
    Search,
)

VALUES: dict[str, Sequence[object]] = {
    "device": DEVICES,
    "kernel": KERNELS,
    "sampler": SAMPLERS,
    "target": TARGET_NAMES,
    "widening.method": GROWTH_METHODS,
    "sweep.init_from": INIT_FROM,
    "quantizer.scale": SCALES,
    **{f"quantizer.{name}": values for name, values in SCHEME_VALUES.items()},
    **{f"{each}.{name}": v for each in TRAININGS for name, v in TRAINING_VALUES.items()},
}
"""Values of settings of ``Search`` and ``Sweep`` that are one of several words."""


def setting_names(command: str) -> dict[str, Any]:
    """The names of a command's settings, with their types; those of tasks are left out.

    Args:
        command: its name.

    Returns:
        types by full names such as "qat.lr"; None for a type that is not known here.
    """
    described = COMMANDS[command]
    names: dict[str, Any] = {key: each.type for key, each in described.settings.items()}
    for section, settings in described.sections.items():
        names |= dict(_names(settings, f"{section}."))
    listed = {key: kind for key, kind in _names(Search) if key.split(".")[0] in described.listed}
    return names | listed


def _names(settings: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of a class and of its sections.

    Args:
        settings: a class of ``autoquant.settings``.
        prefix: of the names.
    """
    hints = get_type_hints(settings)
    for setting in fields(settings):
        if is_dataclass(setting.default):
            yield from _names(type(setting.default), f"{prefix}{setting.name}.")
        else:
            yield f"{prefix}{setting.name}", hints[setting.name]


def values_of(command: str, name: str) -> list[str]:
    """The values that a setting takes, where they can be listed.

    Args:
        command: its name.
        name: full name of the setting.
    """
    own = COMMANDS[command].settings.get(name)
    if own is not None and own.values:
        return [*own.values]
    if _is_boolean(setting_names(command).get(name)):
        return ["true", "false"]
    return [str(value) for value in VALUES.get(name, ())]


def _is_boolean(kind: Any) -> bool:
    return kind is bool or bool in get_args(kind)
