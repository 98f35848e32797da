"""What the task of speech recognition is given: checks, and who takes which argument."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

from autoquant.errors import UserError, near, shown
from autoquant.tasks.speech.models import MODELS


def taken(options: dict[str, Any], fields_of: Any) -> dict[str, Any]:
    """The options that are fields of a dataclass, removed from the others.

    Args:
        options: by name.
        fields_of: the dataclass.
    """
    return {each.name: options.pop(each.name) for each in fields(fields_of) if each.name in options}


def check_options(model: str, options: Mapping[str, Any]) -> None:
    """Raise a UserError where options are no arguments of a model.

    Args:
        model: its name.
        options: by name.

    Raises:
        UserError: see above.
    """
    known = [*signature(MODELS[model]).parameters][2:]  # without inputs and outputs
    for name in options:
        if name not in known:
            others = {key for other in MODELS.values() for key in signature(other).parameters}
            hint = f" (near: {near(name, known)})"
            if name in others:
                hint = f"; on the command line write model={model}, not task.model={model}"
            requirement = f"settings of {model} must be among {', '.join(known)}"
            raise UserError(f"{requirement}, got {shown(name)}{hint}")


def path_of(name: str, value: object, kind: str) -> Path:
    """The path that an argument gives.

    Args:
        name: of the argument.
        value: of the argument.
        kind: "folder" or "file".

    Raises:
        UserError: it is none.
    """
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{name} must be the path of a {kind}, got {shown(value)}")
    return Path(value)
