"""The number of a line of a test, as reasons name it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any


def here(function: Callable[..., Any], mark: str = "# here") -> str:
    """The marked line of a function, as "(test_propagate.py:12)"."""
    lines, first = inspect.getsourcelines(function)
    (at,) = (i for i, line in enumerate(lines) if mark in line)
    return f"({Path(inspect.getsourcefile(function) or '').name}:{first + at})"
