"""SupervisedTask: a model, its inputs and targets in three splits, a loss and a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from autoquant.settings import Search
from autoquant.task import Direction
from autoquant.tasks.asset_bytes import bytes_of
from autoquant.tasks.callables import CROSS_ENTROPY, imported_callable
from autoquant.tasks.data.batch import Unpack, Unpacking
from autoquant.tasks.data.source import Data
from autoquant.tasks.data.splits import TaskData
from autoquant.tasks.data_task import DataTask
from autoquant.tasks.distillation import distilled_loss
from autoquant.tasks.model_source import ModelSource, device_of
from autoquant.tasks.outputs import Output, check_output, selected
from autoquant.tasks.score import SCORES, Pairs, ScoreFunction, resolve_score
from autoquant.tasks.targets import Loss, counted_targets, on_device


class SupervisedTask(DataTask):
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
        batches_per_epoch: batches of an epoch, where ``train`` has no length or fewer are wanted.
        probe: how many samples of the valid split are scored in the middle of a run.
        name: of the task.
        unit: what one sample is called; MACs are given for one.
        assets: texts or bytes that a user of the packed file needs, such as the names of classes or
            a vocabulary, by name. ``aq.apply`` stores them beside it, ``aq.assets`` reads them.
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
        self._loss: Loss = imported_callable("loss", loss)
        check_output(output)
        self._output, self._assets = output, bytes_of(assets)
        function = None if unpack is None else imported_callable("unpack", unpack)
        data = TaskData(
            train,
            valid,
            test,
            unpacking=Unpacking(function, target),
            batch_size=batch_size,
            batches_per_epoch=batches_per_epoch,
            probe=probe,
        )
        named: dict[str, Any] = {"name": name, "unit": unit, "preferred": preferred}
        super().__init__(ModelSource(model), data, resolve_score(score, direction, SCORES), **named)

    def loss(self, model: nn.Module, batch: Any, carry: Any) -> tuple[Tensor, None]:
        """The loss of a batch, 0 where all its targets are ignored; there is nothing to carry.

        Args:
            model: a float or a fake-quantized model.
            batch: what ``batches`` gave.
            carry: not used.
        """
        outputs, targets = self._pair(model, batch)
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
            teacher_outputs, _ = self._pair(teacher, batch)
        outputs, targets = self._pair(model, batch)
        if not counted_targets(targets, self._loss):
            return _zero_of(outputs), None
        loss = on_device(self._loss, device_of(model))
        return distilled_loss(loss, outputs, teacher_outputs, targets, alpha), None

    def assets(self) -> dict[str, bytes]:
        """See ``SupportsAssets.assets``."""
        return self._assets

    def restore_assets(self, assets: Mapping[str, bytes]) -> None:
        """See ``SupportsAssets.restore_assets``; neither the model nor the score needs them.

        Args:
            assets: of a packed file.
        """

    def _pair(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """The outputs that loss and score read, and the targets."""
        outputs, targets = self._data.call(model, batch)
        return selected(outputs, self._output), targets

    def _scored(self, pairs: Pairs, model: nn.Module) -> float:
        return self._score(pairs, on_device(self._loss, device_of(model)))


def _zero_of(outputs: Any) -> Tensor:
    """A loss of 0 with a gradient of 0, for a batch without a target that counts."""
    tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return next(0 * t.flatten()[:1].sum() for t in tensors if t.is_floating_point())
