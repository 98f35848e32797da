"""SettingRow: every setting of a study beside its default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from autoquant.settings import Search, Sweep

TASK = "task"


@dataclass(frozen=True)
class SettingRow:
    """A setting.

    Attributes:
        name: with the sections that it is in.
        value: for people.
        default: of this version; None where the setting is of a task.
    """

    name: str
    value: str
    default: str | None

    @property
    def differs(self) -> bool:
        """Whether the value is another one than the default."""
        return self.default is not None and self.value != self.default


def setting_rows(config: Mapping[str, Any]) -> tuple[SettingRow, ...]:
    """Every setting of a study, in the order of its configuration.

    Args:
        config: of the study.
    """
    defaults = _flat({**asdict(Search()), "sweep": asdict(Sweep())})
    return tuple(
        SettingRow(
            name,
            _text(value),
            _text(defaults[name]) if name in defaults and not name.startswith(TASK) else None,
        )
        for name, value in _flat(config).items()
    )


def task_name(config: Mapping[str, Any]) -> str:
    """The name of a study's task, for people.

    Args:
        config: of the study.
    """
    task = config.get(TASK)
    if not isinstance(task, Mapping):
        return "task" if task is None else str(task)
    name = task.get("name") or str(task.get("_target_", "")).rpartition(".")[2]
    return str(name or "task")


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings, by their keys with dots between them."""
    if not isinstance(tree, Mapping) or (prefix and not tree):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _text(value: Any) -> str:
    """A value for people, as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
