"""The packed model of a task, with what the task stored beside it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from autoquant.artifact import packed_file
from autoquant.artifact.assets import assets
from autoquant.task import SupportsAssets, Task
from autoquant.training.device import resolve_device
from autoquant.training.float_model import build_float_model


def load_for_task(path: str | Path, task: Task, device: str) -> nn.Module:
    """A packed model; a task that follows ``SupportsAssets`` first gets what is stored beside it.

    Args:
        path: of the packed file.
        task: gives the float model that was packed.
        device: where to compute: auto, cpu, cuda, cuda:1, mps.

    Raises:
        UserError: the file is missing, damaged or of another model than the task's.
    """
    return packed_file.load(path, float_model_of(path, task)).to(resolve_device(device))


def float_model_of(path: str | Path, task: Task) -> nn.Module:
    """The float model that was packed; the task first gets what is stored beside the packed one.

    Args:
        path: of the packed file.
        task: gives the model.

    Raises:
        UserError: the file is missing or damaged.
    """
    if isinstance(task, SupportsAssets):
        task.restore_assets(assets(path))
    return build_float_model(task)
