"""The Task protocol: a float model, its data, its loss and its score; and tasks by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from autoquant.errors import UserError, shown

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from autoquant.settings import Search

Direction = Literal["minimize", "maximize"]
"""Whether low or high scores are good."""
Split = Literal["probe", "valid", "test"]
SPLITS: tuple[Split, ...] = ("probe", "valid", "test")


def check_split(split: object) -> None:
    """Raise a UserError where a split is none of SPLITS.

    Args:
        split: its name.

    Raises:
        UserError: there is no such split.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, got {shown(split)}")


def as_loss(score: float, direction: Direction) -> float:
    """A score as a number of which lower is better.

    Args:
        score: in a task's metric.
        direction: of the metric.
    """
    return score if direction == "minimize" else -score


class Example(NamedTuple):
    """Inputs for one forward pass.

    Attributes:
        inputs: positional arguments of the model; their tensors on the CPU.
        units: how many units (tokens, images, frames) the inputs hold; MACs are given for one.
        unit: what a unit is called.
        keywords: further arguments of the model, by name; their tensors on the CPU.
    """

    inputs: tuple[Any, ...]
    units: int
    unit: str = "sample"
    keywords: Mapping[str, Any] = {}


@runtime_checkable
class Task(Protocol):
    """What autoquant needs from a user: how to build a model, train it and score it.

    When the methods are called: ``build_model`` and ``example`` once at the start, to trace the
    model and profile it; ``build_model`` again wherever the float model or a model for a packed
    file is needed. ``batches`` and ``loss`` in training, to calibrate quantizers and to measure the
    sensitivity. ``score`` at the end of a training, and in its middle if the settings say so.

    Batches and carries are opaque to autoquant: whatever ``batches`` yields is handed to ``loss``,
    and the carry that ``loss`` returns is handed to the next call (the hidden state of a stateful
    recurrent model; None at the start of training and wherever a task has no use for it).

    ``score`` is computed on three splits: "valid" decides between plans, "probe" is a small part of
    it for scores in the middle of a run, "test" is used only once a plan has been applied.

    A task may also have an attribute ``preferred``, an ``autoquant.Search`` with the settings that
    suit it (see ``PrefersSettings``), and learn from a teacher (see ``SupportsDistillation``).

    Attributes:
        name: of the task, for error messages and the study's configuration.
        metric: name of the score, such as "perplexity".
        direction: whether a low ("minimize") or a high ("maximize") score is good.
    """

    name: str
    metric: str
    direction: Direction

    def build_model(self) -> nn.Module:
        """A new float model; its initial weights follow torch's global seed."""
        ...

    def steps_per_epoch(self) -> int:
        """Number of batches that show every training sample once."""
        ...

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        """Endless training batches; the same seed gives the same batches.

        Args:
            seed: of the order of the samples.
            start: number of the first step, from 0: a resumed run continues there.
        """
        ...

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, Any]:
        """The loss of one batch.

        Args:
            model: a float or a fake-quantized model, in training or in eval mode; the batch has to
                be moved to its device.
            batch: what ``batches`` yielded.
            carry: what the call for the batch before returned; None at the start.

        Returns:
            the mean loss of the batch, a scalar tensor with a gradient, and the carry for the next
            batch: None, a tensor, or nested tuples of them, without a gradient.
        """
        ...

    def score(self, model: nn.Module, split: Split) -> float:
        """The metric on a split.

        Args:
            model: a float, a fake-quantized or a packed model, in eval mode; gradients are off.
            split: "probe", "valid" or "test".
        """
        ...

    def example(self) -> Example:
        """Inputs for one forward pass, to trace shapes and count operations."""
        ...


def check_task(task: object) -> Task:
    """An object as a task.

    Args:
        task: what a user gives as a task.

    Raises:
        UserError: it lacks an attribute or a method of ``Task``.
    """
    if isinstance(task, type) or not isinstance(task, Task):
        got = task.__name__ if isinstance(task, type) else f"a {type(task).__name__}"
        raise UserError(f"the task must follow autoquant.Task, got {got}{_remedy(task)}")
    return task


def _remedy(task: object) -> str:
    """What to do with something that is no task, for an error; empty where nothing is known."""
    torch = sys.modules.get("torch")  # without it there is no module of torch
    cls = task if isinstance(task, type) else type(task)
    if torch is not None and issubclass(cls, torch.nn.Module):
        return ": wrap the model, as in aq.SupervisedTask(model, train=..., valid=..., test=...)"
    if isinstance(task, type) and isinstance(task, Task):
        return f": make an instance, as in {cls.__name__}(...)"
    return ""


def check_order(function: str, path: object, task: object) -> None:
    """Raise a UserError where a task and a path were given in each other's place.

    Args:
        function: of autoquant, that takes the path first.
        path: its first argument.
        task: its second argument.

    Raises:
        UserError: the first one is a task and the second one a path.
    """
    if isinstance(task, str | os.PathLike) and isinstance(path, Task):
        requirement = f"{function} must get the path first, then the task"
        written = f"aq.{function}({shown(str(task))}, task)"
        raise UserError(f"{requirement}, got them in the other order; write {written}")


@runtime_checkable
class SupportsDistillation(Protocol):
    """A task whose models can also learn from a teacher's outputs (``distill`` above 0).

    ``distillation_loss`` is called in place of ``Task.loss`` during such a training.
    """

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Any, carry: Any, alpha: float
    ) -> tuple[Tensor, Any]:
        """The loss of one batch against a mix of the targets and a teacher's outputs.

        Args:
            model: the student, in training mode.
            teacher: the float model, in eval mode.
            batch: what ``Task.batches`` yielded.
            carry: what the call for the batch before returned; None at the start.
            alpha: weight of the teacher, in [0, 1]; the targets have 1 - alpha.

        Returns:
            the mean loss of the batch, a scalar tensor with a gradient, and the carry for the next
            batch, which holds what both models need.
        """
        ...


