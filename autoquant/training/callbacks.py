"""StepResult: what a training step gave; and the calls of the user's functions that take one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from autoquant.settings import require

NOTE = "raised by on_step"

T = TypeVar("T")


@dataclass(frozen=True)
class StepResult:
    """What one training step gave.

    Attributes:
        run: name of the training: "float baseline", "trial 3", "apply", or the name of a sweep's
            run.
        step: number of the step in this training, from 1.
        steps: number of steps of the whole training.
        loss: of the step's batch: a detached tensor [] on the device of the model. Reading it waits
            for the device.
        lr: learning rate of the step: that of the weights.
        score: on the probe split, where the model was scored after this step; else None.
    """

    run: str
    step: int
    steps: int
    loss: Tensor
    lr: float
    score: float | None = None


OnStep = Callable[[StepResult], None]
"""Called after each training step; what it raises ends the training, and the search."""


def check_callbacks(**callbacks: object) -> None:
    """Raise a UserError for a callback that cannot be called.

    Args:
        **callbacks: by the names of their arguments; None where there is none.

    Raises:
        UserError: one of them is something else.
    """
    for name, callback in callbacks.items():
        valid = callback is None or callable(callback)
        require(valid, f"{name} must be something to call", callback)


def in_turn(*callbacks: Callable[[T], None] | None) -> Callable[[T], None] | None:
    """One function that calls several with the same value.

    Args:
        *callbacks: in the order in which they are called; None where there is none.

    Returns:
        the function; None where there is nothing to call.
    """
    called = [callback for callback in callbacks if callback is not None]

    def call(value: T) -> None:
        for callback in called:
            callback(value)

    return call if called else None


def notify(on_step: OnStep, result: StepResult) -> None:
    """Call a user's function; its error is marked as one that is not the training's own.

    Args:
        on_step: of the user.
        result: of the step.
    """
    try:
        on_step(result)
    except Exception as error:
        error.add_note(NOTE)
        raise


def is_from_callback(error: BaseException) -> bool:
    """Whether ``notify`` raised an error.

    Args:
        error: of a training.
    """
    return NOTE in getattr(error, "__notes__", ())
