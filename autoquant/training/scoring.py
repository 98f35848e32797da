"""Scores of a model in training, and the weights that had the best one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoquant.errors import Diverged, UserError
from autoquant.task import Direction, ScoresFiles, Split, Task, as_loss
from autoquant.tasks.score import as_number


def score(model: nn.Module, task: Task, split: Split) -> float:
    """The task's metric on a split, in eval mode; the model's mode is restored.

    Args:
        model: a float, a fake-quantized or a loaded packed model.
        task: gives the metric and the data.
        split: "probe", "valid" or "test".

    Raises:
        Diverged: the score is not finite.
        UserError: the score is no number.
    """
    return _checked(model, task, lambda: task.score(model, split))


def score_file(model: nn.Module, task: Task, path: Path) -> float:
    """The task's metric on a file; see ``score``.

    Args:
        model: a loaded packed model.
        task: gives the metric; it must follow ``ScoresFiles``.
        path: of an existing file.

    Raises:
        Diverged: the score is not finite.
        UserError: the task scores no files, or not this one; or the score is no number.
    """
    if not isinstance(task, ScoresFiles):
        kind = type(task).__name__
        requirement = "file needs a task that scores files (its class must have score_file)"
        raise UserError(f"{requirement}, got a {kind}")
    return _checked(model, task, lambda: task.score_file(model, path))


@torch.no_grad()
def _checked(model: nn.Module, task: Task, scored: Callable[[], Any]) -> float:
    """A score of a model in eval mode.

    Args:
        model: whose mode is restored.
        task: named in errors.
        scored: gives the score.
    """
    training = model.training
    model.eval()
    try:
        with nn.utils.parametrize.cached():  # quantize the weights once, not once a batch
            value = as_number(scored(), f"the score of the task {task.name}")
    finally:
        model.train(training)
    if not math.isfinite(value):
        raise Diverged(f"{task.metric} must be finite, got {value}")
    return value


class BestWeights:
    """A copy of the weights that had the best score so far.

    Args:
        direction: of the task's metric, "minimize" or "maximize".
    """

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._best: dict[str, Any] = {"score": math.inf, "weights": {}}

    def offer(self, value: float, model: nn.Module) -> None:
        """Copy the model's weights if none before had a better score.

        Args:
            value: score of the model, in the task's metric.
            model: whose state is copied.
        """
        loss = as_loss(value, self._direction)
        if loss <= self._best["score"]:
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            self._best = {"score": loss, "weights": weights}

    def restore(self, model: nn.Module) -> None:
        """Give a model the best weights.

        Args:
            model: the one that was offered.
        """
        model.load_state_dict(self._best["weights"])

    def state_dict(self) -> dict[str, Any]:
        """The best score, as a loss, and the weights: part of a checkpoint."""
        return self._best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Args:
            state: what ``state_dict`` gave.
        """
        self._best = state
