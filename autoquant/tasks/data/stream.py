"""Batches of a stream: any iterable, such as a DataLoader of an IterableDataset."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from itertools import count, islice
from typing import Any

from torch.utils.data import DataLoader

from autoquant.errors import UserError
from autoquant.tasks.data.batch import samples_of
from autoquant.tasks.data.passes import length_of, set_epoch
from autoquant.tasks.data.random_sources import RandomSources, mixed_seed
from autoquant.tasks.data.same import same_values

COMPARED = 2
"""Batches that are compared to find out whether two passes are equal."""


class StreamBatches:
    """The batches of an iterable, in the order that it gives them.

    A pass is seeded as a whole, with random sources of its own. A resumed training reads again all
    that was read before it stopped: how long a pass really is, a stream's length does not tell.

    Args:
        split: name of the split, for errors.
        stream: gives batches each time that it is iterated.
        steps: batches of an epoch, where the stream has no length.
    """

    def __init__(self, split: str, stream: Any, steps: int | None = None) -> None:
        self._split, self._stream = split, _with_new_workers(stream)
        self._sources = RandomSources(stream)
        self._given_steps = steps
        self._length = length_of(stream)

    @property
    def steps(self) -> int:
        """Number of batches of an epoch.

        Raises:
            UserError: it is not known.
        """
        steps = self._given_steps if self._length is None else self._length
        if steps is None:
            requirement = f"batches_per_epoch must be given where {self._split} has no length"
            raise UserError(f"{requirement}, got a {type(self._stream).__name__}")
        return steps

    def training(self, seed: int, start: int) -> Iterator[Any]:
        """See ``BatchSource.training``."""
        skipped = start
        for number in count():
            seen = 0
            for seen, batch in enumerate(self._pass(seed, number), start=1):
                if seen > skipped:
                    yield batch
            if not seen:
                raise UserError(f"{self._split} must have at least one batch, got none")
            skipped = max(0, skipped - seen)

    def all(self) -> Iterator[Any]:
        """See ``BatchSource.all``; as many as the steps of an epoch where the stream has no length.

        Raises:
            UserError: there is none.
        """
        most = self._given_steps if self._length is None else None
        empty = True
        for batch in islice(self._pass(0, 0), most):
            empty = False
            yield batch
        if empty:
            raise UserError(f"{self._split} must have at least one batch, got none")

    def some(self, samples: int) -> Iterator[Any]:
        """See ``BatchSource.some``: the first batches."""
        seen = 0
        for batch in self.all():
            yield batch
            seen += samples_of(batch)
            if seen >= samples:
                return

    def first(self) -> Any:
        """See ``BatchSource.first``."""
        return next(self.all())

    def difference(self) -> str | None:
        """See ``BatchSource.difference``."""
        first, second = (list(islice(self._pass(0, 0), COMPARED)) for _ in range(2))
        return None if same_values(first, second) else f"what {type(self._stream).__name__} gives"

    def _pass(self, seed: int, number: int) -> Iterator[Any]:
        """One pass, whose random sources run beside those of the training.

        Args:
            seed: of the training.
            number: of the pass, from 0.
        """
        mixed = mixed_seed(seed, number)
        set_epoch(self._stream, mixed)
        iterator, states = None, None
        while True:
            with self._sources.seeded(mixed):
                if states is not None:
                    self._sources.restore(states)
                iterator = iter(self._stream) if iterator is None else iterator
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
                states = self._sources.states()
            yield batch


def _with_new_workers(stream: Any) -> Any:
    """A stream whose worker processes are new in each pass; old ones would go on with old seeds."""
    if not isinstance(stream, DataLoader) or not stream.persistent_workers:
        return stream
    changed = copy(stream)
    vars(changed).update(persistent_workers=False, _iterator=None)  # torch lets none be set
    return changed
