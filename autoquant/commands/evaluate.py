"""Evaluate: score a packed file."""

from __future__ import annotations

from pathlib import Path

from autoquant.artifact.task_model import load_for_task
from autoquant.backend import Compute, computing
from autoquant.errors import UserError
from autoquant.progress import opened
from autoquant.task import Split, Task, check_order, check_split, check_task
from autoquant.training.scoring import score, score_file


def evaluate(
    path: str | Path,
    task: Task,
    *,
    split: Split = "test",
    file: str | Path | None = None,
    device: str = "auto",
    kernel: str = "auto",
    progress: bool = True,
) -> float:
    """The task's metric of a packed model on a split, or on a file of the user's.

    A task that follows ``SupportsAssets`` first gets what is stored beside the packed file, such as
    the vocabulary: then no training data is needed.

    Args:
        path: of the packed file.
        task: gives the float model that was packed, the data and the score.
        split: "test", "valid" or "probe".
        file: a file that is scored instead of a split, if the task follows ``ScoresFiles``: a text
            in UTF-8 for the language tasks.
        device: where to compute: auto, cpu, cuda, cuda:1, mps.
        kernel: what computes quantized layers: auto, native, torch or reference.
        progress: whether to show on stderr that it takes long.

    Returns:
        the score, in the task's metric.

    Raises:
        UserError: the file is missing, damaged or of another model than the task's; the task is no
            autoquant.Task; there is no such split; or the task cannot score the file.
    """
    check_split(split)
    check_order("evaluate", path, task)
    check_task(task)
    if file is not None and not Path(file).is_file():
        raise UserError(f"file must be an existing file, got '{file}'")
    model = load_for_task(path, task, device)
    scored = f"scoring on the {split} split" if file is None else f"scoring on '{file}'"
    with opened(progress, "evaluate") as shown, shown.phase(scored), computing(Compute(kernel)):
        return score(model, task, split) if file is None else score_file(model, task, Path(file))
