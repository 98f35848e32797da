from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from autoquant.study.noise import noise_of
from autoquant.study.outcome import Outcome
from autoquant.study.running_noise import RunningNoise
from tests.study.samples import REFERENCE


def test_it_is_that_of_all_trials_after_each_score() -> None:
    rng, running = random.Random(0), RunningNoise()
    outcomes: dict[str, Outcome] = {}
    for _ in range(200):
        name, steps = str(rng.randrange(12)), rng.choice([10, 40])
        outcome = outcomes.get(name, Outcome(name, "search", REFERENCE, 9, "scored"))
        order = len(outcome.by_order(steps))
        scores = (*outcome.scores, (steps, order, rng.random()))
        outcomes[name] = replace(outcome, scores=scores, steps=steps)
        running.update(outcomes[name])
        for known in (running, RunningNoise(outcomes.values())):
            for each in (10, 40):
                expected = noise_of(outcomes.values(), each)
                found = known.on(each)
                assert found.degrees == expected.degrees
                assert found.deviation == pytest.approx(expected.deviation, nan_ok=True)


def test_without_scores_nothing_is_known() -> None:
    assert RunningNoise().on(10).degrees == 0
    assert math.isnan(RunningNoise().on(10).error(1))
