"""Losses of batches in eval mode: for calibration, and for the sensitivity."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from torch import Tensor, nn

from autoquant.errors import RunError, UserError
from autoquant.graph.modes import modes_restored, train_own_modules
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
    carry, failed = None, False
    with modes_restored(model):
        model.eval()
        for batch in batches:
            try:
                loss, carry = objective(model, batch, carry)
            except (UserError, RunError):
                raise
            except Exception:
                if failed:
                    raise
                failed = True
                loss, carry = objective(train_own_modules(model), batch, carry)
            yield loss
