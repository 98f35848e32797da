"""TeacherTask: a trained model and inputs without targets; the model itself says what is right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.copies import copy_model
from autoquant.errors import UserError
from autoquant.settings import Search
from autoquant.task import Direction
from autoquant.tasks.callables import imported_callable
from autoquant.tasks.data.batch import Unpack, Unpacking
from autoquant.tasks.data.source import Data
from autoquant.tasks.data.splits import TaskData
from autoquant.tasks.data_task import DataTask
from autoquant.tasks.distillation import distribution_loss
from autoquant.tasks.model_source import ModelSource, device_of, dtype_of
from autoquant.tasks.outputs import Output, check_output, selected
from autoquant.tasks.score import Accuracy, Pairs, Score, ScoreFunction, resolve_score
from autoquant.tasks.targets import Loss


class TeacherTask(DataTask):
    """A task without labels: quantized models learn the float model's outputs (distillation).

    For published models whose training data are not at hand. Any inputs of the kind that the model
    will see will do; a few hundred samples are enough for a first answer.

    >>> inputs = torch.randn(60, 4)
    >>> task = TeacherTask(nn.Linear(4, 3), train=inputs, valid=inputs, test=inputs)

    Args:
        model: the trained model, or what makes it (with its weights) when it is called.
        train: inputs: a DataLoader or any other iterable of batches, a tensor [N, ...] or several
            in a tuple, or a dataset. The model is called with the parts of a tuple one by one, with
            those of a mapping by name, and with anything else as its one argument.
        valid: the same, for the scores that decide between plans.
        test: the same, for the score of the plan that is applied.
        score: agreement, the share of positions at which the largest of the outputs [N, classes,
            ...] is at the same class; distance, the L2 distance of all outputs over their L2 norm
            (of several outputs, the root mean square of these); or a function of all outputs and
            all outputs of the float model, as in ``SupervisedTask``.
        direction: minimize or maximize; needed where ``score`` is a function.
        loss: (outputs, float model's outputs) -> mean loss, a scalar tensor. By default the
            cross-entropy against the float model's distribution where the score is agreement, else
            the squared distance over the squared norm.
        unpack: batch -> inputs, for batches of another form, such as (input, label).
        output: which part of what the model returns is compared, as in ``SupervisedTask``.
        batch_size: samples of a batch, at most, where data are tensors or a dataset.
        batches_per_epoch: batches of an epoch, where ``train`` has no length or fewer are wanted.
        probe: how many samples of the valid split are scored in the middle of a run.
        name: of the task.
        unit: what one sample is called; MACs are given for one.
        preferred: settings that suit the task (see ``PrefersSettings``); nothing when None.

    Raises:
        UserError: an argument is not as described.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module] | nn.Module | str,
        train: Data,
        valid: Data,
        test: Data,
        *,
        score: ScoreFunction | str = "distance",
        direction: Direction | None = None,
        loss: Loss | str | None = None,
        unpack: Unpack | str | None = None,
        output: Output = None,
        batch_size: int = 64,
        batches_per_epoch: int | None = None,
        probe: int = 1000,
        name: str = "teacher",
        unit: str = "sample",
        preferred: Search | None = None,
    ) -> None:
        built = ModelSource(model).build()
        if dtype_of(built) in (torch.float16, torch.bfloat16):
            built = built.float()  # as candidates are trained
        self._teacher = copy_model(built).requires_grad_(False).eval()
        check_output(output)
        self._output = output
        function = None if unpack is None else imported_callable("unpack", unpack)
        data = TaskData(
            train,
            valid,
            test,
            unpacking=Unpacking(function, labelled=False),
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            probe=probe,
        )
        named: dict[str, Any] = {"name": name, "unit": unit, "preferred": preferred}
        super().__init__(ModelSource(built), data, resolve_score(score, direction, SCORES), **named)
        self._loss = _loss_of(loss, self._score)

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, None]:
        """The loss of a batch against the float model's outputs; there is nothing to carry.

        Args:
            model: a float or a fake-quantized model.
            batch: what ``batches`` gave.
            carry: not used.
        """
        outputs, wanted = self._pair(model, batch)
        return self._loss(outputs, wanted), None

    def _pair(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """The outputs of a model, and those of the float model; the parts that are compared."""
        teacher = self._teacher.to(device_of(model))
        with torch.no_grad():
            wanted, _ = self._data.call(teacher, batch)
        outputs, _ = self._data.call(model, batch)
        return selected(outputs, self._output), selected(wanted, self._output)

    def _scored(self, pairs: Pairs, model: nn.Module) -> float:
        return self._score(pairs, self._loss)


class Agreement:
    """Share of positions at which two outputs are largest at the same class."""

    name = "agreement"
    direction: Direction = "maximize"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``; the targets are the float model's outputs.

        Raises:
            UserError: the outputs have no axis of two classes or more.
        """
        classes = ((outputs, _checked_classes(wanted).argmax(1)) for outputs, wanted in pairs)
        return Accuracy()(classes, loss)


class Distance:
    """L2 distance of all outputs over the L2 norm of those of the float model."""

    name = "distance"
    direction: Direction = "minimize"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``; the targets are the float model's outputs."""
        sums: list[list[float]] = []
        for outputs, wanted in pairs:
            for i, (first, second) in enumerate(_real_pairs(outputs, wanted)):
                sums += [[0.0, 0.0]] if i == len(sums) else []
                first, second = first.detach().double(), second.double()
                sums[i][0] += float((first - second).square().sum())
                sums[i][1] += float(second.square().sum())
        shares = [error / norm if norm else float(error > 0) for error, norm in sums]
        return math.sqrt(sum(shares) / len(shares))


SCORES: dict[str, Score] = {score.name: score for score in (Agreement(), Distance())}
"""The ready scores of a TeacherTask, by their names."""


def squared_distance(outputs: Any, wanted: Any) -> Tensor:
    """Squared L2 distance over squared L2 norm, the mean over all outputs of real numbers.

    Args:
        outputs: of a model; tensors in any nested structure.
        wanted: those of the float model.
    """
    shares = [
        (first - second).square().sum() / second.square().sum().clamp_min(1e-12)
        for first, second in _real_pairs(outputs, wanted)
    ]
    return torch.stack(shares).mean()


def _disagreement(outputs: Any, wanted: Any) -> Tensor:
    """The loss that suits agreement: cross-entropy against the float model's distribution."""
    return distribution_loss(outputs, _checked_classes(wanted))


def _checked_classes(wanted: Any) -> Tensor:
    """Outputs of the float model; a UserError where they have no axis of two classes or more."""
    if not isinstance(wanted, Tensor) or wanted.ndim < 2 or wanted.shape[1] < 2:
        shape = tuple(getattr(wanted, "shape", ())) or type(wanted).__name__
        raise UserError(
            "score=agreement must have outputs [N, classes, ...] (output= selects them), got "
            f"{shape}"
        )
    return wanted


def _real_pairs(outputs: Any, wanted: Any) -> list[tuple[Tensor, Tensor]]:
    """The tensors of real numbers in two equal structures."""
    pairs = zip(pytree.tree_leaves(outputs), pytree.tree_leaves(wanted), strict=True)
    real = [(x, y) for x, y in pairs if isinstance(x, Tensor) and x.is_floating_point()]
    if not real:
        kind = type(outputs).__name__
        raise UserError(
            f"a model must return tensors of real numbers (output= selects them), got a {kind}"
        )
    return real


def _loss_of(loss: Loss | str | None, score: Score) -> Loss:
    """The loss that is asked for, or the one that suits the score."""
    if loss is not None:
        function: Loss = imported_callable("loss", loss)
        return function
    return _disagreement if isinstance(score, Agreement) else squared_distance
