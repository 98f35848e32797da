"""Losses of batches in eval mode: for calibration, and for the sensitivity."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from autoquant.errors import RunError, UserError
from autoquant.training.objective import Objective


def eval_losses(
    model: nn.Module, objective: Objective, batches: Iterable[Any]
) -> Generator[Tensor]:
    """The loss of one batch after the other, in eval mode.

    A model may return something else in eval mode, such as no output of an auxiliary head, and the
    loss may fail with that. Then only modules of torch and of autoquant (dropout, norms, layers)
    are in eval mode, and the user's own are in training mode.

    Args:
        model: its mode is restored at the end, or when the iterator is closed.
        objective: gives the losses.
        batches: in their order; the carry goes from one to the next.
    """
    training, carry, failed = model.training, None, False
    model.eval()
    try:
        for batch in batches:
            try:
                loss, carry = objective(model, batch, carry)
            except (UserError, RunError):
                raise
            except Exception:
                if failed:
                    raise
                failed = True
                _train_own_modules(model)
                loss, carry = objective(model, batch, carry)
            yield loss
    finally:
        model.train(training)


def _train_own_modules(model: nn.Module) -> None:
    """Put a model's modules into training mode that are of the user's classes."""
    for module in model.modules():
        package = parametrize.type_before_parametrizations(module).__module__.partition(".")[0]
        noisy = isinstance(module, _NormBase | _DropoutNd)
        module.training = not noisy and package not in ("torch", "autoquant")
