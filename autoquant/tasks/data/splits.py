"""TaskData: the three splits of a task, and how a model is called with their batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import Any

import torch
from torch import nn

from autoquant.copies import copy_inputs
from autoquant.task import Example, Split
from autoquant.tasks.argument_checks import check_whole
from autoquant.tasks.data.batch import Unpacking, moved, samples_of
from autoquant.tasks.data.source import BatchSource, Data, source_of
from autoquant.tasks.model_source import device_of, dtype_of


class TaskData:
    """Training, validation and test data.

    Args:
        train: see ``source.Data``.
        valid: the same.
        test: the same.
        unpacking: how a batch becomes a call of the model.
        batch_size: samples of a batch, where data are samples and not batches.
        batches_per_epoch: batches of an epoch, where the training data have no length.
        probe: how many samples of the valid split are scored in the middle of a run.

    Raises:
        UserError: an argument is not as described.
    """

    def __init__(
        self,
        train: Data,
        valid: Data,
        test: Data,
        *,
        unpacking: Unpacking,
        batch_size: int,
        batches_per_epoch: int | None,
        probe: int,
    ) -> None:
        checked = {"batch_size": batch_size, "probe": probe}
        if batches_per_epoch is not None:
            checked["batches_per_epoch"] = batches_per_epoch
        check_whole(1, **checked)
        labelled = unpacking.labelled and unpacking.function is None
        self._sources: dict[str, BatchSource] = {
            split: source_of(split, data, batch_size=batch_size, steps=steps, labelled=labelled)
            for split, data, steps in (
                ("train", train, batches_per_epoch),
                ("valid", valid, None),
                ("test", test, None),
            )
        }
        self._unpacking, self._probe = unpacking, probe

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches that show every training sample once."""
        return self._sources["train"].steps

    def batches(self, seed: int, start: int) -> Iterator[Any]:
        """Endless training batches, see ``Task.batches``.

        Args:
            seed: of the order of the samples, and of what a dataset draws at random.
            start: number of the first batch, from 0.
        """
        return self._sources["train"].training(seed, start)

    def scored(self, split: Split) -> Iterator[Any]:
        """The batches of a split, always the same ones.

        Args:
            split: "valid" or "test"; "probe" for a part of "valid".
        """
        if split == "probe":
            return self._sources["valid"].some(self._probe)
        return self._sources[split].all()

    @cached_property
    def _first(self) -> Any:
        """The first training batch, which is asked for often."""
        return self._sources["train"].first()

    def call(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """Call a model with a batch.

        Args:
            model: float, fake-quantized or packed; the batch is moved to its device, and inputs of
                real numbers take its precision.
            batch: of this data.

        Returns:
            the model's outputs, and the batch's targets.
        """
        call = self._unpacking(batch).to(device_of(model), dtype_of(model))
        return model(*call.inputs, **call.keywords), call.targets

    def example(self, dtype: torch.dtype | None, unit: str) -> Example:
        """The first training batch, as the model is called with it.

        Args:
            dtype: precision of the model.
            unit: what one sample is called.
        """
        call = self._unpacking(self._first)
        cpu = torch.device("cpu")
        inputs, keywords = moved(copy_inputs((call.inputs, call.keywords), None), cpu, dtype)
        return Example(inputs, samples_of((inputs, keywords)), unit, keywords)

    def checks(self, call: Callable[[Any], Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What must work with one batch of each split: a requirement in words, and a trial of it.

        Args:
            call: calls the model with a batch.
        """
        for split in self._sources:
            own = cache(self._sources[split].first)
            first = (lambda: self._first) if split == "train" else own
            yield f"{split} must give batches", first
            yield (
                f"the model must run on a batch of {split} (unpack= says what it is called with)",
                lambda first=first: call(first()),  # type: ignore[misc]
            )

    def notes(self) -> list[str]:
        """A line for each split that is not the same in two passes with one seed."""
        return [
            f"{split} is not reproducible: {difference} differs between two passes with one seed"
            for split, source in self._sources.items()
            if (difference := source.difference()) is not None
        ]
