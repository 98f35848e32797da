"""The loss against a mix of the targets and a teacher's outputs, for any loss that has one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.kernels import distillation_cross_entropy
from autoquant.tasks.targets import IGNORED, Loss, compares_classes, ignored_target


def distilled_loss(
    loss: Loss, outputs: Any, teacher_outputs: Any, targets: Any, alpha: float
) -> Tensor:
    """alpha times the loss against the teacher, and 1 - alpha times that against the targets.

    Where the loss compares classes (cross-entropy, also with weights or as a module), the teacher's
    part is the cross-entropy against its distribution, over the targets that count, without class
    weights (Hinton et al. 2015, section 2, at temperature 1). Any other loss takes the teacher's
    outputs in place of targets of the same shape.

    Args:
        loss: (outputs, targets) -> mean loss.
        outputs: of the student; logits [N, classes, ...] where the loss compares classes.
        teacher_outputs: of the float model.
        targets: of the batch.
        alpha: weight of the teacher, in [0, 1].

    Raises:
        UserError: the loss does not compare classes, and the targets are no real numbers of the
            outputs' shape.
    """
    if loss is F.cross_entropy and targets.dtype == torch.int64:
        return distillation_cross_entropy(
            _rows(outputs), _rows(teacher_outputs), targets.flatten(), alpha
        )
    if compares_classes(loss):
        return _with_classes(loss, outputs, teacher_outputs, targets, alpha)
    if not _like(outputs, targets):
        raise UserError(
            "distill must be 0 where the loss compares no classes, and the outputs are not of the "
            f"targets' shape, got {alpha}"
        )
    return alpha * loss(outputs, teacher_outputs) + (1 - alpha) * loss(outputs, targets)


def _with_classes(
    loss: Loss, outputs: Tensor, teacher_outputs: Tensor, targets: Tensor, alpha: float
) -> Tensor:
    """See ``distilled_loss``, of a loss with options.

    Args:
        loss: compares classes.
        outputs: [N, classes, ...].
        teacher_outputs: the same.
        targets: class ids [N, ...], or probabilities as the outputs.
        alpha: weight of the teacher.
    """
    rows = _rows(outputs)
    if targets.is_floating_point():
        counted = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    else:
        ignored = targets.flatten() == ignored_target(loss)
        counted = targets.flatten().masked_fill(ignored, IGNORED)
    taught = distillation_cross_entropy(rows, _rows(teacher_outputs), counted, 1.0)
    return alpha * taught + (1 - alpha) * loss(outputs, targets)


def _like(outputs: Any, targets: Any) -> bool:
    """Whether targets are real numbers of the outputs' shape."""
    both = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    return both and targets.is_floating_point() and outputs.shape == targets.shape


def _rows(logits: Tensor) -> Tensor:
    """Logits [N, classes, ...] as rows [N * ..., classes]."""
    return logits.movedim(1, -1).flatten(0, -2)
