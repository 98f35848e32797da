"""Pickling of what jobs need: modules with parametrizations too; which part cannot be pickled."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from torch import nn
from torch.nn.utils import parametrize

from autoquant.errors import first_line

DEEPEST_PART = 8
"""Levels of parts that are looked through for what cannot be pickled."""


def pickled(value: Any) -> bytes:
    """A value as bytes that ``pickle.loads`` reads, with functions of the main module by value.

    Args:
        value: any.

    Raises:
        Exception: it cannot be pickled; of any class, for objects say themselves what they raise.
    """
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Takes modules with parametrizations, such as weight_norm, whose classes torch makes."""

    def reducer_override(self, obj: Any) -> Any:
        """How an object is pickled; NotImplemented: in the usual way."""
        if isinstance(obj, nn.Module) and parametrize.is_parametrized(obj):
            original = parametrize.type_before_parametrizations(obj)
            return _new, (original,), dict(vars(obj)), None, None, _set_parametrized
        return super().reducer_override(obj)


def _new(original: type[nn.Module]) -> nn.Module:
    return original.__new__(original)


def _set_parametrized(module: nn.Module, attributes: dict[str, Any]) -> None:
    """Fill a module as it was, and give it the class that torch makes for its parametrizations."""
    vars(module).update(attributes)
    parametrize._inject_new_class(module)
    for name in attributes["_modules"]["parametrizations"]:
        parametrize._inject_property(module, name)


def unpicklable_part(value: Any) -> tuple[str, Any, str]:
    """The innermost part of a value that cannot be pickled.

    Args:
        value: which cannot be pickled; a tuple's parts count as the value itself.

    Returns:
        its name, as in "task.data.lines", the part, and why it cannot be pickled.
    """
    name, reason = "", ""
    for _ in range(DEEPEST_PART):
        for key, part in _parts(value):
            if (error := _pickling_error(part)) is not None:
                name, value, reason = f"{name}.{key}" if name and key else name or key, part, error
                break
        else:
            break
    return name, value, reason


def _pickling_error(value: Any) -> str | None:
    """Why a value cannot be pickled; None where it can."""
    try:
        pickled(value)
    except Exception as error:
        return first_line(error)
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value by name: its items, its fields, what a function encloses, attributes."""
    if isinstance(value, Mapping):
        yield from ((str(key), part) for key, part in value.items())
    elif isinstance(value, tuple) and not hasattr(value, "_fields"):
        yield from (("", part) for part in value)
    elif isinstance(value, list):
        yield from ((str(index), part) for index, part in enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))
    elif not isinstance(value, type):
        code, cells = getattr(value, "__code__", None), getattr(value, "__closure__", None)
        names = getattr(code, "co_freevars", ())
        yield from (
            (name, cell.cell_contents) for name, cell in zip(names, cells or (), strict=False)
        )
        yield from getattr(value, "__dict__", {}).items()