@runtime_checkable
class SupportsChecks(Protocol):
    """A task that can be tried on its data before anything is trained."""

    def checks(self, model: nn.Module) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What must work: requirements in words, such as "train must give batches", with a trial.

        An error of a trial is shown behind its requirement, with the line of the user's code.

        Args:
            model: the float model, in eval mode; gradients are off.
        """
        ...

    def notes(self) -> Sequence[str]:
        """Lines that the user should see before a search, such as what is not reproducible."""
        ...


@runtime_checkable
class PrefersSettings(Protocol):
    """A task with settings that suit it, such as the learning rates of its model.

    They replace the defaults of searches, sweeps and profiles of the task: each field that
    ``preferred`` names, in its sections too, and that the user does not name (see
    ``autoquant.settings.settings_for``). An attribute of the class or of the instance will do.

    >>> from autoquant import Search, Training
    >>> class Walks:
    ...     preferred = Search(qat=Training(lr=1e-3))

    """

    @property
    def preferred(self) -> Search | None:
        """The preferred values: the fields that were given to it; None where there are none."""
        ...


@runtime_checkable
class SupportsAssets(Protocol):
    """A task that needs something beside the weights: a vocabulary, the names of classes.

    ``aq.apply`` stores it beside the packed file, and ``aq.evaluate`` gives it back, so that the
    model can be built, and a text of the user's be scored, without the training data.
    """

    def assets(self) -> Mapping[str, bytes]:
        """What is stored, by names of letters, digits, '.', '_' and '-'; called before training."""
        ...

    def restore_assets(self, assets: Mapping[str, bytes]) -> None:
        """Take what was stored in place of what the data would give; called before build_model.

        Args:
            assets: by name, as somebody may have changed them; empty for a packed file without
                any: the task is then as it was built.
        """
        ...


@runtime_checkable
class ScoresFiles(Protocol):
    """A task that can score a file of the user's (``autoquant evaluate file=...``)."""

    def score_file(self, model: nn.Module, path: Path) -> float:
        """The metric on a file.

        Args:
            model: a packed model, in eval mode; gradients are off.
            path: of an existing file.

        Raises:
            UserError: the file cannot be scored.
        """
        ...


class Transcript(NamedTuple):
    """What was recognised in a sound.

    Attributes:
        text: the words.
        notice: how the sound was converted, in one line; empty where it was not.
    """

    text: str
    notice: str = ""


@runtime_checkable
class Transcribes(Protocol):
    """A task whose models recognise speech (``autoquant transcribe``)."""

    def transcribe(self, model: nn.Module, path: Path) -> Transcript:
        """The words of a sound.

        Args:
            model: a packed model, in eval mode; gradients are off.
            path: of an existing file.

        Raises:
            UserError: it holds no sound, or is damaged.
        """
        ...


# --- tasks by name -------------------------------------------------------------------------------

Factory = TypeVar("Factory", bound=Callable[..., Task])

TASKS: dict[str, Callable[..., Task]] = {}
"""What builds the tasks, by their names; ``autoquant.tasks.ready`` registers its own."""


PREFERRED: dict[str, Search] = {}
"""The settings that were given to ``@task``, by the names of the tasks."""


def task(name: str, preferred: Search | None = None) -> Callable[[Factory], Factory]:
    """Register a task under a name.

    Args:
        name: by which a configuration names the task; the last registration of a name counts.
        preferred: settings that suit the task (see ``PrefersSettings``): on the command line, and
            of the task itself where it has none of its own.

    Returns:
        a decorator of a class, or of a function that returns a ``Task``. Its arguments are what a
        configuration can set. A class is returned as it is, a function too where nothing is
        preferred.

    >>> @task("squares")
    ... class Squares:
    ...     def __init__(self, samples: int = 100) -> None: ...
    >>> task_named("squares") is Squares
    True
    """

    def register(factory: Factory) -> Factory:
        registered = factory if preferred is None else _with_preferred(factory, preferred)
        TASKS[name] = registered
        PREFERRED.pop(name, None)
        if preferred is not None:
            PREFERRED[name] = preferred
        return registered

    return register


def _with_preferred(factory: Any, preferred: Search) -> Any:
    """What builds tasks that have settings of their own, or these.

    Args:
        factory: a class, which gets them as an attribute, or a function, which is wrapped.
        preferred: the settings.
    """
    if isinstance(factory, type):
        if getattr(factory, "preferred", None) is None:
            factory.preferred = preferred  # type: ignore[attr-defined]
        return factory

    @wraps(factory)
    def build(*arguments: Any, **options: Any) -> Any:
        built = factory(*arguments, **options)
        if getattr(built, "preferred", None) is None:
            object.__setattr__(built, "preferred", preferred)  # a frozen dataclass too
        return built

    return build


def task_named(name: str) -> Callable[..., Task]:
    """What builds a registered task.

    Args:
        name: under which it was registered. The module with ``@task(name)`` must be imported
            before; for the ready tasks ``autoquant.tasks.ready``.

    Raises:
        UserError: no task has that name.
    """
    if name not in TASKS:
        registered = ", ".join(sorted(TASKS)) or "none"
        raise UserError(f"task must be one that is registered ({registered}), got {shown(name)}")
    return TASKS[name]
