"""Optimizer: which parameters have which learning rate, and one update of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from autoquant.settings import Training
from autoquant.training.device import autocast
from autoquant.training.objective import Objective

SCALE_SUFFIX = "log_scale"
"""How the names of the quantizers' trained scales end."""


def build_optimizer(model: nn.Module, settings: Training) -> Optimizer:
    """AdamW or plain SGD with one group each for weights, biases and quantizer scales.

    Only weights (parameters of two or more axes) decay; scales have a learning rate of their own.

    Args:
        model: whose parameters with gradients are trained.
        settings: gives the learning rates and the weight decay.
    """
    scales: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    weights: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.endswith(SCALE_SUFFIX):
            scales.append(parameter)
        else:
            (weights if parameter.ndim > 1 else biases).append(parameter)
    groups = [
        {"params": weights, "lr": settings.lr, "weight_decay": settings.weight_decay},
        {"params": biases, "lr": settings.lr, "weight_decay": 0.0},
        {"params": scales, "lr": settings.scale_lr, "weight_decay": 0.0},
    ]
    kind = torch.optim.SGD if settings.optimizer == "sgd" else torch.optim.AdamW
    return kind([group for group in groups if group["params"]], fused=True)


class TrainingStep:
    """One training step: loss, gradient, clipping, update.

    Args:
        model: is trained in place.
        objective: gives the loss of a batch.
        optimizer: of the model's parameters.
        settings: gives ``clip_norm`` and ``autocast``.
        device: of the model.

    Attributes:
        scaler: scales the loss under float16, where small gradients would underflow; it does
            nothing otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: Optimizer,
        settings: Training,
        device: torch.device,
    ) -> None:
        self._model, self._objective, self._optimizer = model, objective, optimizer
        self._clip_norm, self._device = settings.clip_norm, device
        name = settings.autocast
        self._autocast_dtype = None if name == "none" else getattr(torch, name)
        enabled = self._autocast_dtype == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=enabled)

    def __call__(self, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        """Train on one batch.

        Args:
            batch: what ``Task.batches`` gave.
            carry: of the batch before; None at the start.

        Returns:
            the detached loss, and the carry for the next batch.
        """
        self._optimizer.zero_grad(set_to_none=True)
        with autocast(self._autocast_dtype, self._device):
            loss, carry = self._objective(self._model, batch, carry)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return loss.detach(), carry
