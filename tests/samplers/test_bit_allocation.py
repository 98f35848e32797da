"""Bits that fill a budget with the least loss increase: against trying every combination."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoquant.analysis.sensitivity import Sensitivity
from autoquant.samplers.bit_allocation import MAX_LOSS_RATIO, BitAllocation
from autoquant.space.projection import Projection
from autoquant.space.search_space import Point
from tests.samplers.spaces import BITS, SPACE, size_of, space_of
from tests.toys import limit

LOSS_INCREASES = {
    "a.weight_bits": (4.0, 2.0, 0.5, 0.0),
    "b.weight_bits": (8.0, 0.3, 0.2, 0.0),
    "c.weight_bits": (9.0, 6.0, 1.0, 0.1),
}
WIDTH = SPACE.dimensions.index(next(d for d in SPACE.dimensions if d.field == "width"))


def sensitivity_of(increases: dict[str, Any]) -> Sensitivity:
    return Sensitivity({name: dict(zip(BITS, r, strict=True)) for name, r in increases.items()})


def allocation_of(budget: int = 150, increases: dict[str, Any] | None = None) -> BitAllocation:
    return BitAllocation(
        Projection(SPACE, limit(size_of, budget)), sensitivity_of(increases or LOSS_INCREASES)
    )


def increase_of(point: Point) -> float:
    named = zip(SPACE.dimensions, point, strict=True)
    return sum(LOSS_INCREASES[d.name][index] for d, index in named if d.name in LOSS_INCREASES)


def least_increase(budget: int, width: int) -> float:
    """By going through the whole space."""
    every = product(*(range(len(d.choices)) for d in SPACE.dimensions))
    fit = [p for p in every if p[WIDTH] == width and size_of(SPACE.plan(p)) <= budget]
    return min(map(increase_of, fit))


@pytest.mark.parametrize("budget", [50, 75, 90, 120, 150, 200])
def test_initial_points_have_the_least_loss_increase_at_each_promising_width(budget: int) -> None:
    starts = allocation_of(budget).initial_points()
    widths = [width for width in range(3) if 45 + 5 * width <= budget]
    best = {width: least_increase(budget, width) for width in widths}
    promising = [w for w in widths if best[w] <= MAX_LOSS_RATIO * min(best.values())]
    assert [point[WIDTH] for point in starts] == promising
    for point in starts:
        assert size_of(SPACE.plan(point)) <= budget
        assert increase_of(point) == pytest.approx(least_increase(budget, point[WIDTH]))


def test_widths_that_do_not_fit_have_no_initial_point() -> None:
    alike = dict.fromkeys(LOSS_INCREASES, (1.0, 0.9, 0.8, 0.7))
    assert len(allocation_of(45, alike).initial_points()) == 1  # 1 bit each; x 1.5 would take 50
    assert len(allocation_of(50, alike).initial_points()) == 2
    assert allocation_of(44).initial_points() == []


def test_initial_points_have_the_widest_activations() -> None:
    plans = [SPACE.plan(point) for point in allocation_of().initial_points()]
    assert {plan["a"].activation_bits for plan in plans} == {8}


def test_a_space_without_widths_has_one_initial_point() -> None:
    space = space_of("a.weight_bits", "c.weight_bits")
    increases = {name: LOSS_INCREASES[name] for name in ("a.weight_bits", "c.weight_bits")}
    allocation = BitAllocation(Projection(space, limit(size_of, 50)), sensitivity_of(increases))
    found = allocation.initial_points()
    assert len(found) == 1
    assert size_of(space.plan(found[0])) <= 50


def test_unknown_loss_increases_count_as_the_worst() -> None:
    start = allocation_of(
        80, LOSS_INCREASES | {"b.weight_bits": (float("inf"), 0.3, 0.2, 0.0)}
    ).initial_points()[0]
    assert SPACE.plan(start)["b"].weight_bits > BITS[0]


def test_random_points_fit_and_differ() -> None:
    even = {"a.weight_bits": (4, 2, 1, 0), "b.weight_bits": (8, 3, 1, 0)}
    allocation = allocation_of(150, LOSS_INCREASES | even)
    candidates = [allocation.random_point((0, 0, attempt)) for attempt in range(30)]
    points = [point for point in candidates if point is not None]
    assert len(set(points)) > 3
    assert len({point[WIDTH] for point in points}) > 1
    assert all(size_of(SPACE.plan(point)) <= 150 for point in points)


@given(st.tuples(st.integers(0, 2**31), st.integers(0, 99)))
def test_a_random_point_follows_from_its_entropy(entropy: tuple[int, int]) -> None:
    assert allocation_of().random_point(entropy) == allocation_of().random_point(entropy)
