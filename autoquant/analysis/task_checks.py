"""What must hold of a task before anything is trained: its model, loss and score can be called.

They are called once with the task's own data, so that an error in the user's code comes at once, as
one line that names the place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from autoquant.copies import copy_model
from autoquant.errors import Diverged, RunError, UserError, first_line, shown
from autoquant.graph.equivalence import ExampleRun, has_forward, unchanged
from autoquant.graph.tracing import lines
from autoquant.settings import Training
from autoquant.task import Example, SupportsChecks, Task
from autoquant.training.device import is_out_of_memory
from autoquant.training.objective import build_objective
from autoquant.training.scoring import score


def check_task_runs(
    task: Task, model: nn.Module, trainings: Iterable[Training] = ()
) -> tuple[str, ...]:
    """Try a task's data, losses and score once with its float model, which stays as it is.

    Args:
        task: to be tried.
        model: its float model.
        trainings: whose losses are tried where they follow a teacher.

    Returns:
        lines that the user should see, such as what is not reproducible.

    Raises:
        UserError: one of them fails, or does not return what it must.
    """
    notes: list[str] = []
    if isinstance(task, SupportsChecks):
        with unchanged(model), torch.no_grad():
            model.eval()
            for requirement, trial in task.checks(model):
                with _errors_named(requirement):
                    trial()
            with _errors_named("the data must be read twice"):
                notes += task.notes()
    with _errors_named("batches must give a training batch"):
        batches = iter(task.batches(0))
    _check_loss(task, model, batches)
    taught = [training for training in trainings if training.distill]
    teacher = copy_model(model) if taught else None
    for training in taught:
        objective = build_objective(task, training, teacher)
        with _errors_named("distill must run on a training batch"), unchanged(model):
            objective(model.train(), next(batches), None)
    requirement = "score must run on the probe split"
    with _errors_named(requirement), unchanged(model), suppress(Diverged):  # of untrained weights
        score(model, task, "probe")
    return tuple(notes)


def check_example(model: nn.Module, example: Example) -> None:
    """Raise a UserError where a model does not run on its task's example.

    Args:
        model: a float model, which stays as it is.
        example: of the task.

    Raises:
        UserError: the model raises an error.
    """
    run = ExampleRun(example.inputs, example.keywords)
    if has_forward(model):
        with _errors_named("the model must run on the example of the task"):
            run.eval_outputs(model)


def _check_loss(task: Task, model: nn.Module, batches: Iterator[Any]) -> None:
    """Raise a UserError where the loss of the first batch is no loss.

    Args:
        task: gives the loss.
        model: its float model.
        batches: of the training.
    """
    with _errors_named("batches must give a training batch"):
        batch = next(batches)
    with _errors_named("loss must run on a training batch"), unchanged(model):
        result: Any = task.loss(model.train(), batch, None)
    if not isinstance(result, tuple) or len(result) != 2:
        raise UserError(f"loss must return (loss, carry), got {_kind(result)}")
    loss = result[0]
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        raise UserError(f"loss must be one real number in a tensor, got {_kind(loss)}")
    trained = any(parameter.requires_grad for parameter in model.parameters())
    if trained and not loss.requires_grad:
        raise UserError("loss must have a gradient, got a tensor without one")


def _kind(value: Any) -> str:
    """What came, for an error: the shape of a tensor, else the class."""
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')} {[*value.shape]}"
    return shown(value) if isinstance(value, int | float | str) else f"a {type(value).__name__}"


@contextmanager
def _errors_named(requirement: str) -> Iterator[None]:
    """Make an error of the user's code one line with the place where it was raised.

    Errors of this package, of files, and of memory that is used up stay as they are.

    Args:
        requirement: what must hold, as in "loss must run on a training batch".
    """
    try:
        yield
    except (UserError, RunError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        line = lines.raised(error, ready=False)
        what = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{requirement}, got {what}{f' ({line})' * bool(line)}") from error
