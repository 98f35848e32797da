"""Any model that maps inputs to outputs: a factory, data in three splits, a loss and a score."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from autoquant.errors import UserError
from autoquant.imports import imported
from autoquant.kernels import distillation_cross_entropy
from autoquant.task import Direction, Example, Split
from autoquant.tasks.score import SCORES, Loss, Pairs, Score, ScoreFunction, Whole

CROSS_ENTROPY = "torch.nn.functional.cross_entropy"

Batch = tuple[Any, ...]  # inputs, and the targets at the end
Data = Sequence[Tensor] | Any  # tensors of one length, targets last; or a map-style dataset


class SupervisedTask:
    """A task of independent samples.

    >>> task = SupervisedTask(
    ...     model=lambda: nn.Linear(4, 3),
    ...     train=(torch.randn(90, 4), torch.randint(3, (90,))),
    ...     valid=(torch.randn(30, 4), torch.randint(3, (30,))),
    ...     test=(torch.randn(30, 4), torch.randint(3, (30,))),
    ... )

    A function may also be given as its import path ("package.module.name"), as a configuration file
    does; there ``model`` is best a ``_target_`` with ``_partial_: true``.

    Args:
        model: what makes a new model when it is called; or a model, of which copies are trained.
        train: inputs and targets: tensors [N, ...], the targets last, or a dataset with a length
            whose items are such tuples of one sample. The model is called with the inputs.
        valid: the same, for the scores that decide.
        test: the same, for the score of what was chosen.
        loss: (outputs, targets) -> mean loss, a scalar tensor.
        score: accuracy, loss, perplexity, or a function of all outputs and all targets of a split.
        direction: minimize or maximize; needed with a function.
        batch_size: samples B of a batch, at most.
        probe: how many samples of the valid split are scored in the middle of a run.
        name: of the task.
        unit: what one sample is, for people.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module] | nn.Module | str,
        train: Data,
        valid: Data,
        test: Data,
        *,
        loss: Loss | str = CROSS_ENTROPY,
        score: ScoreFunction | str = "accuracy",
        direction: Direction | None = None,
        batch_size: int = 64,
        probe: int = 1000,
        name: str = "supervised",
        unit: str = "sample",
    ) -> None:
        for setting, value in (("batch_size", batch_size), ("probe", probe)):
            if type(value) is not int or value < 1:
                raise UserError(f"{setting} must be a whole number from 1 up, got {value!r}")
        self._model = model if isinstance(model, nn.Module) else _callable("model", model)
        self._loss: Loss = _callable("loss", loss)
        self._score = _score_of(score, direction)
        given = {"train": train, "valid": valid, "test": test}
        self._data = {split: _checked(split, data) for split, data in given.items()}
        self.name, self.unit = name, unit
        self.metric, self.direction = self._score.name, self._score.direction
        self.batch_size, self.probe = batch_size, probe

    def build_model(self) -> nn.Module:
        if isinstance(self._model, nn.Module):
            return copy.deepcopy(self._model)
        model = self._model()
        if not isinstance(model, nn.Module):
            raise UserError(f"model must make a torch.nn.Module, got a {type(model).__name__}")
        return model

    def steps_per_epoch(self) -> int:
        return math.ceil(_length(self._data["train"]) / self.batch_size)

    def batches(self, seed: int, start: int = 0) -> Iterator[Batch]:
        """Batches of epoch after epoch, each in an order of its own and of sizes as even as can be.

        A last batch of a few samples would be a step of much noise, or an error (batch norm).
        """
        steps = self.steps_per_epoch()
        epoch, skipped = divmod(start, steps)
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(_length(self._data["train"]), generator=generator)
            for chosen in order.tensor_split(steps)[skipped:]:
                yield _taken(self._data["train"], chosen)
            epoch, skipped = epoch + 1, 0

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, None]:
        """The loss of a batch; there is nothing to carry."""
        outputs, targets = _forward(model, batch)
        return self._loss(outputs, targets), None

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Batch, carry: Any, share: float
    ) -> tuple[Tensor, None]:
        """Cross-entropy with ``share`` of the targets' weight on the teacher's classes.

        Raises:
            UserError: the task's loss is another one.
        """
        if self._loss is not F.cross_entropy:
            rule = f"distill must be 0 where the loss is not {CROSS_ENTROPY}"
            raise UserError(f"{rule}, got {share}")
        with torch.no_grad():
            soft, _ = _forward(teacher, batch)
        outputs, targets = _forward(model, batch)
        outputs, soft = (each.movedim(1, -1).flatten(0, -2) for each in (outputs, soft))
        return distillation_cross_entropy(outputs, soft, targets.flatten(), share), None

    def score(self, model: nn.Module, split: Split) -> float:
        """The score over all samples of a split; "probe" is spread evenly over "valid"."""
        return self._score(self._pairs(model, split), self._loss)

    def example(self) -> Example:
        """The first samples of the training data."""
        count = min(self.batch_size, _length(self._data["train"]))
        inputs = _taken(self._data["train"], torch.arange(count))[:-1]
        return Example(inputs, count, self.unit)

    def _pairs(self, model: nn.Module, split: Split) -> Pairs:
        data = self._data["valid" if split == "probe" else split]
        order = torch.arange(_length(data))
        if split == "probe" and self.probe < len(order):
            order = torch.linspace(0, len(order) - 1, self.probe).long()
        for chosen in torch.split(order, self.batch_size):
            yield _forward(model, _taken(data, chosen))


