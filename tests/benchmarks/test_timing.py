"""Interleaved timing: who is called how often, in which order, and over whom ratios are."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from benchmarks.timing import compare, measure, ratio


def sleeping(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def test_ratios_are_over_the_first_variant_of_the_same_round() -> None:
    one, two = compare({"base": sleeping(0.002), "slow": sleeping(0.006)}, rounds=5)
    assert (one.name, one.median, one.low, one.high) == ("base", 1.0, 1.0, 1.0)
    assert two.name == "slow"
    assert 2 < two.median < 4
    assert two.low <= two.median <= two.high


def test_a_ratio_is_of_times_in_the_same_round() -> None:
    found = ratio("twice", [2.0, 20.0, 200.0], [1.0, 10.0, 100.0])  # a machine that slows down
    assert (found.median, found.low, found.high) == (2.0, 2.0, 2.0)


def test_variants_take_turns_and_each_is_first_in_some_round() -> None:
    order: list[str] = []
    variants = {name: lambda name=name: order.append(name) for name in "abc"}
    measure(variants, rounds=3)
    rounds = order[-9:]
    assert [rounds[i : i + 3] for i in (0, 3, 6)] == [list("abc"), list("bca"), list("cab")]


def test_a_quick_variant_is_called_until_its_turn_is_long_enough() -> None:
    calls = {"quick": 0}

    def quick() -> None:
        calls["quick"] += 1
        time.sleep(0.001)

    times = measure({"quick": quick, "long": sleeping(0.02)}, rounds=2, seconds=0.01)
    assert 6 <= calls["quick"] <= 2 + 2 * 10
    assert all(0.001 <= each < 0.005 for each in times["quick"])  # of one call


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
