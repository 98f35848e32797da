"""Any model that maps inputs to outputs: a factory, data in three splits, a loss and a score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from autoquant.copies import copy_model
from autoquant.errors import UserError, shown
from autoquant.kernels import distillation_cross_entropy
from autoquant.plugins import resolve_path
from autoquant.settings import Search
from autoquant.task import Direction, Example, Split
from autoquant.tasks.samples import Batch, Data, checked_data, length_of, select
from autoquant.tasks.score import (
    SCORES,
    FunctionScore,
    Pairs,
    Score,
    ScoreFunction,
)
from autoquant.tasks.targets import Loss, counted_targets

CROSS_ENTROPY = "torch.nn.functional.cross_entropy"
IMPORTED = ("model", "loss", "score")
"""Arguments that are imported where they are texts, unless they name a ready score."""


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
        valid: the same, for the scores that decide between plans.
        test: the same, for the score of the plan that is applied.
        loss: (outputs, targets) -> mean loss, a scalar tensor. Its ``ignore_index`` (an attribute,
            or the default of an argument, as of a functools.partial) is the target that does not
            count, in training and in scores; -100 where it has none. Scales are calibrated, and the
            sensitivity is measured, with what the model returns in eval mode; where the loss fails
            with that, in training mode with dropout and norms in eval mode.
        score: accuracy, loss, perplexity, or a function of all outputs and all targets of a split.
        direction: minimize or maximize; needed where ``score`` is a function.
        batch_size: samples B of a batch, at most.
        probe: how many samples of the valid split are scored in the middle of a run.
        name: of the task.
        unit: what one sample is called; MACs are given for one.
        preferred: settings that suit the task (see ``PrefersSettings``); nothing when None.

    Raises:
        UserError: an argument is not as described.
    """

    preferred: Search | None = None

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
        preferred: Search | None = None,
    ) -> None:
        for setting, value in (("batch_size", batch_size), ("probe", probe)):
            if type(value) is not int or value < 1:
                raise UserError(f"{setting} must be a whole number from 1 up, got {shown(value)}")
        self._model = model if isinstance(model, nn.Module) else _callable("model", model)
        self._dtype: torch.dtype | None = None  # of the model, once it has been built
        self._loss: Loss = _callable("loss", loss)
        self._score = _score_of(score, direction)
        splits = {"train": train, "valid": valid, "test": test}
        self._data = {split: checked_data(split, data) for split, data in splits.items()}
        if preferred is not None:
            self.preferred = preferred
        self.name, self.unit = name, unit
        self.metric, self.direction = self._score.name, self._score.direction
        self.batch_size, self.probe = batch_size, probe

    def build_model(self) -> nn.Module:
        """A new model, or a copy of the one that was given.

        Raises:
            UserError: what was given for ``model`` made something else.
        """
        model = copy_model(self._model) if isinstance(self._model, nn.Module) else self._model()
        if not isinstance(model, nn.Module):
            raise UserError(f"model must make a torch.nn.Module, got a {type(model).__name__}")
        self._dtype = _dtype_of(model)
        return model

    def steps_per_epoch(self) -> int:
        """Number of batches that show every training sample once."""
        return math.ceil(length_of(self._data["train"]) / self.batch_size)

    def batches(self, seed: int, start: int = 0) -> Iterator[Batch]:
        """Batches of epoch after epoch, each in another order, of sizes that differ by one at most.

        A last batch of a few samples would give a noisy gradient, or an error (batch norm).

        Args:
            seed: of the order of the samples.
            start: number of the first batch, from 0.
        """
        steps = self.steps_per_epoch()
        epoch, skipped = divmod(start, steps)
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(length_of(self._data["train"]), generator=generator)
            for indices in order.tensor_split(steps)[skipped:]:
                yield select(self._data["train"], indices)
            epoch, skipped = epoch + 1, 0

    def loss(self, model: nn.Module, batch: Batch, carry: Any) -> tuple[Tensor, None]:
        """The loss of a batch, 0 where all its targets are ignored; there is nothing to carry.

        Args:
            model: a float or a fake-quantized model.
            batch: inputs and targets.
            carry: not used.
        """
        outputs, targets = _forward(model, batch)
        if not counted_targets(batch[-1], self._loss):
            return _zero_of(outputs), None
        return self._loss(outputs, targets), None

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Batch, carry: Any, alpha: float
    ) -> tuple[Tensor, None]:
        """Cross-entropy against a mix of the targets and the teacher's distribution.

        Args:
            model: the student; its outputs are logits [N, classes, ...].
            teacher: the float model, in eval mode.
            batch: inputs and targets.
            carry: not used.
            alpha: weight of the teacher.

        Raises:
            UserError: the task's loss is not cross-entropy.
        """
        if self._loss is not F.cross_entropy:
            requirement = f"distill must be 0 where the loss is not {CROSS_ENTROPY}"
            raise UserError(f"{requirement}, got {alpha}")
        with torch.no_grad():
            teacher_logits, _ = _forward(teacher, batch)
        logits, targets = _forward(model, batch)
        if not counted_targets(batch[-1], self._loss):
            return _zero_of(logits), None
        loss = distillation_cross_entropy(
            _rows(logits), _rows(teacher_logits), targets.flatten(), alpha
        )
        return loss, None

    def score(self, model: nn.Module, split: Split) -> float:
        """The score over all samples of a split.

        Args:
            model: in eval mode.
            split: "valid" or "test"; "probe" for samples spread evenly over "valid".
        """
        return self._score(self._pairs(model, split), self._loss)

    def example(self) -> Example:
        """The first samples of the training data, as the model is called with them."""
        count = min(self.batch_size, length_of(self._data["train"]))
        inputs = select(self._data["train"], torch.arange(count))[:-1]
        if self._dtype is None:
            with torch.random.fork_rng(devices=[]):
                self.build_model()
        inputs = tuple(_in_precision(value, self._dtype) for value in inputs)
        return Example(inputs, count, self.unit)

    def _pairs(self, model: nn.Module, split: Split) -> Pairs:
        data = self._data["valid" if split == "probe" else split]
        order = torch.arange(length_of(data))
        if split == "probe" and self.probe < len(order):
            order = torch.linspace(0, len(order) - 1, self.probe).long()
        for indices in torch.split(order, self.batch_size):
            yield _forward(model, select(data, indices))


