from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from autoquant.tasks.data.random_sources import RandomSources, mixed_seed


class Holder:
    def __init__(self, held: Any) -> None:
        self.held = held


def closure(source: Any) -> Callable[[], Any]:
    return lambda: source


SOURCES: dict[str, tuple[Callable[[], Any], Callable[[Any], float]]] = {
    "torch": (torch.Generator, lambda source: float(torch.rand(1, generator=source))),
    "numpy": (lambda: np.random.default_rng(7), lambda source: source.random()),
    "numpy, another kind": (
        lambda: np.random.Generator(np.random.MT19937(7)),
        lambda source: source.random(),
    ),
    "numpy, old": (lambda: np.random.RandomState(7), lambda source: source.rand()),
    "python": (lambda: random.Random(7), lambda source: source.random()),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda source: source,
    "an attribute": Holder,
    "a list in an attribute of an attribute": lambda source: Holder(Holder([1, source])),
    "an argument": lambda source: functools.partial(max, 1, key=source),
    "a variable of an enclosing function": closure,
    "a method's object": lambda source: Holder(source).__init__,
}


def global_draws() -> list[float]:
    return [float(torch.rand(1)), float(np.random.rand()), random.random()]


def test_global_sources_are_seeded_and_given_back() -> None:
    sources = RandomSources()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = global_draws()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    with sources.seeded(1):
        first = global_draws()
    assert global_draws() == expected
    with sources.seeded(1):
        assert global_draws() == first
    with sources.seeded(2):
        assert not set(global_draws()) & set(first)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_user_s_own_source(kind: str) -> None:
    make, draw = SOURCES[kind]
    source = make()
    sources, before = RandomSources(Holder(source)), draw(make())
    with sources.seeded(1):
        first = draw(source)
    assert draw(source) == before
    with sources.seeded(1):
        assert draw(source) == first
    with sources.seeded(2):
        assert draw(source) != first


@pytest.mark.parametrize("place", PLACES)
def test_where_a_source_is_found(place: str) -> None:
    source = random.Random(0)
    sources = RandomSources(PLACES[place](source))
    values = []
    for _ in range(2):
        with sources.seeded(3):
            values.append(source.random())
    assert values[0] == values[1]


def test_a_large_or_circular_object_is_searched_in_part() -> None:
    holder: Any = Holder([[[i] * 3 for i in range(1000)] for _ in range(100)])
    holder.itself = holder
    with RandomSources(holder).seeded(0):
        assert torch.rand(1) != torch.rand(1)


def test_seeds_are_mixed() -> None:
    seeds = [mixed_seed(*parts) for parts in ((0, 1), (1, 0), (0, 0), (0, 1, 0), (0,))]
    assert len(set(seeds)) == len(seeds)
    assert mixed_seed(3, 4, 5) == mixed_seed(3, 4, 5)
