"""Evaluate: score a packed file."""

from __future__ import annotations

from pathlib import Path

from autoquant.artifact import packed_file
from autoquant.backend import Compute, computing
from autoquant.task import Split, Task
from autoquant.training.baseline import float_model
from autoquant.training.loop import resolve_device, score


def evaluate(
    path: str | Path,
    task: Task,
    *,
    split: Split = "test",
    device: str = "auto",
    kernel: str = "auto",
) -> float:
    """The task's metric of a packed model on a split.

    Args:
        kernel: what computes it: auto, native, torch or reference.

    Raises:
        UserError: the file is missing, damaged, or of another model than the task's.
    """
    model = packed_file.load(path, float_model(task)).to(resolve_device(device))
    with computing(Compute(kernel)):
        return score(model, task, split)
