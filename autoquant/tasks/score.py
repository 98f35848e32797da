"""Scores: one number from a model's outputs and targets, and which direction of it is better.

The ready ones are ``accuracy``, ``loss`` and ``perplexity``; any function of all outputs and all
targets is a score as well (``FunctionScore``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from autoquant.errors import UserError
from autoquant.task import Direction
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
    """A plain function of all outputs and targets of a split, which are concatenated for it.

    Attributes:
        function: (outputs, targets) -> a number; both in main memory, [samples, ...] or tuples of
            such tensors.
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
        batches = [(_to_cpu(outputs), _to_cpu(targets)) for outputs, targets in pairs]
        outputs, targets = zip(*batches, strict=True)
        value = self.function(_concatenated(outputs), _concatenated(targets))
        return as_number(value, f"what the score function {self.name} returns")


SCORES: dict[str, Score] = {score.name: score for score in (Accuracy(), MeanLoss(), Perplexity())}
"""The ready scores, by their names."""


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


def _is_leaf(value: Any) -> bool:
    """Whether a value is a batch of its own, and not a tuple of batches."""
    return not isinstance(value, tuple)


def _to_cpu(batch: Any) -> Any:
    """A tensor, or tensors nested in tuples, in main memory."""
    return pytree.tree_map_only(Tensor, Tensor.cpu, batch, is_leaf=_is_leaf)


def _concatenated(batches: tuple[Any, ...]) -> Any:
    """Batches one after the other along their first axis; of tuples, each member."""

    def concatenate(*parts: Any) -> Any:
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)
        return [item for part in parts for item in part]

    return pytree.tree_map(concatenate, *batches, is_leaf=_is_leaf)
