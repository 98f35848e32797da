"""What an import path such as "torch.nn.functional.cross_entropy" names."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def imported(path: str) -> Any:
    """The object that a path names, None where there is none; its end may be in a class.

    Raises:
        ImportError: a module on the way cannot be imported, or one that it wants is not there.
    """
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        try:
            found: Any = import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # a module that the named one wants
            continue
        for part in parts[count:]:
            found = getattr(found, part, None)
        return found
    return None
