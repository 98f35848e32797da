"""The loss against a mix of the targets and a teacher's outputs, for any loss that has one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autoquant.errors import UserError
from autoquant.kernels import distillation_cross_entropy
from autoquant.tasks.targets import IGNORED, Loss, compares_classes, ignored_target, targets_like


def distilled_loss(
    loss: Loss, outputs: Any, teacher_outputs: Any, targets: Any, alpha: float
) -> Tensor:
    """alpha times the loss against the teacher, and 1 - alpha times that against the targets.

    Where the loss compares classes (cross-entropy, also with weights or as a module), the teacher's
    part is the cross-entropy against its distribution, over the targets that count, without class
    weights (Hinton et al. 2015, section 2, at temperature 1). torch's losses of distances take
    the teacher's outputs in place of the targets, and its binary cross-entropy their probabilities.

    Args:
        loss: (outputs, targets) -> mean loss.
        outputs: of the student; logits [N, classes, ...] where the loss compares classes.
        teacher_outputs: of the float model.
        targets: of the batch.
        alpha: weight of the teacher, in [0, 1].

    Raises:
        UserError: the loss is none of these: what the teacher's outputs mean is not known.
    """
    one_tensor = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    if one_tensor and loss is F.cross_entropy and targets.dtype == torch.int64:
        return distillation_cross_entropy(
            _rows(outputs), _rows(teacher_outputs), targets.flatten(), alpha
        )
    if one_tensor and compares_classes(loss):
        return _with_classes(loss, outputs, teacher_outputs, targets, alpha)
    taught = targets_like(loss, teacher_outputs) if _like(outputs, targets) else None
    if taught is None:
        raise UserError(
            "distill must be 0 unless the loss is torch's cross_entropy, nll_loss, mse_loss, "
            "l1_loss, huber_loss or binary_cross_entropy_with_logits (the function or the module "
            f"itself) of one output (output= selects it), got {alpha}"
        )
    return alpha * loss(outputs, taught) + (1 - alpha) * loss(outputs, targets)


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
    ignored = None if targets.is_floating_point() else targets == ignored_target(loss)
    taught = distribution_loss(outputs, teacher_outputs, ignored)
    return alpha * taught + (1 - alpha) * loss(outputs, targets)


def distribution_loss(
    outputs: Tensor, teacher_outputs: Tensor, ignored: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy against a teacher's distribution, in nats.

    Args:
        outputs: logits [N, classes, ...].
        teacher_outputs: those of the teacher.
        ignored: positions [N, ...] that do not count; None: all do.
    """
    rows = _rows(outputs)
    counted = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    if ignored is not None:
        counted = counted.masked_fill(ignored.flatten(), IGNORED)
    return distillation_cross_entropy(rows, _rows(teacher_outputs), counted, 1.0)


def _like(outputs: Any, targets: Any) -> bool:
    """Whether targets are real numbers of the outputs' shape."""
    both = isinstance(outputs, Tensor) and isinstance(targets, Tensor)
    return both and targets.is_floating_point() and outputs.shape == targets.shape


def _rows(logits: Tensor) -> Tensor:
    """Logits [N, classes, ...] as rows [N * ..., classes]."""
    return logits.movedim(1, -1).flatten(0, -2)
