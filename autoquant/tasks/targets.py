"""Targets: which of them count in a loss."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoquant.tasks.data.batch import moved, samples_of

IGNORED = -100
"""A target that is not predicted, such as padding (torch's default)."""

Loss = Callable[[Any, Any], Tensor]
"""(outputs, targets) -> mean loss, a scalar tensor."""

_DISTANCES = (
    *(F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss),
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss),
)
_LOGIT_LOSSES = (F.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss)
_CLASS_LOSSES = (F.cross_entropy, F.nll_loss, nn.CrossEntropyLoss, nn.NLLLoss)


def ignored_target(loss: Loss) -> int:
    """The target that a loss ignores.

    Args:
        loss: a module or a function with an attribute ``ignore_index``, or a function (also a
            partial one) with a default for its argument ``ignore_index``.

    Returns:
        torch's default, -100, for other losses.
    """
    value = _option(loss, "ignore_index")
    return value if isinstance(value, int) else IGNORED


def counted_targets(targets: Any, loss: Loss) -> float:
    """How much of a batch a mean loss is over: its targets but the ignored ones.

    Args:
        targets: of the batch; samples count where they are real numbers or no tensor.
        loss: cross_entropy and nll_loss, also partial ones and modules, may have class weights: the
            sum of the targets' weights is returned.
    """
    if not isinstance(targets, Tensor) or targets.is_floating_point():
        return float(samples_of(targets))
    counted = targets[targets != ignored_target(loss)]
    class_weights = _option(loss, "weight") if compares_classes(loss) else None
    if class_weights is None:
        return float(counted.numel())
    return float(class_weights.to(counted.device)[counted].sum())


def compares_classes(loss: Loss) -> bool:
    """Whether a loss is torch's cross-entropy or negative log-likelihood, with any options.

    Args:
        loss: a function, also a partial one, or a module.
    """
    return _base(loss) in _CLASS_LOSSES


def targets_like(loss: Loss, outputs: Any) -> Any:
    """A model's outputs as the targets that a loss of real numbers compares with; None for others.

    Args:
        loss: a function, also a partial one, or a module.
        outputs: of the model; probabilities of them where the loss takes logits.
    """
    if _base(loss) in _DISTANCES:
        return outputs
    return outputs.sigmoid() if _base(loss) in _LOGIT_LOSSES else None


def on_device(loss: Loss, device: torch.device) -> Loss:
    """A loss whose tensors, such as class weights, are on a device.

    Args:
        loss: a module, which is moved; a partial function, of which a copy has moved arguments; or
            another function, as it is.
        device: of the outputs.
    """
    if isinstance(loss, nn.Module):
        return loss.to(device)
    if isinstance(loss, functools.partial):
        args, keywords = moved((loss.args, loss.keywords), device)
        return functools.partial(loss.func, *args, **keywords)
    return loss


def _base(loss: Any) -> Any:
    """The function behind partial ones, or the class of a module."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return type(loss) if isinstance(loss, nn.Module) else loss


def _option(loss: Any, name: str) -> Any:
    """An attribute of a loss, or the default of one of its arguments; None where it has none."""
    if hasattr(loss, name):
        return getattr(loss, name)
    try:
        argument = inspect.signature(loss).parameters.get(name)
    except (TypeError, ValueError):  # a builtin
        return None
    return None if argument is None or argument.default is argument.empty else argument.default
