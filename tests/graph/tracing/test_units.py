"""Units against sets kept by hand: what is bound, what is frozen and why."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autoquant.graph.tracing.units import NONE, Ids, Units

COUNT = 12
numbers = st.integers(NONE, COUNT - 1)
pairs = st.lists(st.tuples(numbers, numbers), max_size=6)


def new_units(count: int = COUNT) -> tuple[Units, Ids]:
    units = Units()
    return units, units.add(count)


def smallest_linked(links: list[tuple[int, int]]) -> list[int]:
    """The smallest number that each number is linked to, the slow way."""
    smallest = [*range(COUNT)]
    for _ in range(COUNT):
        for one, other in links:
            if NONE not in (one, other):
                least = min(smallest[one], smallest[other])
                smallest[one] = smallest[other] = least
    return smallest


def test_new_units_are_numbered_on() -> None:
    units, first = new_units(3)
    assert [*first, *units.add(2)] == [0, 1, 2, 3, 4]
    assert units.classes(np.array([4, NONE, 0])).tolist() == [4, NONE, 0]


@given(bound=st.lists(pairs, max_size=8))
def test_classes_are_the_connected_sets(bound: list[list[tuple[int, int]]]) -> None:
    units, ids = new_units()
    for links in bound:
        if links:
            units.bind(*np.array(links).T)
    assert units.classes(ids).tolist() == smallest_linked([*chain(*bound)])


@given(lines=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4))
def test_bind_lines_binds_each_line(lines: list[list[int]]) -> None:
    units, ids = new_units()
    units.bind_lines(np.array(lines))
    lines_of_units = [[unit for unit in line if unit != NONE] for line in lines]
    links = [(line[0], unit) for line in lines_of_units for unit in line]
    assert units.classes(ids).tolist() == smallest_linked(links)


def test_bind_broadcasts() -> None:
    units, ids = new_units(4)
    units.bind(ids[:1], ids[1:3])
    assert units.classes(ids).tolist() == [0, 0, 0, 3]


def test_the_first_reason_counts_and_holds_for_all_that_is_bound() -> None:
    units, ids = new_units(4)
    units.freeze(np.array([1, NONE]), "first")
    units.freeze(ids[1:3], "second")
    units.bind_lines(ids[None, :2])
    assert dict(units.frozen()) == {0: "first", 2: "second"}
