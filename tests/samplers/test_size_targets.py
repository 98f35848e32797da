"""SizeTargets: budgets first, then sizes that spread over the front."""

from __future__ import annotations

from autoquant.samplers.size_targets import SizeTargets, van_der_corput


def test_the_budgets_come_first() -> None:
    targets = SizeTargets((1000, 500), 100)
    assert [targets.size(i) for i in range(2)] == [1000, 500]


def test_half_of_the_others_are_spread_below_the_budget() -> None:
    targets = SizeTargets((1000,), 100, spread=0.5)
    sizes = [targets.size(i) for i in range(1, 17)]
    smaller = [size for size in sizes if size < 1000]
    assert len(smaller) == 8
    assert 100 < min(smaller) < 140
    assert 700 < max(smaller) <= 950
    assert len({*smaller}) == 8


def test_without_spread_all_have_the_budgets_in_turn() -> None:
    targets = SizeTargets((1000, 500), 100, spread=0.0)
    assert [targets.size(i) for i in range(2, 6)] == [1000, 500, 1000, 500]


def test_van_der_corput() -> None:
    assert [van_der_corput(i) for i in range(1, 6)] == [0.5, 0.25, 0.75, 0.125, 0.625]
