"""Scores: a model's outputs and targets made one number, and which direction of it is better.

The ready ones are ``accuracy``, ``loss`` and ``perplexity``; any function of all outputs and all
targets is a score as well (``Whole``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from autoquant.errors import UserError
from autoquant.task import Direction

IGNORED = -100  # a target that is not predicted, such as padding (torch's default)

Pairs = Iterable[tuple[Any, Any]]  # outputs and targets of each batch, on one device
Loss = Callable[[Any, Any], Tensor]  # (outputs, targets) -> mean, a scalar
ScoreFunction = Callable[[Any, Any], Any]  # (outputs, targets) -> a number


class Score(Protocol):
    """What a split is scored by."""

    @property
    def name(self) -> str:
        """What the number is called."""
        ...

    @property
    def direction(self) -> Direction:
        """Which way is better."""
        ...

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        """The score of a split; ``loss`` is the task's."""
        ...


class Accuracy:
    """Share of targets that have the largest of the outputs [N, classes, ...]."""

    name = "accuracy"
    direction: Direction = "maximize"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        right = total = 0
        for outputs, targets in pairs:
            if not isinstance(outputs, Tensor) or outputs.ndim != targets.ndim + 1:
                shape = tuple(getattr(outputs, "shape", ())) or type(outputs).__name__
                raise UserError(
                    "score=accuracy must have outputs [N, classes, ...] and targets [N, ...], got "
                    f"{shape} and {tuple(targets.shape)}"
                )
            known = targets != IGNORED
            right += int((outputs.argmax(1) == targets)[known].sum())
            total += int(known.sum())
        return right / max(total, 1)


class MeanLoss:
    """The task's loss, averaged over the targets of a split."""

    name = "loss"
    direction: Direction = "minimize"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        total, count = 0.0, 0
        for outputs, targets in pairs:
            own = _count(targets)
            if own:  # the mean of nothing is not a number
                total, count = total + float(loss(outputs, targets)) * own, count + own
        return total / max(count, 1)


class Perplexity(MeanLoss):
    """exp of the mean loss, which must be in nats."""

    name = "perplexity"

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        mean = super().__call__(pairs, loss)
        return math.exp(mean) if mean < 700 else math.inf


@dataclass(frozen=True)
class Whole:
    """A plain function of all outputs and targets of a split, which are put together for it."""

    function: ScoreFunction
    name: str
    direction: Direction

    def __call__(self, pairs: Pairs, loss: Loss) -> float:
        outputs, targets = zip(*((_kept(a), _kept(b)) for a, b in pairs), strict=True)
        return float(self.function(_together(outputs), _together(targets)))


SCORES: dict[str, Score] = {each.name: each for each in (Accuracy(), MeanLoss(), Perplexity())}


def _count(targets: Any) -> int:
    """How many targets a mean loss is over: all but the ignored ones."""
    if not isinstance(targets, Tensor):
        return len(targets)
    return int((targets != IGNORED).sum()) if not targets.is_floating_point() else len(targets)


def _kept(value: Any) -> Any:
    """A tensor, or a tuple of tensors, in main memory."""
    if isinstance(value, Tensor):
        return value.cpu()
    return tuple(map(_kept, value)) if isinstance(value, tuple) else value


def _together(parts: tuple[Any, ...]) -> Any:
    """Batches one after the other along their first axis; of tuples, each member."""
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], tuple):
        return tuple(_together(each) for each in zip(*parts, strict=True))
    return [item for part in parts for item in part]