def _forward(model: nn.Module, batch: Batch) -> tuple[Any, Any]:
    """Outputs and targets, on the model's device; inputs of real numbers in its precision."""
    device, dtype = next(model.parameters()).device, _dtype_of(model)
    *inputs, targets = (x.to(device) if isinstance(x, Tensor) else x for x in batch)
    return model(*(_in_precision(value, dtype) for value in inputs)), targets


def _dtype_of(model: nn.Module) -> torch.dtype | None:
    """The type of a model's first parameter of real numbers; None where it has none."""
    dtypes = (parameter.dtype for parameter in model.parameters())
    return next((dtype for dtype in dtypes if dtype.is_floating_point), None)


def _in_precision(value: Any, dtype: torch.dtype | None) -> Any:
    """An input; one of real numbers in a model's type."""
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _zero_of(outputs: Any) -> Tensor:
    """A loss of 0 with a gradient of 0, for a batch without a target that counts."""
    tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return next(0 * t.flatten()[:1].sum() for t in tensors if t.is_floating_point())


def _rows(logits: Tensor) -> Tensor:
    """Logits [N, classes, ...] as rows [N * ..., classes]."""
    return logits.movedim(1, -1).flatten(0, -2)


# --- callables by name ----------------------------------------------------------------------------


def _callable(setting: str, value: Any) -> Any:
    """A callable, or what its import path names."""
    requirement = f"{setting} must be an import path such as {CROSS_ENTROPY}"
    function = resolve_path(value, requirement) if isinstance(value, str) else value
    if not callable(function):
        raise UserError(
            f"{setting} must be something to call or its import path, got {shown(value)}"
        )
    return function


def _score_of(score: ScoreFunction | str, direction: Direction | None) -> Score:
    """The score that the settings ``score`` and ``direction`` describe."""
    if isinstance(score, str) and score in SCORES:
        ready = SCORES[score]
        if direction not in (None, ready.direction):
            requirement = f"direction must be {ready.direction} for score={score}"
            raise UserError(f"{requirement}, got {shown(direction)}")
        return ready
    if isinstance(score, str) and "." not in score:
        names = ", ".join(SCORES)
        raise UserError(f"score must be one of {names}, or an import path, got {shown(score)}")
    if direction not in ("minimize", "maximize"):
        raise UserError(
            "direction must be minimize or maximize where score is a function, "
            f"got {shown(direction)}"
        )
    function = _callable("score", score)
    name = getattr(function, "__name__", type(function).__name__)
    return FunctionScore(function, name, direction)
