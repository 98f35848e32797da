"""Units against sets kept by hand: what is one, what is bound, what is frozen and why."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoquant.graph.tracing.units import NONE, Ids, Units

COUNT = 12
numbers = st.integers(NONE, COUNT - 1)
pairs = st.lists(st.tuples(numbers, numbers), max_size=6)


def made(count: int = COUNT) -> tuple[Units, Ids]:
    units = Units()
    return units, units.fresh(count)


def sets_of(links: list[tuple[int, int]]) -> list[int]:
    """The smallest member of the set of each number, the slow way."""
    smallest = [*range(COUNT)]
    for _ in range(COUNT):
        for one, other in links:
            if NONE not in (one, other):
                least = min(smallest[one], smallest[other])
                smallest[one] = smallest[other] = least
    return smallest


def test_fresh_units_are_numbered_on() -> None:
    units, first = made(3)
    assert [*first, *units.fresh(2)] == [0, 1, 2, 3, 4]
    assert units.atoms(np.array([4, NONE, 0])).tolist() == [4, NONE, 0]


@given(united=st.lists(pairs, max_size=4), bound=st.lists(pairs, max_size=4))
def test_atoms_are_the_connected_sets(
    united: list[list[tuple[int, int]]], bound: list[list[tuple[int, int]]]
) -> None:
    units, ids = made()
    for links in united:
        if links:
            units.unite(*np.array(links).T)
    for links in bound:
        if links:
            units.bind_pairs(*np.array(links).T)
    assert units.atoms(ids).tolist() == sets_of([*chain(*united, *bound)])


@given(lines=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4))
def test_bind_joins_each_line(lines: list[list[int]]) -> None:
    units, ids = made()
    units.bind(np.array(lines))
    known = [[each for each in line if each != NONE] for line in lines]
    links = [(line[0], each) for line in known for each in line]
    assert units.atoms(ids).tolist() == sets_of(links)


def test_unite_broadcasts() -> None:
    units, ids = made(4)
    units.unite(ids[:1], ids[1:3])
    assert units.atoms(ids).tolist() == [0, 0, 0, 3]


def test_the_first_reason_counts_and_holds_for_all_that_is_bound() -> None:
    units, ids = made(4)
    units.freeze(np.array([1, NONE]), "first")
    units.freeze(ids[1:3], "second")
    units.bind(ids[None, :2])
    assert dict(units.frozen()) == {0: "first", 2: "second"}
