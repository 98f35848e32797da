"""Evaluate: score a packed file."""

from __future__ import annotations

from pathlib import Path

from autoquant.artifact import packed_file
from autoquant.backend import Compute, computing
from autoquant.task import Split, Task, check_order, check_split, check_task
from autoquant.training.device import resolve_device
from autoquant.training.float_model import build_float_model
from autoquant.training.scoring import score


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
        path: of the packed file.
        task: gives the float model that was packed, the data and the score.
        split: "test", "valid" or "probe".
        device: where to compute: auto, cpu, cuda, cuda:1, mps.
        kernel: what computes quantized layers: auto, native, torch or reference.

    Returns:
        the score, in the task's metric.

    Raises:
        UserError: the file is missing, damaged or of another model than the task's; the task is no
            autoquant.Task; or there is no such split.
    """
    check_split(split)
    check_order("evaluate", path, task)
    check_task(task)
    model = packed_file.load(path, build_float_model(task)).to(resolve_device(device))
    with computing(Compute(kernel)):
        return score(model, task, split)
