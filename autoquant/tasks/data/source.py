"""BatchSource: the batches of one split, whatever the user gave for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from autoquant.errors import UserError, shown
from autoquant.tasks.data.loader import LoaderBatches, is_plain_loader
from autoquant.tasks.data.samples import SampleBatches
from autoquant.tasks.data.stream import StreamBatches

Data = Sequence[Tensor] | DataLoader[Any] | Any
"""Tensors [N, ...] of one length; a map-style dataset; a DataLoader; or any iterable of batches
that can be iterated more than once."""


class BatchSource(Protocol):
    """The batches of one split.

    A batch is what the user's data gives: tensors in tuples or mappings, or anything else.
    """

    @property
    def steps(self) -> int:
        """Number of batches that show every sample once."""
        ...

    def training(self, seed: int, start: int) -> Iterator[Any]:
        """Endless batches, pass after pass; the same seed gives the same batches.

        Args:
            seed: of the order, and of what a dataset draws at random.
            start: number of the first batch, from 0.
        """
        ...

    def all(self) -> Iterator[Any]:
        """The batches of one pass, always the same ones."""
        ...

    def some(self, samples: int) -> Iterator[Any]:
        """Batches, or parts of batches, of about as many samples, spread over the split.

        Args:
            samples: how many, at least.
        """
        ...

    def first(self) -> Any:
        """One batch."""
        ...

    def difference(self) -> str | None:
        """What is not the same in two passes with one seed; None where all is."""
        ...


def source_of(
    split: str, data: Data, *, batch_size: int, steps: int | None, labelled: bool
) -> BatchSource:
    """The batches of what a user gave for a split.

    Args:
        split: its name, for errors.
        data: see ``Data``.
        batch_size: samples of a batch, where ``data`` are samples.
        steps: batches of an epoch, where ``data`` has no length.
        labelled: whether samples must be tuples with a target, or mappings.

    Raises:
        UserError: the data is something else, or has no sample.
    """
    if is_plain_loader(data):
        return LoaderBatches(split, data, steps)
    samples = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    if samples and not isinstance(data, IterableDataset | DataLoader | str | bytes | dict):
        return SampleBatches(split, data, batch_size, labelled=labelled)
    if isinstance(data, Iterator):
        requirement = f"{split} must be something to iterate more than once"
        raise UserError(f"{requirement}, such as a DataLoader, got a {type(data).__name__}")
    if isinstance(data, IterableDataset):
        requirement = f"{split} must be in a DataLoader, as in DataLoader(data, batch_size=64)"
        raise UserError(f"{requirement}, got a {type(data).__name__}")
    if hasattr(data, "__iter__") and not isinstance(data, str | bytes | dict | Tensor):
        return StreamBatches(split, data, steps)
    requirement = f"{split} must be tensors, a dataset with a length and items, or a DataLoader"
    raise UserError(f"{requirement}, got {shown(data)}")