def _forward(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """Outputs and targets, on the model's device; inputs of real numbers in its precision."""
    like = next(model.parameters())
    moved = [each.to(like.device) if isinstance(each, Tensor) else each for each in batch]
    inputs = (
        each.to(like.dtype) if isinstance(each, Tensor) and each.is_floating_point() else each
        for each in moved[:-1]
    )
    return model(*inputs), moved[-1]


# --- data ----------------------------------------------------------------------------------------


def _checked(split: str, data: Data) -> Data:
    """Data of a split, if it has samples of inputs and targets."""
    tensors = isinstance(data, tuple | list) and all(isinstance(each, Tensor) for each in data)
    if tensors:
        lengths = [len(each) for each in data]
        if len(data) < 2 or len(set(lengths)) > 1:
            rule = f"{split} must be inputs and targets of one length"
            raise UserError(f"{rule}, got tensors of {lengths or 'no'} samples")
    elif not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        rule = f"{split} must be tensors, or a dataset with a length and items"
        raise UserError(f"{rule}, got a {type(data).__name__}")
    if _length(data) < 1:
        raise UserError(f"{split} must have at least one sample, got none")
    if not tensors and not (isinstance(data[0], tuple | list) and len(data[0]) > 1):
        rule = f"items of {split} must be tuples (input, ..., target)"
        raise UserError(f"{rule}, got a {type(data[0]).__name__}")
    return tuple(data) if tensors else data


def _length(data: Data) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)


def _taken(data: Data, chosen: Tensor) -> Batch:
    """A batch of some samples: their inputs and, last, their targets."""
    if isinstance(data, tuple):
        return tuple(each[chosen] for each in data)
    return tuple(default_collate([tuple(data[i]) for i in chosen.tolist()]))


# --- callables by name ----------------------------------------------------------------------------


def _callable(setting: str, given: Any) -> Any:
    """A callable, or what its import path names."""
    found = imported(given) if isinstance(given, str) else given
    if found is None:
        raise UserError(f"{setting} must be an import path such as {CROSS_ENTROPY}, got {given!r}")
    if not callable(found):
        raise UserError(f"{setting} must be something to call or its import path, got {given!r}")
    return found


def _score_of(score: ScoreFunction | str, direction: Direction | None) -> Score:
    if isinstance(score, str) and score in SCORES:
        ready = SCORES[score]
        if direction not in (None, ready.direction):
            rule = f"direction must be {ready.direction} for score={score}"
            raise UserError(f"{rule}, got {direction!r}")
        return ready
    if isinstance(score, str) and "." not in score:
        known = ", ".join(SCORES)
        raise UserError(f"score must be one of {known}, or an import path, got {score!r}")
    if direction not in ("minimize", "maximize"):
        raise UserError(
            f"direction must be minimize or maximize where score is a function, got {direction!r}"
        )
    function = _callable("score", score)
    name = getattr(function, "__name__", type(function).__name__)
    return Whole(function, name, direction)
