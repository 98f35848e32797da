"""The libraries that an export to ONNX needs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from autoquant.distribution import extra_command
from autoquant.errors import UserError

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def require(*names: str) -> list[Any]:
    """Libraries, imported.

    Args:
        names: of NEEDED; all of them if none is given.

    Raises:
        UserError: one is not installed.
    """
    modules = []
    for name in names or NEEDED:
        try:
            modules.append(import_module(name))
        except ImportError as error:
            raise UserError(
                f"exports to ONNX need {', '.join(NEEDED)} ({extra_command('onnx')}), "
                f"got no {name}: {error}"
            ) from error
    return modules
