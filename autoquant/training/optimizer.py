"""Optimizer: which parameters have which learning rate, and one update of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer

from autoquant.errors import UserError
from autoquant.quantization.activation_quantizer import ActivationQuantizer
from autoquant.quantization.fake_quantize import WeightQuantizer
from autoquant.settings import Training
from autoquant.training.device import autocast
from autoquant.training.objective import Objective


def build_optimizer(model: nn.Module, settings: Training) -> Optimizer:
    """AdamW or plain SGD with one group each for weights, biases and quantizer scales.

    Only weights (parameters of two or more axes) decay; scales have a learning rate of their own.

    Args:
        model: whose parameters with gradients are trained.
        settings: gives the learning rates and the weight decay.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    of_quantizers = _quantizer_parameters(model)
    scales = [parameter for parameter in trained if id(parameter) in of_quantizers]
    others = [parameter for parameter in trained if id(parameter) not in of_quantizers]
    weights = [parameter for parameter in others if parameter.ndim > 1]
    biases = [parameter for parameter in others if parameter.ndim <= 1]
    groups = [
        {"params": weights, "lr": settings.learning_rate, "weight_decay": settings.weight_decay},
        {"params": biases, "lr": settings.learning_rate, "weight_decay": 0.0},
        {"params": scales, "lr": settings.scale_lr, "weight_decay": 0.0},
    ]
    kind = torch.optim.SGD if settings.optimizer == "sgd" else torch.optim.AdamW
    return kind([group for group in groups if group["params"]], fused=True)


def _quantizer_parameters(model: nn.Module) -> set[int]:
    """The identities of the quantizers' own parameters: their scales."""
    quantizers = (
        m for m in model.modules() if isinstance(m, WeightQuantizer | ActivationQuantizer)
    )
    return {id(parameter) for module in quantizers for parameter in module.parameters()}


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

        Raises:
            UserError: the loss is not one number that depends on a trained parameter.
        """
        self._optimizer.zero_grad(set_to_none=True)
        with autocast(self._autocast_dtype, self._device):
            loss, carry = self._objective(self._model, batch, carry)
        _check_loss(loss)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._make_gradients_dense()
        self.scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        return loss.detach(), carry

    def _make_gradients_dense(self) -> None:
        """Replace sparse gradients (of nn.Embedding(sparse=True)), which AdamW does not take."""
        for parameter in self._model.parameters():
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = parameter.grad.to_dense()


def _check_loss(loss: Any) -> None:
    """Raise a UserError where a task's loss cannot be minimized."""
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        came = f"a tensor {[*loss.shape]}" if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"the loss of a batch must be a tensor with one number, got {came}")
    if not loss.requires_grad:
        raise UserError(
            "the loss of a batch must depend on a parameter that is trained, got one without a "
            "gradient (frozen or unused parameters, or a detached loss)"
        )
