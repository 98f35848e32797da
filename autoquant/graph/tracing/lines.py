"""Lines of the user's own code, for reasons and errors."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import Any

import torch

PACKAGE = Path(__file__).resolve().parents[2]
MODEL_FOLDERS = ("tasks",)
"""Folders of this package whose models are traced like a user's: their lines are named."""

_PACKAGES = (Path(__file__).parents[2], PACKAGE)  # the names of code may go through a link
_TORCHES = (Path(torch.__file__).parent, Path(torch.__file__).resolve().parent)
_MODELS = tuple(f"{package / folder}{os.sep}" for package in _PACKAGES for folder in MODEL_FOLDERS)
_NOT_MODELS = (
    *(f"{package}{os.sep}" for package in _PACKAGES),
    *map(str, _TORCHES),  # also torchvision and others that begin so
    "<",  # code that has no file
)


def _is_users(file: str) -> bool:
    """Whether a file may hold a model: it is not of torch, and not of this package's machinery."""
    return file.startswith(_MODELS) or not file.startswith(_NOT_MODELS)


def running(until: CodeType) -> str:
    """The user's line that is running, as "model.py:12"; empty where only torch's modules run.

    Args:
        until: code of the function that called the model; callers above it are not looked at.
    """
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not until:
        if _is_users(frame.f_code.co_filename):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def raised(error: Exception, *, ready: bool = True) -> str:
    """The user's line that raised an error, as "model.py:12"; empty where there is none.

    Args:
        error: as it was caught, with its traceback.
        ready: whether lines of this package's ready models count.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_users(frame.filename) and (ready or not frame.filename.startswith(_MODELS)):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""
