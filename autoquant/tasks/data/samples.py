"""Samples: tensors of one length, or a dataset, from which batches are selected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from autoquant.errors import UserError


class SampleBatches:
    """Batches of samples, of sizes that differ by one at most.

    A last batch of a few samples would give a noisy gradient, or an error (batch norm).

    Args:
        split: name of the split, for errors.
        data: tensors [N, ...] of one length, in a tuple or a list; one tensor; or a dataset with a
            length and items.
        batch_size: samples of a batch, at most.
        labelled: whether samples must be tuples with a target, or mappings.

    Raises:
        UserError: the data is something else, or has no sample.
    """

    def __init__(self, split: str, data: Any, batch_size: int, *, labelled: bool = True) -> None:
        self._data = _checked(split, data, labelled)
        self._batch_size = batch_size

    @property
    def steps(self) -> int:
        """Number of batches that show every sample once."""
        return math.ceil(self._samples / self._batch_size)

    @property
    def _samples(self) -> int:
        return len(self._data[0]) if isinstance(self._data, tuple) else len(self._data)

    def training(self, seed: int, start: int) -> Iterator[Any]:
        """Batches of epoch after epoch, each in another order.

        Args:
            seed: of the order of the samples.
            start: number of the first batch, from 0.
        """
        steps = self.steps
        epoch, skipped = divmod(start, steps)
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(self._samples, generator=generator)
            for indices in order.tensor_split(steps)[skipped:]:
                yield self._select(indices)
            epoch, skipped = epoch + 1, 0

    def all(self) -> Iterator[Any]:
        """All samples in their order."""
        return self._in_batches(torch.arange(self._samples))

    def some(self, samples: int) -> Iterator[Any]:
        """Samples that are evenly spread.

        Args:
            samples: how many, at most.
        """
        order = torch.arange(self._samples)
        if samples < len(order):
            order = torch.linspace(0, len(order) - 1, samples).long()
        return self._in_batches(order)

    def first(self) -> Any:
        """The first samples."""
        return self._select(torch.arange(min(self._batch_size, self._samples)))

    def difference(self) -> None:
        """The order depends on nothing but the seed."""
        return

    def _in_batches(self, order: Tensor) -> Iterator[Any]:
        for indices in torch.split(order, self._batch_size):
            yield self._select(indices)

    def _select(self, indices: Tensor) -> Any:
        """A batch of the samples with these numbers, [B]."""
        if isinstance(self._data, tuple):
            return tuple(tensor[indices] for tensor in self._data)
        items = [self._data[i] for i in indices.tolist()]
        batch = default_collate([tuple(x) if isinstance(x, tuple | list) else x for x in items])
        return tuple(batch) if isinstance(batch, list) else batch


def _checked(split: str, data: Any, labelled: bool) -> Any:
    """Data of a split: tensors as a tuple, a dataset as it is.

    Args:
        split: its name, for errors.
        data: what the user gave.
        labelled: whether samples must have a target.
    """
    data = (data,) if isinstance(data, Tensor) and not labelled else data
    tensors = isinstance(data, tuple | list) and all(isinstance(x, Tensor) for x in data)
    if tensors:
        lengths = [len(tensor) for tensor in data]
        if len(data) < 1 + labelled or len(set(lengths)) > 1:
            requirement = f"{split} must be inputs {'and targets ' * labelled}of one length"
            raise UserError(f"{requirement}, got tensors of {lengths or 'no'} samples")
    if len(data[0] if tensors else data) < 1:
        raise UserError(f"{split} must have at least one sample, got none")
    if labelled and not tensors:
        _check_item(split, data[0])
    return tuple(data) if tensors else data


def _check_item(split: str, item: Any) -> None:
    """Raise a UserError where a sample has no target.

    Args:
        split: its name.
        item: a sample of it.
    """
    if not isinstance(item, Mapping) and not (isinstance(item, tuple | list) and len(item) > 1):
        requirement = f"items of {split} must be tuples (input, ..., target), or mappings"
        raise UserError(f"{requirement}, got a {type(item).__name__}")
