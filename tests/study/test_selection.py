"""Selection: the first plan stays unless another beats it by a standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from autoquant.plan import LayerChoice, Plan
from autoquant.study.outcome import Outcome, OutcomeState, rung_means
from autoquant.study.selection import select
from autoquant.task import Direction


def outcome(
    trial: str,
    scores: Sequence[float],
    size_bytes: int = 100,
    state: OutcomeState = "complete",
    steps: int = 40,
) -> Outcome:
    listed = tuple((steps, order, score) for order, score in enumerate(scores))
    history = rung_means(listed)
    plan = Plan({"a": LayerChoice(4, 8)})
    score = history[-1][1] if history else None
    return Outcome(
        trial, "search", plan, size_bytes, state, score, steps, history=history, scores=listed
    )


FIRST = outcome("0", [10.0, 11.0, 12.0])


def test_a_plan_that_is_clearly_better_is_chosen() -> None:
    better = outcome("3", [9.0, 10.01, 11.0], size_bytes=90)
    selection = select([FIRST, better], 100, "minimize")
    assert selection is not None
    assert (selection.chosen, selection.first) == (better, FIRST)
    assert selection.gain.value == pytest.approx(0.99667, abs=1e-4)
    assert selection.level == (better,)


def test_a_plan_within_the_noise_is_not() -> None:
    luckier = outcome("3", [9.0, 12.0, 11.0], size_bytes=90)
    selection = select([FIRST, luckier], 100, "minimize")
    assert selection is not None
    assert selection.chosen is FIRST
    assert selection.level == (luckier, FIRST)
    assert selection.smallest is luckier


def test_a_training_that_ended_at_infinity_is_not_chosen() -> None:
    """For a score of which high values are good it would be the best."""
    lost = outcome("3", [math.inf, math.inf, math.inf])
    selection = select([FIRST, lost], 100, "maximize")
    assert selection is not None
    assert selection.chosen is FIRST
    assert select([lost], 100, "maximize") is None


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_plans_without_a_common_data_order_are_not_compared_yet(direction: Direction) -> None:
    """With several workers a finalist's second data order may end before its first one."""
    second_order = replace(FIRST, trial="3", score=5.0, scores=((40, 1, 5.0),))
    first_order = replace(FIRST, scores=((40, 0, 10.0),), score=10.0)
    for plans in ([first_order, second_order], [second_order, first_order]):
        selection = select(plans, 100, direction)
        assert selection is not None
        assert selection.chosen is selection.first is first_order
        assert selection.level == (first_order,)


def test_higher_is_better() -> None:
    better = outcome("3", [11.0, 12.0, 13.01])
    selection = select([FIRST, better], 100, "maximize")
    assert selection is not None
    assert selection.chosen is better
    assert selection.gain.value > 0


def test_plans_above_the_budget_and_pruned_ones_do_not_count() -> None:
    larger = outcome("1", [1.0, 1.0, 1.0], size_bytes=101)
    pruned = outcome("2", [1.0, 1.0, 1.0], state="pruned")
    selection = select([FIRST, larger, pruned], 100, "minimize")
    assert selection is not None
    assert selection.chosen is FIRST
    assert select([larger], 100, "minimize") is None


def test_complete_plans_have_precedence_over_those_that_go_on() -> None:
    short = outcome("2", [1.0], state="scored", steps=10)
    selection = select([FIRST, short], 100, "minimize")
    assert selection is not None
    assert selection.chosen is FIRST


def test_studies_of_earlier_versions_are_compared_by_score() -> None:
    plan = Plan({"a": LayerChoice(4, 8)})
    one = Outcome("0", "search", plan, 90, "complete", 2.0, 10)
    other = Outcome("1", "search", plan, 90, "complete", 1.9, 10)
    selection = select([one, other], 100, "minimize")
    assert selection is not None
    assert selection.chosen is other


def test_how_often_noise_alone_replaces_the_first_plan() -> None:
    """Of two equal plans the second is chosen as often as t of 2 degrees is above 1."""
    random = np.random.default_rng(1)
    chosen = 0
    for _ in range(500):
        plans = [outcome(str(i), random.normal(10, 1, 3)) for i in range(2)]
        selection = select(plans, 100, "minimize")
        assert selection is not None
        chosen += selection.chosen.trial == "1"
    assert 0.15 < chosen / 500 < 0.27  # 21% expected
