"""Scores: one number from a model's outputs and targets, and which direction of it is better.

The ready ones are ``accuracy``, ``loss`` and ``perplexity``; any function of all outputs and all
targets is a score as well (``FunctionScore``), and any metric that is updated batch by batch
(``MetricScore``).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoquant.copies import is_packed
from autoquant.errors import UserError, shown
from autoquant.task import Direction
from autoquant.tasks.callables import imported_callable
from autoquant.tasks.data.batch import moved
from autoquant.tasks.targets import Loss, counted_targets, ignored_target

Pairs = Iterable[tuple[Any, Any]]
"""Outputs and targets of each batch, on one device."""
ScoreFunction = Callable[[Any, Any], Any]
"""(all outputs, all targets) of a split -> a number."""


class Score(Protocol):
    """What a split is scored by.

    It is called once for each score of a ``SupervisedTask``, with gradients off.
    """

    @property
    def name(self) -> str:
        """What the number is called."""
        ...

    @property
    def direction(self) -> Direction:
        """Whether low or high numbers are good."""
        ...

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """The score of a split.

        Args:
            pairs: outputs and targets of each batch, computed as they are read.
            loss: of the task.
        """
        ...


class Accuracy:
    """Share of targets for which the model's output is largest at the target's class."""

    name = "accuracy"
    direction: Direction = "maximize"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``.

        Args:
            pairs: outputs [N, classes, ...] and targets [N, ...] of each batch.
            loss: tells which targets are ignored.

        Raises:
            UserError: the outputs do not have one axis more than the targets.
        """
        right, total, ignored = 0, 0, ignored_target(loss)
        for outputs, targets in pairs:
            if not isinstance(outputs, Tensor) or outputs.ndim != targets.ndim + 1:
                shape = tuple(getattr(outputs, "shape", ())) or type(outputs).__name__
                raise UserError(
                    "score=accuracy must have outputs [N, classes, ...] and targets [N, ...], got "
                    f"{shape} and {tuple(targets.shape)}"
                )
            counted = targets != ignored
            right += int((outputs.argmax(1) == targets)[counted].sum())
            total += int(counted.sum())
        return right / max(total, 1)


class MeanLoss:
    """The task's loss, averaged over the targets of a split that are not ignored.

    Batches are weighted by ``counted_targets``: for the losses that it knows, the result is the
    loss of the whole split.
    """

    name = "loss"
    direction: Direction = "minimize"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``."""
        total = weight = 0.0
        for outputs, targets in pairs:
            batch_weight = counted_targets(targets, loss)
            if batch_weight:  # the mean of nothing is not a number
                total += float(loss(outputs, targets)) * batch_weight
                weight += batch_weight
        return total / (weight or 1)


class Perplexity(MeanLoss):
    """exp of the mean loss, which must be in nats."""

    name = "perplexity"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``."""
        mean = super().__call__(pairs, loss)
        return math.exp(mean) if mean < 700 else math.inf


