"""Objective: the loss that a training run minimizes, with or without a teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from autoquant.errors import UserError
from autoquant.settings import Training
from autoquant.task import SupportsDistillation, Task

Objective = Callable[[nn.Module, Any, Any], tuple[Tensor, Any]]
"""(model, batch, carry) -> (mean loss of the batch, a scalar; carry for the next batch)."""


def build_objective(task: Task, settings: Training, teacher: nn.Module | None) -> Objective:
    """The task's loss, or its distillation loss where ``settings.distill`` is above 0.

    Args:
        task: gives the losses.
        settings: of the training.
        teacher: the float model whose outputs the model learns from; None: there is none.

    Raises:
        UserError: ``settings.distill`` is above 0 without a teacher, or for a task that does not
            support distillation.
    """
    if not settings.distill:
        return task.loss
    if teacher is None:
        requirement = "distill must be 0 for the float model, which has no teacher"
        raise UserError(f"{requirement}, got {settings.distill}")
    if not isinstance(task, SupportsDistillation):
        requirement = "distill must be 0 for a task without distillation_loss"
        raise UserError(f"{requirement}, got {settings.distill} for {task.name}")
    return _distillation_objective(task, teacher, settings.distill)


def _distillation_objective(
    task: SupportsDistillation, teacher: nn.Module, alpha: float
) -> Objective:
    """The distillation loss with a fixed teacher.

    Args:
        task: gives the loss.
        teacher: put into eval mode.
        alpha: weight of the teacher.
    """
    teacher.eval()

    def loss(model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        return task.distillation_loss(model, teacher, batch, carry, alpha)

    return loss
