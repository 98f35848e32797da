"""Mean cross-entropy over many classes, whose gradient takes the place of the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from autoquant.quantization.native import pointwise


def cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    """Mean of -log softmax(logits)[target] over the targets that are not ignored, in nats.

    With the compiled kernels and gradients on, the logits' memory is used up for their gradient, so
    that no second matrix of this size is made: do not read the logits afterwards.

    Args:
        logits: [N, C].
        targets: [N], class ids, or ``ignore_index``.

    Raises:
        IndexError: a target is not a class.
    """
    if not (_suits(logits, targets) and pointwise.suits(logits)):
        return F.cross_entropy(logits, targets, ignore_index=ignore_index)
    wanted = torch.is_grad_enabled() and logits.requires_grad
    result: Tensor = _CrossEntropy.apply(logits, targets, ignore_index, wanted)  # type: ignore[no-untyped-call]
    return result


def distillation_cross_entropy(
    logits: Tensor, taught: Tensor, targets: Tensor, share: float, ignore_index: int = -100
) -> Tensor:
    """Mean cross-entropy against a mix of a teacher's distribution and the targets, in nats.

    Its gradient is that of share * KL(teacher || model) + (1 - share) * cross-entropy (Hinton et
    al. 2015, section 2, at temperature 1).

    Args:
        logits: [N, C].
        taught: the teacher's logits, [N, C].
        targets: [N], class ids, or ``ignore_index``: such rows do not count.
        share: weight of the teacher.
    """
    kept = (targets != ignore_index).to(logits.dtype)
    mix = taught.detach().softmax(1).mul_(share)
    own = torch.full_like(mix[:, :1], 1 - share)
    mix.scatter_add_(1, targets.clamp_min(0)[:, None], own)
    result: Tensor = _SoftCrossEntropy.apply(logits, mix, kept / kept.sum())  # type: ignore[no-untyped-call]
    return result


class _SoftCrossEntropy(torch.autograd.Function):
    """Cross-entropy against distributions, [N, C], which are used up for the gradient."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, mix: Tensor, weights: Tensor) -> Tensor:
        log_z = logits.logsumexp(1)
        each = log_z - torch.linalg.vecdot(mix, logits)
        gradient = (logits - log_z[:, None]).exp_().sub_(mix).mul_(weights[:, None])
        ctx.save_for_backward(gradient)
        return torch.dot(each, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None


def _suits(logits: Tensor, targets: Tensor) -> bool:
    """Whether targets are classes of rows; torch takes more, and has words for what is wrong."""
    if logits.ndim != 2 or logits.numel() == 0 or targets.shape != logits.shape[:1]:
        return False
    return targets.dtype == torch.int64 and targets.device.type == "cpu" and targets.is_contiguous()


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignored: int, wanted: bool) -> Tensor:
        count = int((targets != ignored).sum())
        weight = 1 / max(count, 1) if wanted else None
        total = pointwise.cross_entropy(logits, targets, ignored, weight=weight)
        if wanted:  # let autograd notice where someone else has kept the logits for a gradient
            torch.autograd.graph.increment_version(logits)
        if total != total:
            _check_targets(targets, logits.shape[1], ignored)
        ctx.gradient = logits.detach()  # of no use, and not used, where nothing wants a gradient
        return logits.new_tensor(total / count if count else float("nan"))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("the gradient of cross_entropy can be taken once, got a second call")
        return gradient if float(grad) == 1.0 else gradient.mul_(grad), None, None, None


def _check_targets(targets: Tensor, classes: int, ignored: int) -> None:
    odd = targets[(targets != ignored) & ((targets < 0) | (targets >= classes))]
    if len(odd):
        raise IndexError(f"targets must be in [0, {classes}), got {int(odd[0])}")
