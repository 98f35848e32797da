"""Batches of a DataLoader: each one depends on the seed, its epoch and its number alone.

The order of an epoch is drawn from the loader's own sampler with seeded random sources, and each
batch is fetched with sources that are seeded for it. So a resumed training loads nothing twice, and
the number of workers changes nothing.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, TypeGuard

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
    get_worker_info,
)

from autoquant.errors import UserError
from autoquant.tasks.data.batch import samples_of
from autoquant.tasks.data.passes import length_of, set_epoch
from autoquant.tasks.data.random_sources import RandomSources, mixed_seed
from autoquant.tasks.data.same import same_values

_OF_ONE_LENGTH = (RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler)


def is_plain_loader(data: object) -> TypeGuard[DataLoader[Any]]:
    """Whether something is a DataLoader of a dataset with items, which iterates as torch's do.

    Args:
        data: what a user gave for a split.
    """
    if not isinstance(data, DataLoader) or type(data).__iter__ is not DataLoader.__iter__:
        return False
    return not isinstance(data.dataset, IterableDataset)


class LoaderBatches:
    """The batches of a DataLoader with a dataset of items.

    Args:
        split: name of the split, for errors.
        loader: any sampler or batch sampler, function that collates, number of workers.
        steps: batches of an epoch, at most; needed where the loader's sampler has no end.

    Raises:
        UserError: the loader has no batch.
    """

    def __init__(self, split: str, loader: DataLoader[Any], steps: int | None = None) -> None:
        self._split, self._loader, self._given_steps = split, loader, steps
        self._sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        self._sources = RandomSources(loader.generator, loader.sampler, loader.batch_sampler)
        self._fetch = _Fetch(loader)
        self._length = length_of(self._sampler)
        known = [number for number in (steps, self._length) if number is not None]
        self.steps = min(known) if known else len(self._order(0, 0))
        if self.steps < 1:
            raise UserError(f"{split} must have at least one batch, got none")

    def _order(self, seed: int, epoch: int) -> list[Any]:
        """The indices of the batches of an epoch.

        Args:
            seed: of the training.
            epoch: its number, from 0.
        """
        samples = length_of(self._loader.dataset) or 0
        endless = self._given_steps is None and self._length is None
        mixed = mixed_seed(seed, epoch)
        for sampler in (self._loader.sampler, self._loader.batch_sampler):
            set_epoch(sampler, mixed)
        with self._sources.seeded(mixed):
            order = list(islice(iter(self._sampler), samples + 1 if endless else self._given_steps))
        if endless and len(order) > samples:
            requirement = f"batches_per_epoch must be given where the sampler of {self._split}"
            raise UserError(f"{requirement} has no end, got {type(self._sampler).__name__}")
        if not order:
            raise UserError(f"{self._split} must have at least one batch, got none")
        return order

    def _epochs(self, seed: int, start: int) -> Iterator[list[Any]]:
        """The seeds and indices of batches, epoch after epoch.

        Args:
            seed: of the training.
            start: number of the first batch.
        """
        first = start // self.steps if self._has_one_length() else 0
        skipped = start - first * self.steps
        for epoch in count(first):
            order = self._order(seed, epoch)
            items = [(mixed_seed(seed, epoch, i), order[i]) for i in range(skipped, len(order))]
            skipped = max(0, skipped - len(order))
            if items:
                yield items

    def _has_one_length(self) -> bool:
        """Whether all epochs have as many batches, so that whole ones can be skipped."""
        own = self._loader.batch_sampler in (None, self._loader.sampler)
        batched = type(self._loader.batch_sampler) is BatchSampler
        return (own or batched) and type(self._loader.sampler) in _OF_ONE_LENGTH

    def training(self, seed: int, start: int) -> Iterator[Any]:
        """See ``BatchSource.training``."""
        order = _Order()
        loader = self._new_loader(order)
        for order.items in self._epochs(seed, start):
            yield from loader

    def all(self) -> Iterator[Any]:
        """See ``BatchSource.all``: the batches of seed 0, in case that the loader shuffles."""
        yield from self._new_loader(_Order(next(self._epochs(0, 0))))

    def some(self, samples: int) -> Iterator[Any]:
        """See ``BatchSource.some``: whole batches."""
        items = next(self._epochs(0, 0))
        in_batches = self._loader.batch_sampler is not None
        size = len(items[0][1]) if in_batches else samples_of(self.first())
        wanted = min(len(items), math.ceil(samples / max(1, size)))
        chosen = torch.linspace(0, len(items) - 1, wanted).long().tolist()
        yield from self._new_loader(_Order([items[i] for i in chosen]))

    def first(self) -> Any:
        """See ``BatchSource.first``; by a worker where the user prepares the workers."""
        item = next(self._epochs(0, 0))[0]
        if self._loader.num_workers and self._loader.worker_init_fn is not None:
            return next(iter(self._new_loader(_Order([item]))))
        return self._fetch[item]

    def difference(self) -> str | None:
        """See ``BatchSource.difference``."""
        if not same_values(self._order(0, 0), self._order(0, 0)):
            samplers = {type(s).__name__: None for s in (self._sampler, self._loader.sampler)}
            return f"the order of {' over '.join(samplers)}"
        if not same_values(self.first(), self.first()):
            return f"what {type(self._loader.dataset).__name__} and its collate function draw"
        return None

    def _new_loader(self, order: _Order) -> DataLoader[Any]:
        """A loader with the workers of the user's.

        Args:
            order: what it fetches.
        """
        old = self._loader
        options: dict[str, Any] = {}
        if old.num_workers:
            options = {
                "prefetch_factor": old.prefetch_factor,
                "persistent_workers": old.persistent_workers,
                "multiprocessing_context": old.multiprocessing_context,
                "worker_init_fn": _WorkerStart(old.worker_init_fn, old.dataset),
            }
        return DataLoader(
            self._fetch,
            batch_size=None,
            sampler=order,
            collate_fn=_as_it_is,
            num_workers=old.num_workers,
            pin_memory=old.pin_memory,
            timeout=old.timeout,
            generator=torch.Generator(),  # leaves the global source, from which dropout draws
            **options,
        )


class _Order(Sampler[Any]):
    """Items of an epoch, in their order.

    Args:
        items: (seed, indices) of each batch.
    """

    def __init__(self, items: list[Any] | None = None) -> None:
        self.items = items or []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class _Fetch(Dataset[Any]):
    """The batches of a loader, as items (seed, indices).

    Args:
        loader: the user's.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._data, self._collate = loader.dataset, loader.collate_fn
        self._in_batches = loader.batch_sampler is not None
        self._sources = RandomSources(self._data, self._collate)

    def __getitem__(self, item: tuple[int, Any]) -> Any:
        seed, indices = item
        with self._sources.seeded(seed):
            return self._collate(self._samples(indices))

    def _samples(self, indices: Any) -> Any:
        if not self._in_batches:
            return self._data[indices]
        several = getattr(self._data, "__getitems__", None)
        return several(indices) if several else [self._data[index] for index in indices]


class _WorkerStart:
    """Prepares a worker process, then calls the user's function that does so.

    Ctrl-C is for the main process, which ends the workers.

    Args:
        function: of the user, or None.
        dataset: the user's, which the function expects in the worker's info.
    """

    def __init__(self, function: Any, dataset: Any) -> None:
        self._function, self._dataset = function, dataset

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._function is None:
            return
        info: Any = get_worker_info()
        fetched = info.dataset
        object.__setattr__(info, "dataset", self._dataset)  # which torch has frozen
        try:
            self._function(worker)
        finally:
            object.__setattr__(info, "dataset", fetched)


def _as_it_is(batch: Any) -> Any:
    return batch
