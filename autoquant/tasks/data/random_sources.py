"""Random sources that data are drawn from: seeded for a while, then given back as they were."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_GLOBAL: tuple[Any, ...] = (torch.default_generator, np.random, random)
"""The sources that every program has: the modules have the methods of their classes."""
_OPAQUE = (Tensor, nn.Module, np.ndarray, ModuleType, type, str, bytes)
"""What is not searched for sources."""
_DEPTH, _MEMBERS, _OBJECTS = 5, 100, 10_000
"""How deep objects are searched, how many members of each, and how many objects in all."""


class RandomSources:
    """The global sources of torch, numpy and Python, and those that objects of the user hold.

    Args:
        holders: a sampler, a dataset, a function that collates, ...: their attributes, and what
            these hold in turn, are searched for generators.
    """

    def __init__(self, *holders: object) -> None:
        self._own = [*_sources_in(holders)]

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Seed all sources; at the end they are as they were.

        Args:
            seed: from 0 up.
        """
        before = self.states()
        self.seed(seed)
        try:
            yield
        finally:
            self.restore(before)

    def seed(self, seed: int) -> None:
        """Seed all sources.

        Args:
            seed: from 0 up; numpy's global source takes its last 32 bits.
        """
        for source in (*_GLOBAL, *self._own):
            _seed(source, seed)

    def states(self) -> list[Any]:
        """The states of all sources."""
        return [_state(source) for source in (*_GLOBAL, *self._own)]

    def restore(self, states: list[Any]) -> None:
        """Give all sources the states that they had.

        Args:
            states: what ``states`` gave.
        """
        for source, state in zip((*_GLOBAL, *self._own), states, strict=True):
            _set_state(source, state)


def mixed_seed(*parts: int) -> int:
    """One seed of several numbers, such as a seed, an epoch and the number of a batch.

    Args:
        parts: from 0 up; other numbers, or another order, give another seed.
    """
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])


def _seed(source: Any, seed: int) -> None:
    """Seed a source.

    Args:
        source: of _KINDS or of _GLOBAL.
        seed: from 0 up.
    """
    if isinstance(source, torch.Generator):
        source.manual_seed(seed)
    elif isinstance(source, np.random.Generator):
        bits = source.bit_generator
        bits.state = type(bits)(seed).state
    elif isinstance(source, random.Random) or source is random:
        source.seed(seed)
    else:
        source.seed(seed % 2**32)


def _state(source: Any) -> Any:
    if isinstance(source, np.random.Generator):
        return source.bit_generator.state
    if isinstance(source, random.Random) or source is random:
        return source.getstate()
    return source.get_state()


def _set_state(source: Any, state: Any) -> None:
    """Give a source a state.

    Args:
        source: of _KINDS or of _GLOBAL.
        state: what ``_state`` gave.
    """
    if isinstance(source, np.random.Generator):
        source.bit_generator.state = state
    elif isinstance(source, random.Random) or source is random:
        source.setstate(state)
    else:
        source.set_state(state)


def _sources_in(holders: Iterable[object]) -> Iterator[Any]:
    """Sources that objects hold, nearest first; the global one of torch is left out.

    Args:
        holders: the objects.
    """
    queue = deque((holder, 0) for holder in holders)
    seen = {id(source) for source in _GLOBAL}
    while queue and len(seen) < _OBJECTS:
        value, depth = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, _KINDS):
            yield value
        elif depth < _DEPTH:
            queue.extend((member, depth + 1) for member in islice(_members(value), _MEMBERS))


def _members(value: Any) -> Iterable[Any]:
    """What an object holds: attributes, members, arguments, variables of an enclosing function."""
    if isinstance(value, _OPAQUE):
        return ()
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, partial):
        return (value.func, *value.args, *value.keywords.values())
    if isinstance(value, MethodType):
        return (value.__self__,)
    if isinstance(value, FunctionType):
        cells = (cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell))
        return (*cells, *(value.__defaults__ or ()))
    return vars(value).values() if hasattr(value, "__dict__") else ()


def _is_filled(cell: Any) -> bool:
    """Whether a variable of an enclosing function has a value by now."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False
