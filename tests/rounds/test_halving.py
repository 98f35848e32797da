"""Halving: every size group, width and kind of bits keeps its best plan."""

from __future__ import annotations

from autoquant.plan import LayerChoice, Plan
from autoquant.rounds.halving import best_of_each_width, is_low_bit, promoted, size_group
from autoquant.study.outcome import Outcome

SIZES = {"a": 90, "b": 10}


def outcome(
    trial: int, score: float, size_bytes: int, bits: int = 4, width: float = 1.0
) -> Outcome:
    plan = Plan({"a": LayerChoice(bits, 8), "b": LayerChoice(8, 8, width)})
    return Outcome(str(trial), "search", plan, size_bytes, "scored", score, 10)


def names(outcomes: list[Outcome]) -> list[str]:
    return [o.trial for o in outcomes]


def test_a_share_of_each_group() -> None:
    outcomes = [outcome(i, float(i), 100) for i in range(8)]
    assert names(promoted(outcomes, [100], "minimize", 0.25, SIZES)) == ["0", "1"]
    assert names(promoted(outcomes, [100], "maximize", 0.25, SIZES)) == ["6", "7"]


def test_the_best_of_each_width_and_size_goes_on() -> None:
    outcomes = [
        *(outcome(i, float(i), 100) for i in range(4)),
        outcome(4, 50.0, 99, width=1.5),
        outcome(5, 60.0, 98, width=1.5),
        outcome(6, 90.0, 30),
        outcome(7, 80.0, 31),
    ]
    kept = promoted(outcomes, [100], "minimize", 0.1, SIZES)
    assert names(kept) == ["0", "4", "7"]


def test_plans_of_few_bits_compete_among_themselves() -> None:
    outcomes = [outcome(i, float(i), 100) for i in range(4)] + [outcome(4, 9.0, 100, bits=2)]
    assert names(promoted(outcomes, [100], "minimize", 0.1, SIZES)) == ["0", "4"]
    assert is_low_bit(outcomes[-1].plan, SIZES)
    assert not is_low_bit(outcomes[0].plan, SIZES)


def test_groups_of_sizes() -> None:
    assert size_group(96, [100, 50], 10) == ("budget", 100)
    assert size_group(50, [100, 50], 10) == ("budget", 50)
    assert size_group(10, [100, 50], 10) == ("smaller", 0)
    assert size_group(90, [100, 50], 10) == ("smaller", 2)


def test_one_plan_of_each_width() -> None:
    outcomes = [outcome(0, 3.0, 100), outcome(1, 2.0, 100), outcome(2, 9.0, 100, width=2.0)]
    assert names(best_of_each_width(outcomes, "minimize")) == ["1", "2"]
