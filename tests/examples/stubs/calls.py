"""Calls of the packages that the examples use, one JSON line each, in the file $CALLS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def record(package: str, name: str, *values: Any, **named: Any) -> None:
    """Write a call; JSON refuses what those packages do, such as tensors.

    Args:
        package: "mlflow" or "wandb".
        name: of the function.
        *values: its arguments.
        **named: its arguments with names.
    """
    with Path(os.environ["CALLS"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([package, name, values, named]) + "\n")
