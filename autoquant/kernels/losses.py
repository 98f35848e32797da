"""Mean cross-entropy over many classes, whose gradient overwrites the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from autoquant.quantization.native import pointwise
from autoquant.quantization.native.tracing import untraced


@untraced
def cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    """Mean of -log softmax(logits)[target] over the targets that are not ignored, in nats.

    With the compiled kernels and gradients on, the logits are overwritten by their gradient, so
    that no second matrix of this size is needed: do not read the logits afterwards.

    Args:
        logits: [N, C].
        targets: [N], class ids, or ``ignore_index``.
        ignore_index: the target of rows that do not count; torch's default.

    Raises:
        IndexError: a target is not a class.
    """
    if not (_suits(logits, targets) and pointwise.suits(logits)):
        return F.cross_entropy(logits, targets, ignore_index=ignore_index)
    with_gradient = torch.is_grad_enabled() and logits.requires_grad
    result: Tensor = _CrossEntropy.apply(logits, targets, ignore_index, with_gradient)  # type: ignore[no-untyped-call]
    return result


def distillation_cross_entropy(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    alpha: float,
    ignore_index: int = -100,
) -> Tensor:
    """Mean cross-entropy against a mix of a teacher's distribution and the targets, in nats.

    Its gradient is that of alpha * KL(teacher || model) + (1 - alpha) * cross-entropy (Hinton et
    al. 2015, section 2, at temperature 1).

    Args:
        logits: [N, C].
        teacher_logits: [N, C]; they get no gradient.
        targets: [N], class ids, or ``ignore_index``.
        alpha: weight of the teacher, in [0, 1].
        ignore_index: the target of rows that do not count.
    """
    counted = (targets != ignore_index).to(logits.dtype)
    mix = teacher_logits.detach().softmax(1).mul_(alpha)
    target_weight = torch.full_like(mix[:, :1], 1 - alpha)
    mix.scatter_add_(1, targets.clamp_min(0)[:, None], target_weight)
    result: Tensor = _SoftCrossEntropy.apply(logits, mix, counted / counted.sum())  # type: ignore[no-untyped-call]
    return result


class _SoftCrossEntropy(torch.autograd.Function):
    """Cross-entropy against distributions."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, mix: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum over rows.

        Args:
            ctx: what autograd keeps for backward.
            logits: [N, C].
            mix: the distributions, [N, C].
            weights: of the rows, [N].
        """
        log_z = logits.logsumexp(1)
        row_losses = log_z - torch.linalg.vecdot(mix, logits)
        gradient = (logits - log_z[:, None]).exp_().sub_(mix).mul_(weights[:, None])
        ctx.save_for_backward(gradient)
        return torch.dot(row_losses, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None


def _suits(logits: Tensor, targets: Tensor) -> bool:
    """Whether targets are class ids of rows; torch takes more, and reports what is wrong."""
    if logits.ndim != 2 or logits.numel() == 0 or targets.shape != logits.shape[:1]:
        return False
    return targets.dtype == torch.int64 and targets.device.type == "cpu" and targets.is_contiguous()


class _CrossEntropy(torch.autograd.Function):
    """Mean cross-entropy; the logits are overwritten by their gradient."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, ignored: int, with_gradient: bool
    ) -> Tensor:
        """The mean over rows.

        Args:
            ctx: what autograd keeps for backward.
            logits: [N, C].
            targets: [N].
            ignored: the target of rows that do not count.
            with_gradient: whether the logits are overwritten.
        """
        count = int((targets != ignored).sum())
        weight = 1 / max(count, 1) if with_gradient else None
        total = pointwise.cross_entropy(logits, targets, ignored, weight=weight)
        if with_gradient:  # autograd then notices where another operation has saved the logits
            torch.autograd.graph.increment_version(logits)
        if total != total:
            _check_targets(targets, logits.shape[1], ignored)
        ctx.gradient = logits.detach()  # not read where no gradient is needed
        return logits.new_tensor(total / count if count else float("nan"))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("the gradient of cross_entropy can be taken once, got a second call")
        return gradient if float(grad) == 1.0 else gradient.mul_(grad), None, None, None


def _check_targets(targets: Tensor, classes: int, ignored: int) -> None:
    """Raise an IndexError for a target that is no class.

    Args:
        targets: [N].
        classes: C.
        ignored: the target of rows that do not count.
    """
    wrong = targets[(targets != ignored) & ((targets < 0) | (targets >= classes))]
    if len(wrong):
        raise IndexError(f"targets must be in [0, {classes}), got {int(wrong[0])}")