@dataclass(frozen=True)
class FunctionScore:
    """A plain function of all outputs and targets of a split, which are joined for it.

    Attributes:
        function: (outputs, targets) -> a number; both in main memory and structured as the batches
            are (tensors, tuples, mappings). Tensors of all batches are one tensor [samples, ...].
            Where their other axes differ, as with sequences of several lengths, they are a list of
            the samples' tensors. Tensors without axes are stacked, other values are listed.
        name: what the number is called.
        direction: whether low or high numbers are good.
    """

    function: ScoreFunction
    name: str
    direction: Direction

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``.

        Raises:
            UserError: the function returned something else than a number.
        """
        cpu = torch.device("cpu")
        batches = [(moved(outputs, cpu), moved(targets, cpu)) for outputs, targets in pairs]
        outputs, targets = zip(*batches, strict=True)
        value = self.function(joined(outputs), joined(targets))
        return as_number(value, f"what the score function {self.name} returns")


@dataclass(frozen=True)
class MetricScore:
    """A metric with ``reset``, ``update(outputs, targets)`` and ``compute``, as torchmetrics has.

    Attributes:
        metric: is reset before each split, and moved to the outputs' device where it can be.
        name: what the number is called.
        direction: whether low or high numbers are good.
    """

    metric: Any
    name: str
    direction: Direction

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """See ``Score.__call__``.

        Raises:
            UserError: the metric is something else than a number.
        """
        self.metric.reset()
        metric = self.metric
        for outputs, targets in pairs:
            tensor = next((x for x in pytree.tree_leaves(outputs) if isinstance(x, Tensor)), None)
            if tensor is not None and hasattr(metric, "to"):
                metric = metric.to(tensor.device)
            metric.update(outputs, targets)
        return as_number(metric.compute(), f"what the metric {self.name} computes")


def is_metric(score: object) -> bool:
    """Whether a score has the methods of ``MetricScore.metric``.

    Args:
        score: what a user gave.
    """
    methods = ("reset", "update", "compute")
    return all(callable(getattr(score, method, None)) for method in methods)


SCORES: dict[str, Score] = {score.name: score for score in (Accuracy(), MeanLoss(), Perplexity())}
"""The ready scores, by their names."""


def resolve_score(
    score: ScoreFunction | Any | str, direction: Direction | None, ready: Mapping[str, Score]
) -> Score:
    """The score that a task's arguments ``score`` and ``direction`` describe.

    Args:
        score: the name of a ready one, a function or its import path, or a metric.
        direction: minimize or maximize; None for a ready one.
        ready: scores by their names.

    Raises:
        UserError: there is no such score, or the direction is missing or another one.
    """
    if isinstance(score, str) and score in ready:
        if direction not in (None, ready[score].direction):
            requirement = f"direction must be {ready[score].direction} for score={score}"
            raise UserError(f"{requirement}, got {shown(direction)}")
        return ready[score]
    if isinstance(score, str) and "." not in score:
        names = ", ".join(ready)
        raise UserError(f"score must be one of {names}, or an import path, got {shown(score)}")
    if direction not in ("minimize", "maximize"):
        raise UserError(
            "direction must be minimize or maximize where score is a function, "
            f"got {shown(direction)}"
        )
    if is_metric(score) and not isinstance(score, type):
        return MetricScore(score, type(score).__name__, direction)
    function = imported_callable("score", score)
    name = getattr(function, "__name__", type(function).__name__)
    return FunctionScore(function, name, direction)


def as_number(value: Any, source: str) -> float:
    """A score as a float.

    Args:
        value: a number, or a tensor or an array with one number.
        source: what gave it, for the error.

    Raises:
        UserError: it is something else.
    """
    requirement = f"{source} must be one number"
    if isinstance(value, str):
        raise UserError(f"{requirement}, got a str")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        shape = getattr(value, "shape", None)
        came = type(value).__name__ if shape is None else f"{type(value).__name__} {[*shape]}"
        raise UserError(f"{requirement}, got {came}") from error


def joined(batches: Sequence[Any]) -> Any:
    """Batches one after the other, see ``FunctionScore.function``.

    Args:
        batches: of outputs or of targets, in main memory.
    """
    if _is_object(batches[0]):
        return _joined_objects(batches)
    parts = [pytree.tree_flatten(_plain(batch), is_leaf=_is_leaf) for batch in batches]
    structure = parts[0][1]
    if any(other != structure for _, other in parts):
        return [_plain(batch) for batch in batches]
    columns = zip(*(leaves for leaves, _ in parts), strict=True)
    return pytree.tree_unflatten([_joined_leaves(column) for column in columns], structure)


def _is_object(batch: Any) -> bool:
    """Whether outputs are a dataclass, or a mapping of a class of its own (with attributes)."""
    own = isinstance(batch, Mapping) and type(batch) not in (dict, OrderedDict)
    return own or (is_dataclass(batch) and not isinstance(batch, type))


def _joined_objects(batches: Sequence[Any]) -> Any:
    """Objects of one class as one object, whose fields or items are joined."""
    result = copy(batches[0])
    if isinstance(result, Mapping):
        for key in batches[0]:
            result[key] = joined([batch[key] for batch in batches])  # type: ignore[index]
        return result
    for each in fields(result):
        value = joined([getattr(batch, each.name) for batch in batches])
        object.__setattr__(result, each.name, value)
    return result


def _joined_leaves(values: tuple[Any, ...]) -> Any:
    """The same part of all batches, as one value."""
    if all(isinstance(value, Tensor) for value in values):
        if not values[0].ndim:
            return torch.stack(values)
        if len({value.shape[1:] for value in values}) == 1:
            return torch.cat(values)
        return [sample for value in values for sample in value]
    lists = all(isinstance(value, list) for value in values)
    return [item for value in values for item in value] if lists else [*values]


def _plain(batch: Any) -> Any:
    """A batch; an ordered mapping as a dict, so that batches of both are joined."""
    return dict(batch) if isinstance(batch, Mapping) else batch


def _is_leaf(value: Any) -> bool:
    """Whether a value is a batch of its own, and not a tuple or a mapping of batches."""
    return is_packed(value) or not isinstance(value, tuple | dict)
