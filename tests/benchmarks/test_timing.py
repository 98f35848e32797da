"""Interleaved timing: who is called how often, in which order, and over whom ratios are."""

from __future__ import annotations

import gc

import pytest

from benchmarks.timing import measure, quartiles, ratio
from tests.benchmarks.clock import Clock


def test_ratios_are_over_the_base(clock: Clock) -> None:
    times = measure({"base": clock.lasting(2.0), "slow": clock.lasting(6.0)}, rounds=5)
    one, two = (ratio(name, seconds, times["base"]) for name, seconds in times.items())
    assert (one.name, one.median, one.low, one.high) == ("base", 1.0, 1.0, 1.0)
    assert (two.name, two.median, two.low, two.high) == ("slow", 3.0, 3.0, 3.0)


def test_a_ratio_is_of_times_in_the_same_round() -> None:
    over = ratio("twice", [2.0, 20.0, 200.0], [1.0, 10.0, 100.0])  # a machine that slows down
    assert (over.median, over.low, over.high) == (2.0, 2.0, 2.0)


def test_quartiles_stay_within_the_values() -> None:
    assert quartiles([1.0, 2.0]) == (1.25, 1.5, 1.75)
    assert quartiles([3.0, 1.0, 2.0, 5.0, 4.0]) == (2.0, 3.0, 4.0)


def test_variants_take_turns_and_each_is_first_in_some_round() -> None:
    order: list[str] = []
    variants = {name: lambda name=name: order.append(name) for name in "abc"}
    measure(variants, rounds=3)
    rounds = order[-9:]
    assert [rounds[i : i + 3] for i in (0, 3, 6)] == [list("abc"), list("bca"), list("cab")]


def test_a_quick_variant_is_called_until_its_turn_is_long_enough(clock: Clock) -> None:
    times = measure(
        {"quick": clock.lasting(1.0), "long": clock.lasting(50.0)}, rounds=2, seconds=9.5
    )
    assert times == {"quick": [1.0, 1.0], "long": [50.0, 50.0]}  # of one call
    assert clock.now == 2 * (1 + 50) + 2 * (10 * 1 + 50)  # warm-up, then ten quick calls a turn


def test_garbage_is_not_collected_within_a_round() -> None:
    states = []
    measure({"look": lambda: states.append(gc.isenabled())}, rounds=2)
    assert states[-2:] == [False, False]
    assert gc.isenabled()


def test_the_collector_is_switched_on_again_after_an_error() -> None:
    calls = iter([None, None])

    def breaks() -> None:
        next(calls)  # twice to warm up

    with pytest.raises(StopIteration):
        measure({"breaks": breaks}, rounds=1)
    assert gc.isenabled()
