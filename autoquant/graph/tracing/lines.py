"""Lines of the user's own code, for reasons and errors."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

import torch

_PACKAGE = Path(__file__).resolve().parents[2]
_OTHERS = (
    str(Path(torch.__file__).resolve().parent),
    *(str(_PACKAGE / folder) for folder in ("graph", "layers", "kernels")),
    "<",
)


def running(until: CodeType) -> str:
    """The user's line that is running, as "model.py:12"; nothing where only torch's modules run.

    Args:
        until: the function that called the model.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not until:
        if not frame.f_code.co_filename.startswith(_OTHERS):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def raised(error: Exception) -> str:
    """The user's line that raised an error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_OTHERS):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""
