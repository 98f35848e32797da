"""A layer of autoquant's that stays an instance of the user's own class."""

from __future__ import annotations

import types
from typing import Any

from torch import nn

_COMBINED: dict[tuple[type[nn.Module], type[nn.Module]], type[nn.Module]] = {}


def combined(first: type[nn.Module], users: type[nn.Module]) -> type[nn.Module]:
    """A class that computes as one does, and is a subclass of the user's class too.

    It has the name of the user's class. Its instances can be copied and pickled.

    Args:
        first: the class whose attributes come first; also a subclass of the user's class's base.
        users: the user's class.
    """

    def fill(namespace: dict[str, Any]) -> None:
        namespace |= {
            "__module__": users.__module__,
            "__qualname__": users.__qualname__,
            "__doc__": users.__doc__,
            "__reduce_ex__": _reduce,
        }

    if (first, users) not in _COMBINED:
        new = types.new_class(users.__name__, (first, users), exec_body=fill)
        _COMBINED[first, users] = new
    return _COMBINED[first, users]


def users_class(module: nn.Module) -> type[nn.Module]:
    """The class of a module, or the user's class where it is a ``combined`` one.

    Args:
        module: any.
    """
    cls = type(module)
    return cls.__bases__[1] if cls.__reduce_ex__ is _reduce else cls


def _reduce(module: nn.Module, protocol: int) -> tuple[Any, ...]:
    """See ``object.__reduce_ex__``: the class itself cannot be imported."""
    state: dict[str, Any] = module.__getstate__()  # type: ignore[no-untyped-call]
    return _new, type(module).__bases__, state


def _new(first: type[nn.Module], users: type[nn.Module]) -> nn.Module:
    return nn.Module.__new__(combined(first, users))
