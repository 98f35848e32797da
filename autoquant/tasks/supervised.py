"""SupervisedTask: a model, its inputs and targets in three splits, a loss and a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.errors import UserError, shown
from autoquant.settings import Search
from autoquant.task import Direction, Example, Split
from autoquant.tasks.asset_bytes import bytes_of
from autoquant.tasks.callables import CROSS_ENTROPY, imported_callable
from autoquant.tasks.data.batch import Unpack, Unpacking
from autoquant.tasks.data.source import Data
from autoquant.tasks.data.splits import TaskData
from autoquant.tasks.distillation import distilled_loss
from autoquant.tasks.model_source import ModelSource, device_of, preferred_of
from autoquant.tasks.outputs import Output, check_output, selected
from autoquant.tasks.score import (
    SCORES,
    FunctionScore,
    MetricScore,
    Pairs,
    Score,
    ScoreFunction,
    is_metric,
)
from autoquant.tasks.targets import Loss, counted_targets, on_device


class SupervisedTask:
    """A task of batches with inputs and targets.

    >>> from torch.utils.data import DataLoader, TensorDataset
    >>> data = TensorDataset(torch.randn(90, 4), torch.randint(3, (90,)))
    >>> task = SupervisedTask(
    ...     model=nn.Linear(4, 3),  # with the weights that you have trained
    ...     train=DataLoader(data, batch_size=16, shuffle=True),
    ...     valid=DataLoader(data, batch_size=64),
    ...     test=DataLoader(data, batch_size=64),
    ... )

    Data are a DataLoader with any sampler, collate function and number of workers; or tensors
    [N, ...] in a tuple, or a dataset with a length and items, which are cut into batches here; or
    any other iterable of batches that can be iterated again. Order and random augmentations follow
    the search's seed: a loader's own generators are seeded for each batch and then given back, so
    that a training that was stopped goes on with the batches that it would have had.

    A function may also be given as its import path ("package.module.name"), as a configuration file
    does; there ``model`` is best a ``_target_`` with ``_partial_: true``.

    Args:
        model: a model with trained weights, which is not trained again unless ``baseline`` of the
            search's settings says so; or what makes a new one when it is called, such as its class.
        train: training data. A batch is a tuple (input, ..., target), or a mapping: the model is
            called with the inputs, those of a mapping by name. See ``target`` and ``unpack``.
        valid: the same, for the scores that decide between plans.
        test: the same, for the score of the plan that is applied.
        loss: (outputs, targets) -> mean loss, a scalar tensor. Its ``ignore_index`` (an attribute,
            or the default of an argument, as of a functools.partial) is the target that does not
            count, in training and in scores; -100 where it has none. Scales are calibrated, and the
            sensitivity is measured, with what the model returns in eval mode; where the loss fails
            with that, in training mode with dropout and norms in eval mode.
        score: accuracy, loss, perplexity; a function of all outputs and all targets of a split (see
            ``tasks.score.FunctionScore`` for how batches are joined); or a metric with ``reset``,
            ``update`` and ``compute``, as those of torchmetrics.
        direction: minimize or maximize; needed where ``score`` is a function or a metric.
        target: where the targets of a batch are: a key, or a number; by default the last part of a
            tuple, and in a mapping the first of labels, label, targets, target, y.
        unpack: batch -> (inputs, targets), for any other batch; inputs are a tuple of arguments, a
            mapping of arguments by name, or the one argument. Called before the batch is moved to
            the model's device.
        output: which part of what the model returns the loss and the score read: a key or an
            attribute ("logits"), a number, or a function of it; all of it by default.
        batch_size: samples B of a batch, at most, where data are tensors or a dataset.
        batches_per_epoch: batches of an epoch, where ``train`` has no length.
        probe: how many samples of the valid split are scored in the middle of a run.
        name: of the task.
        unit: what one sample is called; MACs are given for one.
        assets: texts or bytes that a user of the packed file needs, such as the names of classes or
            a vocabulary, by name. ``aq.apply`` stores them beside it, ``aq.assets`` reads them.
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
        score: ScoreFunction | Any | str = "accuracy",
        direction: Direction | None = None,
        target: str | int | None = None,
        unpack: Unpack | str | None = None,
        output: Output = None,
        batch_size: int = 64,
        batches_per_epoch: int | None = None,
        probe: int = 1000,
        name: str = "supervised",
        unit: str = "sample",
        assets: Mapping[str, str | bytes] | None = None,
        preferred: Search | None = None,
    ) -> None:
        self._source = ModelSource(model)
        self._loss: Loss = imported_callable("loss", loss)
        self._score = _score_of(score, direction)
        check_output(output)
        self._output, self._assets = output, bytes_of(assets)
        function = None if unpack is None else imported_callable("unpack", unpack)
        self._data = TaskData(
            train,
            valid,
            test,
            unpacking=Unpacking(function, target),
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            probe=probe,
        )
        self.name, self.unit = name, unit
        self.metric, self.direction = self._score.name, self._score.direction
        preferred = self.preferred if preferred is None else preferred
        self.preferred = preferred_of(preferred, trained=self._source.is_instance)

    def build_model(self) -> nn.Module:
        """A new model, or a copy of the one that was given.

        Raises:
            UserError: what was given for ``model`` made something else.
        """
        return self._source.build()

    def steps_per_epoch(self) -> int:
        """Number of batches that show every training sample once."""
        return self._data.steps_per_epoch

    def batches(self, seed: int, start: int = 0) -> Iterator[Any]:
        """Training batches of epoch after epoch, each in another order.

        Args:
            seed: of the order of the samples, and of what a dataset draws at random.
            start: number of the first batch, from 0.
        """
        return self._data.batches(seed, start)

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, None]:
        """The loss of a batch, 0 where all its targets are ignored; there is nothing to carry.

        Args:
            model: a float or a fake-quantized model.
            batch: what ``batches`` gave.
            carry: not used.
        """
        outputs, targets = self._call(model, batch)
        if not counted_targets(targets, self._loss):
            return _zero_of(outputs), None
        return on_device(self._loss, device_of(model))(outputs, targets), None

    def distillation_loss(
        self, model: nn.Module, teacher: nn.Module, batch: Any, carry: Any, alpha: float
    ) -> tuple[Tensor, None]:
        """The loss against a mix of the targets and the teacher's outputs: ``distilled_loss``.

        Args:
            model: the student.
            teacher: the float model, in eval mode.
            batch: what ``batches`` gave.
            carry: not used.
            alpha: weight of the teacher.

        Raises:
            UserError: the task's loss cannot compare outputs with those of a teacher.
        """
        with torch.no_grad():
            teacher_outputs, _ = self._call(teacher, batch)
        outputs, targets = self._call(model, batch)
        if not counted_targets(targets, self._loss):
            return _zero_of(outputs), None
        loss = on_device(self._loss, device_of(model))
        return distilled_loss(loss, outputs, teacher_outputs, targets, alpha), None

    def score(self, model: nn.Module, split: Split) -> float:
        """The score over all samples of a split.

        Args:
            model: in eval mode.
            split: "valid" or "test"; "probe" for a part of "valid".
        """
        return self._score(self._pairs(model, split), on_device(self._loss, device_of(model)))

    def example(self) -> Example:
        """The first training batch, as the model is called with it."""
        return self._data.example(self._source.dtype, self.unit)

    def assets(self) -> dict[str, bytes]:
        """See ``SupportsAssets.assets``."""
        return self._assets

    def restore_assets(self, assets: Mapping[str, bytes]) -> None:
        """See ``SupportsAssets.restore_assets``; neither the model nor the score needs them.

        Args:
            assets: of a packed file.
        """

    def checks(self, model: nn.Module) -> Iterator[tuple[str, Callable[[], Any]]]:
        """See ``SupportsChecks``: one batch of each split.

        Args:
            model: the float model.
        """
        return self._data.checks(lambda batch: self._call(model, batch))

    def notes(self) -> list[str]:
        """See ``SupportsChecks``: data that are not the same twice."""
        return self._data.notes()

    def _call(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """The outputs that loss and score read, and the targets."""
        outputs, targets = self._data.call(model, batch)
        return selected(outputs, self._output), targets

    def _pairs(self, model: nn.Module, split: Split) -> Pairs:
        for batch in self._data.scored(split):
            yield self._call(model, batch)


def _zero_of(outputs: Any) -> Tensor:
    """A loss of 0 with a gradient of 0, for a batch without a target that counts."""
    tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return next(0 * t.flatten()[:1].sum() for t in tensors if t.is_floating_point())


def _score_of(score: ScoreFunction | Any | str, direction: Direction | None) -> Score:
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
    if is_metric(score) and not isinstance(score, type):
        return MetricScore(score, type(score).__name__, direction)
    function = imported_callable("score", score)
    name = getattr(function, "__name__", type(function).__name__)
    return FunctionScore(function, name, direction)
