"""When things happen in a run."""

from __future__ import annotations

import itertools

import pytest
from torch import nn

from autoquant.settings import Training
from autoquant.training.schedule import learning_rate_factor, recalibration_steps
from tests.training.runs import Toy, quietly


@pytest.mark.parametrize(
    ("steps", "scores", "expected"),
    [(20, 3, [5, 10, 15]), (10, 0, []), (3, 5, [1, 2]), (1, 4, []), (100, 1, [50])],
)
def test_scores_are_evenly_spaced_and_never_the_last(steps, scores, expected):
    told = []
    run = quietly(
        nn.Linear(2, 2),
        Toy(),
        Training(steps=steps, scores=scores),
        on_score=lambda step, value: told.append((step, value)),
    )
    assert [step for step, _ in run.scores] == expected
    assert run.scores == told


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(64, [*range(2, 33, 2)], id="sixteen in the first half"),
        pytest.param(8, [1, 2, 3, 4], id="each step of a short run's first half"),
        pytest.param(1, [], id="one step"),
    ],
)
def test_scales_are_recalibrated_in_the_first_half(steps, expected):
    toy, at = Toy(), []
    settings = Training(steps=steps, scores=0)
    quietly(nn.Linear(2, 1), toy, settings, recalibrate=lambda: at.append(len(toy.modes)))
    assert at == expected


@pytest.mark.parametrize("total", [10, 57, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.5, 0.9])
def test_the_schedule_rises_then_falls_to_zero(total, warmup):
    rates = [learning_rate_factor(step, total, warmup) for step in range(total + 1)]
    peak = rates.index(max(rates))
    assert 0 < rates[0] <= 1
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(rate > 0 for rate in rates[:-1])
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) <= 1
    assert abs(peak - warmup * total) <= 1


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.5, 0.99])
def test_every_step_of_a_short_run_moves(total, warmup):
    assert all(0 < learning_rate_factor(step, total, warmup) <= 1 for step in range(total))


def test_the_schedule_in_the_middle_of_its_cosine():
    assert learning_rate_factor(0, 100, 0.0) == 1.0
    assert learning_rate_factor(50, 100, 0.0) == pytest.approx(0.5)
    assert learning_rate_factor(20, 100, 0.2) == 1.0
    assert learning_rate_factor(60, 100, 0.2) == pytest.approx(0.5)
    assert learning_rate_factor(9, 100, 0.2) == pytest.approx(10 / 21)


@pytest.mark.parametrize("total", [5, 10, 100, 1000])
def test_the_schedule_in_steps(total):
    rates = [learning_rate_factor(step, total, 0.0, "steps") for step in range(total)]
    peak, tenth, hundredth = (rates.count(rate) for rate in (1.0, 0.1, 0.01))
    assert (peak, tenth, hundredth) == (0.4 * total, 0.4 * total, 0.2 * total)
    assert rates == sorted(rates, reverse=True)


def test_steps_come_after_the_warm_up():
    rates = [learning_rate_factor(step, 100, 0.2, "steps") for step in range(100)]
    assert rates[:20] == [learning_rate_factor(step, 100, 0.2) for step in range(20)]
    assert (rates[20], rates[39], rates[40], rates[79], rates[80]) == (1.0, 1.0, 0.1, 0.1, 0.01)


def test_the_constant_schedule_cools_down_over_the_last_fifth():
    rates = [learning_rate_factor(step, 100, 0.01, "constant") for step in range(101)]
    assert rates[:10] == pytest.approx([i / 11 for i in range(1, 11)])  # 0.01 * 1000 steps
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([i / 21 for i in range(20, -1, -1)])


@pytest.mark.parametrize("longer", [41, 160, 5000])
def test_a_longer_constant_run_begins_as_a_shorter_one(longer):
    def before_the_fall(total):
        return [learning_rate_factor(step, total, 0.02, "constant") for step in range(32)]

    assert before_the_fall(longer) == before_the_fall(40)
    shorter = recalibration_steps(40, "constant")
    assert {step for step in recalibration_steps(longer, "constant") if step <= 32} == shorter
    assert max(shorter) == 32


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_every_step_of_a_short_constant_run_moves(total):
    rates = [learning_rate_factor(step, total, 0.02, "constant") for step in range(total)]
    assert all(0 < rate <= 1 for rate in rates)


def test_a_run_follows_its_schedule():
    class Seen(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.weights = []

        def loss(self, model, batch, carry):
            self.weights.append(float(model.weight.detach()[0, 0]))
            return model.weight.sum() * 1.0, carry

    toy = Seen()
    settings = Training(steps=10, optimizer="sgd", lr=1.0, warmup=0.0, schedule="steps")
    quietly(nn.Linear(1, 1), toy, settings)
    moved = [a - b for a, b in itertools.pairwise(toy.weights)]
    assert moved == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01], rel=1e-4)
