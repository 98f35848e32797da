"""Noise: pooled deviations and paired differences, against sums by hand and simulated scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoquant.plan import LayerChoice, Plan
from autoquant.study.noise import (
    Difference,
    difference_spread,
    noise_of,
    paired_difference,
    pooled_deviation,
)
from autoquant.study.outcome import Outcome, rung_means


def scored(trial: str, *scores: tuple[int, int, float]) -> Outcome:
    history = rung_means(scores)
    plan = Plan({"a": LayerChoice(4, 8)})
    steps, score = history[-1]
    return Outcome(
        trial, "search", plan, 10, "scored", score, steps, history=history, scores=scores
    )


def test_pooled_over_plans() -> None:
    one = scored("0", (10, 0, 1.0), (10, 1, 3.0), (40, 0, 9.0))
    other = scored("1", (10, 0, 5.0), (10, 1, 5.0), (10, 2, 8.0))
    noise = noise_of([one, other, scored("2", (10, 0, 99.0))], 10)
    # squares: 1 + 1 and 1 + 1 + 4 over 1 + 2 degrees of freedom
    assert noise.degrees == 3
    assert noise.deviation == pytest.approx(math.sqrt(8 / 3))
    assert noise.error(4) == pytest.approx(math.sqrt(8 / 3) / 2)


def test_no_plan_was_repeated() -> None:
    noise = noise_of([scored("0", (10, 0, 1.0))], 10)
    assert noise.degrees == 0
    assert math.isnan(noise.error(1))
    assert pooled_deviation([[1.0], []]) == 0.0


def test_equal_orders_are_compared() -> None:
    difference = paired_difference({0: 3.0, 1: 5.0, 2: 9.0}, {0: 2.0, 1: 3.0}, spread=0.5)
    assert difference == Difference(1.5, 0.5 / math.sqrt(2))


def test_the_spread_of_a_difference_of_simulated_scores() -> None:
    """Orders shift all plans alike (deviation 5); what is left has deviation 0.2 a training."""
    random = np.random.default_rng(0)
    orders = random.normal(0, 5, 200)
    plans = [
        dict(enumerate(mean + orders + random.normal(0, 0.2, 200))) for mean in (1.0, 1.5, 3.0)
    ]
    assert difference_spread(plans) == pytest.approx(math.sqrt(2) * 0.2, rel=0.1)


@pytest.mark.parametrize(
    "plans", [[{0: 1.0, 1: 2.0}], [{0: 1.0}, {0: 2.0}], []], ids=["one plan", "one order", "none"]
)
def test_an_unknown_spread(plans: list[dict[int, float]]) -> None:
    assert math.isnan(difference_spread(plans))


@pytest.mark.parametrize(
    ("value", "error", "exceeds"),
    [(1.0, 0.4, True), (1.0, 0.6, False), (0.1, math.nan, True), (-0.1, math.nan, False)],
    ids=["above two errors", "within two errors", "unknown error", "worse"],
)
def test_exceeds_two_errors(value: float, error: float, exceeds: bool) -> None:
    assert Difference(value, error).exceeds(2.0) is exceeds
